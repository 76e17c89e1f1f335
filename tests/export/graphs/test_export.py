"""Exported graphs do what PyTorch does, and a graph that does not is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgecap.audio.frontend import log_mel
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import Licence, Precision, Provenance
from edgecap.captioner import Captioner
from edgecap.errors import (
    BundleError,
    CheckpointError,
    OutputError,
    ShapeMismatchError,
    ToleranceError,
    VerificationError,
)
from edgecap.inference.decoding import DecodeStep, Hypothesis
from edgecap.inference.session import Encoded, InferenceSession, open_session
from edgecap.types import LogMel, Waveform
from edgecap_export.bundle import bundles
from edgecap_export.bundle.bundles import created_by, export_bundle
from edgecap_export.graphs.onnx_export import (
    DECODE_INPUTS,
    ENCODE_INPUTS,
    DecodeGraph,
    EncodeGraph,
    OnnxGraphs,
    check_dynamic,
    example_decode_inputs,
    example_encode_inputs,
    memory_frames,
    onnx_model,
)
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.graphs.verify import Tolerances, sounds, verify_session
from edgecap_export.quantisation.onnx_graph import graph_runner
from edgecap_train.models.search import search
from edgecap_train.models.student import Student
from support.exports.exported import Export, request
from support.published_layout import words
from support.small_student import FRONT_END, SIZE, WINDOW, small_student

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]
SECONDS = (WINDOW - 1) * FRONT_END.hop_length / FRONT_END.sample_rate
TEST_LICENCE = Licence(name="CC0-1.0")


@pytest.fixture(scope="module")
def student() -> Student:
    return request().student


@pytest.fixture(scope="module")
def graphs() -> OnnxGraphs:
    return request().float_graphs


@pytest.fixture(scope="module")
def bundle(student: Student, graphs: OnnxGraphs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "onnx_graphs", lambda *_: graphs)  # exported already, which takes seconds
        return write(student, tmp_path_factory.mktemp("exported") / "small", search="outside")


def write(student: Student, folder: Path, vocabulary: tuple[str, ...] = tuple(words(SIZE)), **more: Any) -> Path:
    return export_bundle(
        student,
        vocabulary,
        folder,
        name="small",
        licence=TEST_LICENCE,
        provenance=Provenance(source="a test", created_by=created_by(), details={"seed": "1"}),
        window_seconds=SECONDS,
        **more,
    ).folder


def signature(graph: bytes) -> dict[str, list[int | str]]:
    model = onnx.load_from_string(graph)
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


def test_the_graphs_have_the_inputs_and_outputs_that_the_manifest_documents(graphs: OnnxGraphs) -> None:
    cross, cache = [2, 4, 4, 8], [2, "beams", 4, 8, 8]
    assert signature(graphs.encode) == {
        "log_mel": [1, 64, WINDOW],
        "memory_length": [1],
        "cross_keys": cross,
        "cross_values": cross,
        "clip_embedding": [1, 24],
    }
    assert signature(graphs.decode) == {
        "tokens": ["beams"],
        "position": [1],
        "memory_length": [1],
        "self_keys": cache,
        "self_values": cache,
        "cross_keys": cross,
        "cross_values": cross,
        "log_probs": ["beams", SIZE],
        "new_self_keys": cache,
        "new_self_values": cache,
    }


@pytest.fixture(scope="module")
def session(bundle: Path) -> InferenceSession:
    return open_session(load_bundle(bundle), 1)


def test_a_bundle_is_within_tolerance_and_the_differences_are_told(student: Student, session: InferenceSession) -> None:
    differences = {item.output: item.largest for item in verify_session(student, session, WINDOW, Tolerances())}
    assert differences.keys() == {"cross_keys", "cross_values", "clip_embedding", "log_probs"}
    assert all(0 <= difference < 1e-4 for difference in differences.values())


def test_nothing_of_the_exporting_machine_is_in_a_graph(graphs: OnnxGraphs) -> None:
    for graph in (graphs.encode, graphs.decode):
        model = onnx.load_from_string(graph)
        assert [entry.version for entry in model.opset_import] == [18]
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert str(Path(bundles.__file__).parents[3]).encode() not in graph
        assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_any_number_of_beams_runs_and_a_row_does_not_depend_on_the_others(student: Student, graphs: OnnxGraphs) -> None:
    run = graph_runner(graphs.decode)
    rows = {}
    for beams in (1, 2, 5):
        inputs = [tensor.numpy() for tensor in example_decode_inputs(student, memory_frames(student, WINDOW), beams)]
        feed = dict(zip(DECODE_INPUTS, inputs, strict=True))
        feed["cross_keys"] = np.random.default_rng(2).normal(size=feed["cross_keys"].shape).astype(np.float32)
        rows[beams] = run(feed)["log_probs"]
        assert rows[beams].shape == (beams, SIZE)
    np.testing.assert_allclose(rows[5], np.repeat(rows[1], 5, axis=0), atol=1e-5)


def test_the_decoder_sees_no_memory_beyond_its_length_and_no_later_positions(
    student: Student, graphs: OnnxGraphs
) -> None:
    run = graph_runner(graphs.decode)
    inputs = [tensor.numpy() for tensor in example_decode_inputs(student, 4, 2)]
    feed = dict(zip(DECODE_INPUTS, inputs, strict=True)) | {"memory_length": np.array([3]), "position": np.array([2])}
    before = run(feed)["log_probs"]
    for name, spoiled in (
        ("cross_keys", np.s_[:, :, 3:]),
        ("cross_values", np.s_[:, :, 3:]),
        ("self_keys", np.s_[:, :, :, 2:]),
        ("self_values", np.s_[:, :, :, 3:]),
    ):
        feed[name] = feed[name].copy()
        feed[name][spoiled] = 1e3
    np.testing.assert_allclose(run(feed)["log_probs"], before, atol=1e-5)
    feed["cross_values"] = np.full_like(feed["cross_values"], 3.0)
    assert np.abs(run(feed)["log_probs"] - before).max() > 1e-3


def test_graphs_of_other_weights_are_refused(session: InferenceSession) -> None:
    with pytest.raises(ToleranceError, match="'cross_keys' of the exported graph differs"):
        verify_session(small_student(2), session, WINDOW, Tolerances())


class Spoilt:
    """A session one of whose answers is changed."""

    def __init__(self, session: InferenceSession, name: str, change: Change) -> None:
        self.session, self.name, self.change = session, name, change

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        encoded = self.session.encode(sound, memory_length)
        if self.name == "log_probs":
            return encoded
        return replace(encoded, clip_embedding=self.change(encoded.clip_embedding))

    def search(self, encoded: Encoded, beam: int) -> list[Hypothesis]:
        return self.session.search(encoded, beam)

    def search_several(self, encoded: Sequence[Encoded], beam: int) -> list[list[Hypothesis]]:
        return self.session.search_several(encoded, beam)

    def stream_graph(self) -> None:
        return None

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        step = self.session.decoder(encoded, beam)
        if self.name != "log_probs":
            return step
        return lambda tokens, position, parents: self.change(step(tokens, position, parents))


@pytest.mark.parametrize("name", ["clip_embedding", "log_probs"])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda array: array * 1.01, ToleranceError),
        (lambda array: np.full_like(array, np.nan), ToleranceError),
        (lambda array: array[..., :-1], ShapeMismatchError),
    ],
    ids=["scaled", "nan", "cut"],
)
def test_a_wrong_output_is_named(
    student: Student, session: InferenceSession, name: str, change: Change, error: type[VerificationError]
) -> None:
    with pytest.raises(error, match=f"'{name}'") as caught:
        verify_session(student, Spoilt(session, name, change), WINDOW, Tolerances())
    assert isinstance(caught.value, VerificationError)
    assert "\n" not in str(caught.value)


def test_weights_that_give_no_numbers_are_called_broken(student: Student, session: InferenceSession) -> None:
    broken = copy.deepcopy(student)
    broken.decoder.memory_norm.bias.data.fill_(torch.inf)
    with pytest.raises(VerificationError, match="weights are broken"):
        verify_session(broken, session, WINDOW, Tolerances())


@pytest.mark.parametrize("forget", ["parents", "position"])
def test_a_decoder_that_mixes_up_its_rows_or_places_is_noticed(student: Student, forget: str) -> None:
    class Forgetful(TorchSession):
        def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
            step = super().decoder(encoded, beam)
            if forget == "parents":
                return lambda tokens, position, parents: step(tokens, position, np.arange(beam))
            return lambda tokens, position, parents: step(tokens, max(position - 1, 0), parents)

    assert verify_session(student, TorchSession(student), WINDOW, Tolerances())
    with pytest.raises(ToleranceError, match="'log_probs'"):
        verify_session(student, Forgetful(student), WINDOW, Tolerances())


@pytest.mark.parametrize("samples", [160_000, 16_022, 8_104])  # the last two are less in seconds, as binary fractions
def test_made_sounds_have_every_sample_that_a_window_needs(samples: int) -> None:
    assert {sound.size for sound in sounds(16_000, samples / 16_000)} == {samples}


def test_bytes_that_are_not_a_graph_are_refused() -> None:
    with pytest.raises(BundleError, match="does not load"):
        graph_runner(b"no graph")


def test_the_modules_take_their_own_examples(student: Student) -> None:
    keys, values, embedding = EncodeGraph(student)(*example_encode_inputs(student, WINDOW))
    assert keys.shape == values.shape == (2, 4, memory_frames(student, WINDOW), 8)
    assert embedding.shape == (1, 24)
    log_probs, *caches = DecodeGraph(student)(*example_decode_inputs(student, 4, 3))
    torch.testing.assert_close(log_probs.exp().sum(dim=1), torch.ones(3))
    assert [cache.shape for cache in caches] == [(2, 3, 4, 8, 8)] * 2
    assert len(ENCODE_INPUTS) == 2


@pytest.mark.parametrize("part", [1.0, 0.4], ids=["whole window", "short clip"])
def test_a_bundle_captions_as_the_student_in_pytorch_does(student: Student, bundle: Path, part: float) -> None:
    captioner = Captioner.load(bundle, threads=1)
    for sound in sounds(16_000, SECONDS):
        clip = sound[: int(part * sound.size)]
        mel = log_mel(clip, FRONT_END)
        padded = np.pad(mel, ((0, 0), (0, WINDOW - mel.shape[1])), constant_values=FRONT_END.silence)
        with torch.inference_mode():
            memory = student.encode(torch.from_numpy(padded)[None])
        for beam in (1, 3):
            hypotheses = search(student, memory, student.memory_length(torch.tensor([mel.shape[1]])), beam=beam)
            caption = captioner.caption(clip, 16_000, beam=beam)
            assert caption.beams[0].tokens == hypotheses[0].tokens
            assert caption.score == pytest.approx(hypotheses[0].score, abs=1e-4)


def test_a_bundle_says_what_it_is(bundle: Path) -> None:
    manifest = Captioner.load(bundle, threads=1).manifest
    assert (manifest.runtime, manifest.precision, manifest.encoder.architecture) == ("onnx", "fp32", "yamnet")
    assert manifest.front_end == FRONT_END
    assert manifest.encoder.memory_frames == 4
    assert manifest.provenance.details["seed"] == "1"
    assert "largest difference of log_probs" in manifest.provenance.details


def test_a_model_card_travels_along(
    student: Student, graphs: OnnxGraphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "onnx_encoder", lambda *_: graphs.encode)
    folder = write(student, tmp_path / "carded", card="# A card\n", metrics={"cider_d": 0.5})
    assert (folder / "MODEL_CARD.md").read_text() == "# A card\n"
    assert Captioner.load(folder, threads=1).manifest.metrics == {"cider_d": 0.5}


def test_nothing_is_written_where_the_graphs_are_wrong(
    student: Student, graphs: OnnxGraphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "onnx_encoder", lambda *_: graphs.encode)
    with pytest.raises(ToleranceError):
        write(small_student(3), tmp_path / "wrong")
    with pytest.raises(CheckpointError, match="59 words"):
        write(student, tmp_path / "wrong", tuple(words(SIZE - 1)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_a_bundle_is_not_overwritten(
    student: Student, graphs: OnnxGraphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "onnx_encoder", lambda *_: graphs.encode)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("dear mother")
    with pytest.raises(OutputError, match="not a bundle"):
        write(student, tmp_path / "letters")
    assert [file.name for file in tmp_path.rglob("*")] == ["letters", "to_mother.txt"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_graph_with_the_front_end_inside_answers_as_pytorch_does_with_it_outside(
    student: Student, exported: Export, precision: Precision
) -> None:
    bundle = exported("onnx", precision, "waveform").bundle
    assert "waveform" in signature((bundle.folder / "encode.onnx").read_bytes())
    tolerance = 2e-4 if precision == "fp32" else 2e-2
    differences = verify_session(
        student, open_session(bundle, 1), WINDOW, Tolerances(tolerance, tolerance), waveform=True
    )
    assert {difference.output for difference in differences} >= {"cross_keys", "log_probs"}


def test_an_axis_that_the_exporter_fixes_ends_the_export() -> None:
    """torch's exporter fixes a named axis of size one in silence; here it is given no axis at all."""
    model = onnx_model(nn.ReLU(), (torch.zeros(1, 3),), ("sound",), ("out",), None)
    with pytest.raises(ShapeMismatchError, match="fixed axis 0 of the input sound at 1"):
        check_dynamic(model, ({0: "batch"},))
