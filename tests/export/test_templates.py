"""Templates give what the exporter gives: a device makes the bundle that `edgecap import` makes, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import Licence, Precision
from edgecap.captioner import Captioner
from edgecap.cli import run
from edgecap.pull.convert import Published, convert
from edgecap.pull.template import read_template
from edgecap_export.bundle.sources import PUBLISHED_LICENCE, PUBLISHED_NOTICE
from edgecap_export.bundle.templates import ARCHITECTURE, DYNAMIC, WORDS
from edgecap_export.graphs.onnx_export import OnnxGraphs
from edgecap_export.onnx.lowering import apply_recipe
from support.published_layout import (
    SHARED,
    needs_shared,
    random_checkpoint,
    seeded_checkpoint,
    write_checkpoint,
    write_vocabulary,
)

AGAIN = "the graphs have changed; type: python -m edgecap_export.bundle.templates"


def converted(folder: Path, checkpoint: Path, vocabulary: Path, precision: Precision) -> Path:
    published = Published(
        weights=checkpoint,
        vocabulary=vocabulary,
        file=checkpoint.name,
        architecture=ARCHITECTURE,
        licence=Licence(name=PUBLISHED_LICENCE, notice=PUBLISHED_NOTICE),
        sha256="",
        details={},
    )
    convert(published, folder, name="imported", precision=precision)
    return folder


def compare(folder: Path, checkpoint: Path, words: int) -> Path:
    """Import a checkpoint both ways and in both precisions; the bundle in float32 that the template gave."""
    vocabulary = write_vocabulary(folder / "words.json", words)
    imported = folder / "imported"
    assert run(["import", str(checkpoint), "--vocabulary", str(vocabulary), "-o", str(imported)]) == 0
    graphs = OnnxGraphs(*((imported / name).read_bytes() for name in ("encode.onnx", "decode.onnx")))
    small = converted(folder / "int8", checkpoint, vocabulary, "int8")
    pulled = converted(folder / "fp32", checkpoint, vocabulary, "fp32")
    for made, expected in ((pulled, graphs), (small, apply_recipe(DYNAMIC, graphs))):
        for role, data in expected.by_role().items():
            assert load_bundle(made).path(role).read_bytes() == data, AGAIN
    wanted, given = load_bundle(imported).manifest, load_bundle(pulled).manifest
    assert given == replace(wanted, provenance=given.provenance), AGAIN
    return pulled


def test_a_random_checkpoint_comes_out_as_from_the_exporter(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors", random_checkpoint(WORDS[0]))
    compare(tmp_path, checkpoint, WORDS[0])


@needs_shared
def test_the_parity_fixture_comes_out_token_for_token(tmp_path: Path) -> None:
    checkpoint = seeded_checkpoint(tmp_path / "model.safetensors", 1)
    captioner = Captioner.load(compare(tmp_path, checkpoint, 4981), threads=1)
    with np.load(SHARED / "parity" / "expected-1.npz") as fixtures:
        for beam, name in ((1, "greedy"), (3, "beam")):
            caption = captioner.caption(fixtures["noise_10s/waveform"], 16_000, beam=beam)
            assert list(caption.beams[0].tokens) == fixtures[f"noise_10s/{name}"].tolist()


@pytest.mark.parametrize("words", WORDS)
def test_templates_hold_no_weights(words: int) -> None:
    for precision in ("fp32", "int8"):
        template = read_template(ARCHITECTURE, words, precision)
        assert sum(len(graph.skeleton) for graph in template.graphs.values()) < 250_000
