"""The published models as candidates: what is counted, how many tokens they make, and the teacher's graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgecap.audio.frontend import FrontEnd
from edgecap.errors import BundleError
from edgecap_bench.counting.macs import onnx_multiply_adds, onnx_parameters, torch_multiply_adds
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.teachers import htsat_frontend as front
from edgecap_train.teachers.htsat_bart import HtsatBart, HtsatBartConfig
from support.parallel.untraced import untraced
from support.signals import noise

pytest.importorskip("transformers", reason="the extra edgecap[teacher] is not installed")

from edgecap_bench.candidates.teacher_graphs import TeacherDecode, TeacherEncode, write_teacher_graphs
from edgecap_bench.candidates.teacher_graphs_runner import TeacherGraphsRunner
from edgecap_bench.candidates.torch_runners import ReferenceRunner, TeacherRunner

SMALL = HtsatBartConfig(
    patch_width=16,
    depths=(1, 1, 1, 1),
    audio_heads=(1, 2, 4, 8),
    vocabulary_size=40,
    d_model=32,
    layers=1,
    heads=4,
    feed_forward=48,
)


@pytest.fixture(scope="module")
def teacher() -> HtsatBart:
    torch.manual_seed(5)
    return HtsatBart(SMALL).eval()


@pytest.fixture(scope="module")
def student() -> Student:
    config = StudentConfig(encoder="efficientnet-b2", front_end=FrontEnd(), vocabulary_size=4_981)
    return Student(config).eval()


def graph(
    path: Path, nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], shape: tuple[int | str, ...]
) -> Path:
    values = [
        helper.make_tensor(name, TensorProto.FLOAT, dims, np.arange(np.prod(dims)) + len(name))
        for name, dims in weights.items()
    ]
    float32 = TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", float32, shape)],
        [helper.make_tensor_value_info("y", float32, None)],
        values,
    )
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(made, opset_imports=sets, ir_version=10), str(path))
    return path


def test_convolutions_and_products_of_a_graph_are_counted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=2),
        helper.make_node("MatMul", ["a", "m"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    path = graph(tmp_path / "g.onnx", nodes, {"w": (6, 2, 3, 3), "m": (8, 5)}, ("rows", 4, 7, 8))
    assert onnx_multiply_adds(path, {"rows": 3}) == 3 * (6 * 7 * 8 * 2 * 9 + 6 * 7 * 8 * 5)
    assert onnx_parameters([path, path]) == 6 * 2 * 9 + 8 * 5


def test_operators_beyond_the_onnx_standard_are_counted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("FusedMatMul", ["x", "m"], ["a"], domain="com.microsoft"),
        helper.make_node("MatMul", ["a", "n"], ["y"]),
    ]
    path = graph(tmp_path / "g.onnx", nodes, {"m": (8, 5), "n": (5, 6)}, ("rows", 8))
    assert onnx_multiply_adds(path, {"rows": 3}) == 3 * 8 * 5 + 3 * 5 * 6


def test_what_is_not_a_graph_cannot_be_counted(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(BundleError, match="is not an ONNX graph"):
        onnx_multiply_adds(tmp_path / "x.onnx")
    with pytest.raises(BundleError, match="cannot be read"):
        onnx_parameters([tmp_path / "missing.onnx"])


def test_work_that_cannot_be_counted_is_an_error_and_not_zero(tmp_path: Path) -> None:
    nodes = [helper.make_node("Einsum", ["x", "x"], ["y"], equation="ij,ij->i")]
    with pytest.raises(BundleError, match="Einsum cannot be counted"):
        onnx_multiply_adds(graph(tmp_path / "g.onnx", nodes, {}, (2, 3)))


def test_attention_in_pytorch_is_counted() -> None:
    query, key = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 9, 8)
    count = torch_multiply_adds(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, key))
    assert count == 2 * (2 * 4 * 5 * 9 * 8)


def test_the_published_student_needs_the_published_work(student: Student) -> None:
    size = ReferenceRunner(student).size(3, 20)
    total = size.encoder_multiply_adds + size.decoder_multiply_adds
    assert total == pytest.approx(4.0e9, rel=0.02)
    assert size.encoder_multiply_adds == pytest.approx(0.86e9, rel=0.03)
    assert size.parameters == pytest.approx(11_469_250, rel=0.003)  # the table of positions is a buffer here


def test_the_published_student_reads_every_prefix_again(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = ReferenceRunner(student)
    lengths: list[tuple[int, ...]] = []
    forward = student.decoder.forward

    def counted(tokens: torch.Tensor, *others: torch.Tensor) -> Any:
        lengths.append(tuple(tokens.shape))
        return forward(tokens, *others)

    monkeypatch.setattr(student.decoder, "forward", counted)
    runner.decode(runner.encode(runner.front_end(noise(10.0))), 3, 4)
    assert lengths == [(3, 1), (3, 2), (3, 3), (3, 4)]


def test_the_published_teacher_makes_exactly_the_requested_tokens(
    teacher: HtsatBart, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = TeacherRunner(teacher)
    sentences: list[torch.Tensor] = []
    search = teacher.search
    monkeypatch.setattr(teacher, "search", lambda *a, **k: sentences.append(search(*a, **k)))
    encoded = runner.encode(runner.front_end(noise(10.0, runner.rate)))
    assert encoded.shape == (1, 1024, 32)
    runner.decode(encoded, 3, 6)
    assert sentences[0].shape == (1, 7)
    assert runner.size(3, 6).encoder_multiply_adds > 1024 * 32 * 48 * 2


@torch.inference_mode()
def test_a_cached_step_of_the_teacher_equals_transformers(teacher: HtsatBart) -> None:
    log_mel = torch.from_numpy(front.log_mel(noise(10.0, front.SAMPLE_RATE)))[None, None]
    keys, values = TeacherEncode(teacher)(log_mel)
    encoder = cast(Any, teacher.bart).model.encoder
    x = encoder.layernorm_embedding(
        teacher.projection(teacher.frames_of(log_mel)) + encoder.embed_positions.weight[2:1026:32]
    )
    for layer in encoder.layers:
        out = layer(x, None)
        x = out[0] if isinstance(out, tuple) else out
    tokens = torch.tensor([[2, 5, 9, 11], [2, 6, 6, 8]])
    expected = teacher.logits(x.expand(2, -1, -1), tokens).log_softmax(-1)
    self_keys = self_values = torch.zeros(1, 2, 4, 6, 8)
    for position in range(4):
        log_probs, self_keys, self_values = TeacherDecode(teacher)(
            tokens[:, position], torch.tensor([position]), self_keys, self_values, keys, values
        )
        torch.testing.assert_close(log_probs, expected[:, position], atol=1e-5, rtol=1e-4)


def test_the_teachers_graphs_do_what_pytorch_does(teacher: HtsatBart, tmp_path: Path) -> None:
    with untraced():
        write_teacher_graphs(teacher, tmp_path, 6)
    runner = TeacherGraphsRunner(tmp_path, 1)
    features = runner.front_end(noise(10.0, runner.rate))
    encoded = runner.encode(features)
    with torch.inference_mode():
        expected = TeacherEncode(teacher)(torch.from_numpy(features))
    np.testing.assert_allclose(encoded["cross_keys"], expected[0].numpy(), atol=1e-4)
    runner.decode(encoded, 3, 6)
    size = runner.size(3, 6)
    assert 0 < size.decoder_multiply_adds < size.encoder_multiply_adds
    counted = torch_multiply_adds(lambda: TeacherEncode(teacher)(torch.from_numpy(features)))
    assert size.encoder_multiply_adds == pytest.approx(counted, rel=0.01)
