"""The graph `stream` is made from any `encode` that goes on column by column, and from no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgecap.bundle.bundle import Bundle
from edgecap.bundle.fields import StreamingSpec
from edgecap.bundle.manifest import Licence, Provenance
from edgecap.bundle.models import find_model
from edgecap.errors import VerificationError
from edgecap.inference.session import InferenceSession, StreamGraph, open_session
from edgecap_export.bundle.bundles import export_bundle
from edgecap_export.graphs.verify import verify_stream
from edgecap_export.onnx.streaming import NotStreamableError, stream_again, streaming_encoder
from edgecap_export.quantisation.onnx_graph import graph_runner
from edgecap_train.models.encoder import Encoder
from edgecap_train.models.student import Student
from edgecap_train.models.yamnet import SamePadded, Separable
from support.exports.exported import WORDS, Export
from support.small_student import FRONT_END, drawn, small_student


class ColumnEncoder(Encoder):
    """YAMNet's kinds of layers, and no other."""

    dim = 24
    front_end = FRONT_END

    def __init__(self) -> None:
        super().__init__()
        halving = [Separable(8, 8, 2), Separable(8, 8, 1), Separable(8, 8, 2), Separable(8, 8, 2)]
        self.blocks = nn.Sequential(SamePadded(1, 8, 2), *halving, Separable(8, self.dim, 2))

    def forward(self, log_mel: Tensor) -> Tensor:
        """`log_mel` (B, n_mels, T) → memory (B, T // 32, 24)."""
        maps = self.blocks(log_mel.transpose(1, 2).unsqueeze(1))
        return torch.as_tensor(maps.mean(dim=3).transpose(1, 2))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(4)
    student = drawn(Student(small_student(1).config, ColumnEncoder()).eval())
    return export_bundle(
        student,
        WORDS,
        tmp_path_factory.mktemp("streaming") / "columns",
        name="columns",
        licence=Licence(name="CC0-1.0"),
        provenance=Provenance(source="a test", created_by="a test"),
        window_seconds=6.0,
    )


def test_a_network_of_columns_is_exported_with_the_graph(bundle: Bundle) -> None:
    # by hand: 1 column of the convolution of stride 1 at 1/4 to the left, all of them to the right
    assert bundle.manifest.encoder.streaming == StreamingSpec(lag=2, lead=4, reach=1 + 2 + 4 + 4 + 8 + 16)
    verify_stream(bundle, open_session(bundle, 1))


def test_a_graph_that_keeps_the_wrong_columns_is_refused(bundle: Bundle) -> None:
    session = open_session(bundle, 1)

    class Forgetting:
        def __getattr__(self, name: str) -> object:
            return getattr(session, name)

        def stream_graph(self) -> StreamGraph | None:
            graph = session.stream_graph()
            assert graph is not None
            run = graph.run
            return replace(graph, run=lambda feed: run({**feed, **graph.states}))

    forgetting: InferenceSession = Forgetting()  # type: ignore[assignment]
    with pytest.raises(VerificationError, match="the graph stream differs from encode"):
        verify_stream(bundle, forgetting)


def test_a_network_that_looks_at_the_whole_clip_has_none(exported: Export) -> None:
    made = exported("onnx", "int8").bundle  # with squeeze-and-excitation
    assert made.manifest.encoder.streaming is None
    assert [entry.role for entry in made.manifest.files].count("stream") == 0
    with pytest.raises(NotStreamableError, match="before its columns are memory frames"):
        streaming_encoder(made.path("encode").read_bytes(), 32)
    with pytest.raises(NotStreamableError, match="before its columns are memory frames"):
        streaming_encoder((find_model("effb2-trm") / "encode.onnx").read_bytes(), 32)


def test_a_front_end_inside_the_graph_has_none(exported: Export) -> None:
    made = exported("onnx", "fp32", "waveform").bundle
    assert made.manifest.encoder.streaming is None
    with pytest.raises(NotStreamableError, match="takes samples"):
        streaming_encoder(made.path("encode").read_bytes(), 32)


