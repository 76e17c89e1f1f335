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
from edgecap_export.bundle.bundles import window_frames
from edgecap_export.bundle.sources import PUBLISHED_LICENCE, PUBLISHED_NOTICE
from edgecap_export.bundle.templates import ARCHITECTURE, DYNAMIC, WORDS
from edgecap_export.graphs.onnx_export import OnnxGraphs, onnx_graphs
from edgecap_export.onnx.lowering import apply_recipe
from edgecap_train.checkpoints.checkpoint import load_checkpoint
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


def compare(folder: Path, checkpoint: Path, vocabulary: Path, graphs: OnnxGraphs) -> Path:
    """Hold the bundles that the templates give against the exporter's graphs; the one in float32."""
    small = converted(folder / "int8", checkpoint, vocabulary, "int8")
    pulled = converted(folder / "fp32", checkpoint, vocabulary, "fp32")
    for made, expected in ((pulled, graphs), (small, apply_recipe(DYNAMIC, graphs))):
        for role, data in expected.by_role().items():
            assert load_bundle(made).path(role).read_bytes() == data, AGAIN
    return pulled


def test_a_random_checkpoint_comes_out_as_from_the_exporter(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors", random_checkpoint(WORDS[0]))
    vocabulary = write_vocabulary(tmp_path / "words.json", WORDS[0])
    student = load_checkpoint(checkpoint, vocabulary).student
    compare(tmp_path, checkpoint, vocabulary, onnx_graphs(student, window_frames(student)))


@needs_shared
def test_the_parity_fixture_comes_out_as_from_import_and_token_for_token(tmp_path: Path) -> None:
    checkpoint = seeded_checkpoint(tmp_path / "model.safetensors", 1)
    vocabulary = write_vocabulary(tmp_path / "words.json", 4981)
    imported = tmp_path / "imported"
    assert run(["import", str(checkpoint), "--vocabulary", str(vocabulary), "-o", str(imported)]) == 0
    bundle = load_bundle(imported)
    graphs = OnnxGraphs(bundle.path("encode").read_bytes(), bundle.path("decode").read_bytes())
    pulled = compare(tmp_path, checkpoint, vocabulary, graphs)
    given = load_bundle(pulled).manifest
    assert given == replace(bundle.manifest, provenance=given.provenance), AGAIN
    captioner = Captioner.load(pulled, threads=1)
    with np.load(SHARED / "parity" / "expected-1.npz") as fixtures:
        for beam, name in ((1, "greedy"), (3, "beam")):
            caption = captioner.caption(fixtures["noise_10s/waveform"], 16_000, beam=beam)
            assert list(caption.beams[0].tokens) == fixtures[f"noise_10s/{name}"].tolist()


@pytest.mark.parametrize("words", WORDS)
def test_templates_hold_no_weights(words: int) -> None:
    for precision in ("fp32", "int8"):
        template = read_template(ARCHITECTURE, words, precision)
        assert sum(len(graph.skeleton) for graph in template.graphs.values()) < 250_000
