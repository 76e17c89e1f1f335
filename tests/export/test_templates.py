"""Templates give what the exporter gives: a device makes the bundle that `edgecap import` makes, byte for byte."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import Licence, Precision
from edgecap.captioner import Captioner
from edgecap.pull.convert import Published, bare, convert
from edgecap.pull.template import read_template
from edgecap.pull.tensor_files import read_tensors
from edgecap_export.bundle.bundles import window_frames
from edgecap_export.bundle.sources import PUBLISHED_LICENCE, PUBLISHED_NOTICE
from edgecap_export.bundle.templates import ARCHITECTURE, PRECISIONS, WORDS, published_graphs
from edgecap_export.graphs.onnx_export import onnx_encoder
from edgecap_train.checkpoints.checkpoint import load_checkpoint
from support.published_layout import SHARED, needs_shared, random_checkpoint, write_checkpoint, write_vocabulary
from support.signals import RATE, noise

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


def compare(folder: Path, checkpoint: Path, vocabulary: Path) -> Path:
    """Hold the bundles that the templates give against the exporter's graphs; the one in float32."""
    student = load_checkpoint(checkpoint, vocabulary).student
    tensors, _ = bare(read_tensors(checkpoint, checkpoint.name))
    encode = onnx_encoder(student, window_frames(student))
    for precision in PRECISIONS:
        made = load_bundle(converted(folder / precision, checkpoint, vocabulary, precision))
        maps = read_template(ARCHITECTURE, made.manifest.vocabulary.size, precision).maps
        for role, data in published_graphs(student, precision, encode, maps, tensors).items():
            assert made.path(role).read_bytes() == data, AGAIN
    return folder / "fp32"


def test_a_random_checkpoint_comes_out_as_from_the_exporter(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors", random_checkpoint(WORDS[0]))
    vocabulary = write_vocabulary(tmp_path / "words.json", WORDS[0])
    small = load_bundle(compare(tmp_path, checkpoint, vocabulary).parent / "int8")
    kinds = Counter(node.op_type for node in onnx.load(small.path("encode")).graph.node)
    # the encoder calculates with bytes, by ranges from the BatchNorms; depthwise convolutions are in float
    assert (kinds["QLinearConv"], kinds["MatMulIntegerToFloat"]) == (6, 33)
    assert small.manifest.decoder.search == "in-graph"
    assert Captioner.load(small.folder, threads=1).caption(noise(3), RATE).text


@needs_shared
def test_the_parity_fixture_comes_out_as_from_import_and_token_for_token(imported_parity: Path, tmp_path: Path) -> None:
    checkpoint, vocabulary = imported_parity / "model.safetensors", imported_parity / "words.json"
    bundle = load_bundle(imported_parity / "imported")
    pulled = compare(tmp_path, checkpoint, vocabulary)
    given = load_bundle(pulled).manifest
    assert given == replace(bundle.manifest, provenance=given.provenance), AGAIN
    captioner = Captioner.load(pulled, threads=1)
    with np.load(SHARED / "parity" / "expected-1.npz") as fixtures:
        for beam, name in ((1, "greedy"), (3, "beam")):
            caption = captioner.caption(fixtures["noise_10s/waveform"], 16_000, beam=beam)
            assert list(caption.beams[0].tokens) == fixtures[f"noise_10s/{name}"].tolist()


@pytest.mark.parametrize("words", WORDS)
def test_templates_hold_no_weights(words: int) -> None:
    for precision in PRECISIONS:
        template = read_template(ARCHITECTURE, words, precision)
        assert sum(len(graph.skeleton) for graph in template.graphs.values()) < 250_000