def test_making_the_graph_again_gives_the_same_bundle(bundle: Bundle) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    before = content(bundle.folder)
    stream_again(bundle.folder)
    assert content(bundle.folder) == before


def test_the_shipped_graph_is_the_one_made_from_the_shipped_encoder() -> None:
    folder = find_model("tiny")
    graph, _ = streaming_encoder((folder / "encode.onnx").read_bytes(), 32)
    assert graph == (folder / "stream.onnx").read_bytes()


def one_convolution(kernel: int, stride: int, left: int, right: int) -> bytes:
    """An encoder of one convolution over 64 frames."""
    value, rows = helper.make_tensor_value_info, (64 + left + right - kernel) // stride + 1
    weight = np.random.default_rng(1).standard_normal((2, 1, kernel, 4)).astype(np.float32)
    padding: dict[str, Any] = {"kernel_shape": [kernel, 4], "strides": [stride, 1], "pads": [left, 0, right, 0]}
    nodes = [
        helper.make_node("Transpose", ["log_mel"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("Unsqueeze", ["frames", "one"], ["map"]),
        helper.make_node("Conv", ["map", "weight"], ["made"], **padding),
        helper.make_node("ReduceMean", ["made", "three"], ["mean"], keepdims=0),
        helper.make_node("Transpose", ["mean"], ["memory_rows"], perm=[0, 2, 1]),
        helper.make_node("ReduceSum", ["memory_rows", "one"], ["clip_embedding"], keepdims=0),
        helper.make_node("Cast", ["memory_length"], ["length"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["memory_rows", "length"], ["cross_keys"]),
    ]
    axes = [numpy_helper.from_array(np.array([axis], np.int64), name) for name, axis in {"one": 1, "three": 3}.items()]
    graph = helper.make_graph(
        nodes,
        "columns",
        [value("log_mel", TensorProto.FLOAT, [1, 4, 64]), value("memory_length", TensorProto.INT64, [1])],
        [value("clip_embedding", TensorProto.FLOAT, [1, 2]), value("cross_keys", TensorProto.FLOAT, [1, rows, 2])],
        [numpy_helper.from_array(weight, "weight"), *axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("kernel", "stride", "left", "right", "expected"),
    [
        (3, 2, 0, 1, StreamingSpec(lag=1, lead=0, reach=1)),
        (5, 2, 1, 2, StreamingSpec(lag=1, lead=1, reach=2)),
        (4, 2, 1, 1, StreamingSpec(lag=1, lead=1, reach=1)),
        (7, 2, 3, 2, StreamingSpec(lag=1, lead=3, reach=2)),
        (9, 4, 2, 3, StreamingSpec(lag=1, lead=2, reach=3)),
    ],
)
def test_any_kernel_and_padding_is_followed(
    kernel: int, stride: int, left: int, right: int, expected: StreamingSpec
) -> None:
    encode = one_convolution(kernel, stride, left, right)
    stream, spec = streaming_encoder(encode, stride)
    assert spec == expected
    sound = np.random.default_rng(2).standard_normal((1, 4, 64)).astype(np.float32)
    length = {"memory_length": np.array([1], np.int64)}
    expected_rows = graph_runner(encode)({"log_mel": sound, **length})["cross_keys"]
    run, rows = graph_runner(stream), np.zeros((1, 0, 2), np.float32)
    state, had = np.zeros((1, 1, stride * spec.lag + left, 4), np.float32), 0
    for blocks, first, end in ((6, 1, 6 * stride + 1), (3, 0, 9 * stride), (0, 0, 64)):
        numbers = {"blocks": blocks, "first": first, "until": 10**6}
        feed = {"log_mel": sound[:, :, had:end], "memory": rows, "silent": np.zeros((1, 0, 2), np.float32)}
        feed |= {name: np.array([number], np.int64) for name, number in numbers.items()}
        made = run({**feed, **length, "state_0": state})
        had, state = had + blocks * stride, made["new_state_0"]
        rows = np.concatenate((rows, made["rows"]), axis=1)[:, : had // stride - spec.lag]
    assert np.allclose(made["cross_keys"], expected_rows, atol=1e-5)
