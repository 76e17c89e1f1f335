"""The search inside the graph gives the captions of edgecap's own search, one clip or several at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import Precision
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, ToleranceError
from edgecap.inference.onnx_session import open_graph
from edgecap.inference.session import Encoded, open_session
from edgecap_export.graphs.verify import TOLERANCES, verify_session
from edgecap_export.onnx.search import search_graph, search_step
from edgecap_train.models.search import SPECIALS
from support.exports.exported import PRECISIONS, SOUNDS, Export
from support.exports.searches import (
    FRAMES,
    Sessions,
    check_every_beam,
    check_ties,
    ends_early,
    memories,
    sessions,
    twins,
)
from support.small_student import FRONT_END, SIZE, WINDOW, small_student


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """Sessions of a student whose captions end early."""
    return sessions(tmp_path_factory.mktemp("pair"), "onnx", ends_early)


@pytest.mark.parametrize("beam", [1, 2, 3, 8])
def test_every_beam_is_that_of_the_search_outside(beam: int, pair: Sessions) -> None:
    check_every_beam(pair, beam, 30)


def test_ties_go_to_the_lower_row_and_token(tmp_path: Path) -> None:
    check_ties(sessions(tmp_path, "onnx", twins), 4)


def test_several_clips_at_once_have_the_captions_of_each_alone(tmp_path: Path) -> None:
    sessions(tmp_path, "onnx", ends_early)
    run = open_graph(tmp_path / "bundle" / "decode.onnx").run
    clips = memories(7)
    stacked = {
        "memory_length": np.array([clip.memory_length for clip in clips]),
        "beams": np.array([3]),
        "cross_keys": np.stack([clip.cross_keys for clip in clips]),
        "cross_values": np.stack([clip.cross_values for clip in clips]),
    }
    tokens, scores = run(["tokens", "scores"], stacked)
    assert len({row[0, 0].tobytes() for row in np.split(tokens, 7)}) > 1
    for number in range(7):
        each = {name: value if name == "beams" else value[number : number + 1] for name, value in stacked.items()}
        alone = run(["tokens", "scores"], each)
        np.testing.assert_array_equal(tokens[number], alone[0][0])
        np.testing.assert_allclose(scores[number], alone[1][0], atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_agrees_with_pytorch_and_says_where_it_searches(precision: Precision, exported: Export) -> None:
    made = exported("onnx", precision, search="in-graph")
    bundle = load_bundle(made.bundle.folder)
    assert bundle.manifest.decoder.search == "in-graph"
    assert bool(made.lowered.operators.get("decode: DynamicQuantizeMatMul (int8)")) == (precision == "int8")
    student, session = made.request.student, open_session(bundle, 1)
    (*_, scores) = verify_session(student, session, WINDOW, TOLERANCES[precision], steps=False)
    assert scores.output == "scores"
    with pytest.raises(BundleError, match=r"no single steps; export the model with --search outside"):
        session.decoder(memories(1)[0], 3)
    assert Captioner(bundle, session).caption(SOUNDS[0][:16_000], FRONT_END.sample_rate).beams


def test_onnxruntime_alone_gives_the_captions(exported: Export) -> None:
    folder = exported("onnx", "fp32", search="in-graph").bundle.folder
    encode, decode = (onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("encode", "decode"))
    log_mel = np.random.default_rng(0).normal(size=(1, FRONT_END.n_mels, WINDOW)).astype(np.float32)
    length = np.array([FRAMES])
    keys, values, _ = encode.run(None, {"log_mel": log_mel, "memory_length": length})
    feed = {"memory_length": length, "beams": np.array([3]), "cross_keys": keys[None], "cross_values": values[None]}
    tokens, scores = decode.run(None, feed)
    expected = Captioner.load(folder, threads=1).decode(Encoded(keys, values, np.zeros(24, np.float32), FRAMES), 3)
    for row, score, beam in zip(tokens[0], scores[0], expected, strict=True):
        assert tuple(row[: len(beam.tokens)]) == beam.tokens
        assert set(row[len(beam.tokens) :]) <= {SPECIALS.pad}
        assert score == pytest.approx(beam.score)


def test_mixed_up_beams_show_in_the_comparison_with_pytorch(tmp_path: Path, exported: Export) -> None:
    made = exported("onnx", "fp32", search="in-graph")
    student, bundle = made.request.student, load_bundle(shutil.copytree(made.bundle.folder, tmp_path / "made"))
    model = search_graph(search_step(student), student.config, FRAMES)
    own = next(node for node in model.graph.node if node.op_type == "Where")
    own.input[2] = own.input[1]  # beams read one another's words
    bundle.path("decode").write_bytes(model.SerializeToString())
    with pytest.raises(ToleranceError, match="'scores'"):
        verify_session(student, open_session(bundle, 1), WINDOW, TOLERANCES["fp32"], steps=False)


def test_log_probabilities_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    for session in sessions(tmp_path, "onnx", lambda student: student.decoder.positions.fill_(torch.nan)):
        with pytest.raises(BundleError, match="are not numbers"):
            session.search(memories(1)[0], 3)


def test_the_graph_is_quantised_like_any_other_and_stores_each_weight_once() -> None:
    student = small_student(1)
    model = search_graph(search_step(student), student.config, FRAMES)
    onnx.checker.check_model(model, full_check=True)
    stored = sum(np.prod(item.dims) for item in model.graph.initializer)
    assert stored < 1.1 * sum(parameter.numel() for parameter in student.decoder.parameters()) + SIZE * 32
