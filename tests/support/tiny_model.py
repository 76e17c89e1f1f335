"""A tiny captioner in real ONNX graphs: the bundle's contract with random weights, and its arithmetic in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.bundle import Bundle, BundleContent, vocabulary_content, write_bundle
from edgecap.bundle.manifest import (
    FORMAT_VERSION,
    DecoderSpec,
    EncoderSpec,
    Licence,
    Manifest,
    Provenance,
    SilenceSpec,
    VocabularySpec,
)

LAYERS, HEADS, HEAD_DIM, MAX_TOKENS = 2, 2, 4, 20
WIDTH = HEADS * HEAD_DIM
WINDOW_FRAMES, FRAMES_PER_MEMORY, MEMORY_FRAMES = 1001, 32, 32
WORDS = [
    "<pad>",
    "<start>",
    "<end>",
    "<unk>",
    "a",
    "dog",
    "barks",
    "rain",
    "falls",
    "and",
    "man",
    "'s",
    "voice",
    ",",
    "birds",
    "sing",
    "engine",
    "runs",
    "water",
    "flows",
    "music",
    "plays",
    "wind",
    "blows",
]
MASKED = -1e9
Signature = dict[str, tuple[int, list[int | str]]]
"""Name → (element type, shape with names for free sizes)."""


@dataclass(frozen=True)
class Weights:
    """Random weights of both graphs."""

    memory: NDArray[np.float32]
    cross: NDArray[np.float32]
    """Keys then values, shape (2, layers, width, width)."""
    words: NDArray[np.float32]
    positions: NDArray[np.float32]
    own: NDArray[np.float32]
    """Queries, keys, values of the self-attention, queries of the cross-attention: (4, layers, width, width)."""


def random_weights(seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 0.6) -> NDArray[np.float32]:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    return Weights(
        normal(64, WIDTH, scale=0.3),
        normal(2, LAYERS, WIDTH, WIDTH),
        normal(len(WORDS), WIDTH, scale=1.0),
        normal(MAX_TOKENS, WIDTH, scale=0.5),
        normal(4, LAYERS, WIDTH, WIDTH),
    )


class GraphBuilder:
    """Nodes of an ONNX graph, named as they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, kind: type = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def model(self, name: str, inputs: Signature, outputs: Signature) -> bytes:
        def values(signature: Signature) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(key, *spec) for key, spec in signature.items()]

        graph = helper.make_graph(self.nodes, name, values(inputs), values(outputs), self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def encode_graph(weights: Weights, *, ends_with_sound: bool = True) -> bytes:
    """Log-mel means over each memory frame, one linear layer, keys and values.

    Without `ends_with_sound` it never returns for a window that holds a sound louder than silence.
    """
    b = GraphBuilder()
    frames = MEMORY_FRAMES * FRAMES_PER_MEMORY
    padded = b.op("Pad", "log_mel", b.constant([0, 0, 0, 0, 0, frames - WINDOW_FRAMES]), b.constant(-100.0, np.float32))
    split = b.op("Reshape", padded, b.constant([1, 64, MEMORY_FRAMES, FRAMES_PER_MEMORY]))
    mean = b.op("Div", b.op("ReduceMean", split, axes=[3], keepdims=0), b.constant(30.0, np.float32))
    memory = b.op(
        "Tanh", b.op("MatMul", b.op("Transpose", mean, perm=[0, 2, 1]), b.constant(weights.memory, np.float32))
    )
    for index, name in enumerate(("cross_keys", "cross_values")):
        heads = b.op(
            "Reshape",
            b.op("MatMul", memory, b.constant(weights.cross[index], np.float32)),
            b.constant([LAYERS, MEMORY_FRAMES, HEADS, HEAD_DIM]),
        )
        b.op("Transpose", heads, out=name, perm=[0, 2, 1, 3])
    inside = b.op("Less", b.constant(np.arange(MEMORY_FRAMES)[:, None]), "memory_length")
    kept = b.op("Mul", memory, b.op("Cast", inside, to=TensorProto.FLOAT))
    total = b.op("ReduceSum", kept, b.constant([1]), keepdims=0)
    if not ends_with_sound:
        total = _for_ever(
            b, total, b.op("Greater", b.op("ReduceMax", "log_mel", keepdims=0), b.constant(-80.0, np.float32))
        )
    b.op("Div", total, b.op("Cast", "memory_length", to=TensorProto.FLOAT), out="clip_embedding")
    cross: tuple[int, list[int | str]] = (TensorProto.FLOAT, [LAYERS, HEADS, MEMORY_FRAMES, HEAD_DIM])
    return b.model(
        "encode",
        {"log_mel": (TensorProto.FLOAT, [1, 64, WINDOW_FRAMES]), "memory_length": (TensorProto.INT64, [1])},
        {"cross_keys": cross, "cross_values": cross, "clip_embedding": (TensorProto.FLOAT, [1, WIDTH])},
    )


def _for_ever(b: GraphBuilder, value: str, condition: str) -> str:
    """`value`, after a loop that ends only where `condition` is false."""
    scalar: list[int | str] = []
    body = helper.make_graph(
        [helper.make_node("Identity", ["going_on"], ["goes_on"]), helper.make_node("Neg", ["before"], ["after"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, scalar),
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, scalar),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1, WIDTH]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, scalar),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1, WIDTH]),
        ],
    )
    return b.op("Loop", "", condition, value, body=body)


def decode_graph(weights: Weights, beams: int = 0) -> bytes:
    """One token for each beam: cached self-attention, masked cross-attention, words tied to the embedding."""
    b = GraphBuilder()
    rows: int | str = beams or "beams"
    words = b.constant(weights.words, np.float32)
    positions = b.constant(weights.positions, np.float32)
    x = b.op("Add", b.op("Gather", words, "tokens"), b.op("Gather", positions, "position"))
    places = b.constant(np.arange(MAX_TOKENS)[:, None])
    here = b.op("Equal", places, "position")
    past = b.op("Not", b.op("Greater", b.constant(np.arange(MAX_TOKENS)), "position"))
    inside = b.op("Less", b.constant(np.arange(MEMORY_FRAMES)), "memory_length")
    split = b.constant([-1, HEADS, 1, HEAD_DIM])
    caches: dict[str, list[str]] = {"self_keys": [], "self_values": []}

    def project(source: str, role: int, layer: int) -> str:
        return b.op("Reshape", b.op("MatMul", source, b.constant(weights.own[role, layer], np.float32)), split)

    def attend(query: str, keys: str, values: str, mask: str) -> str:
        scores = b.op("MatMul", query, b.op("Transpose", keys, perm=[0, 1, 3, 2]))
        shares = b.op("Softmax", b.op("Where", mask, scores, b.constant(MASKED, np.float32)), axis=-1)
        return b.op("Reshape", b.op("MatMul", shares, values), b.constant([-1, WIDTH]))

    for layer in range(LAYERS):
        for role, name in enumerate(caches, start=1):
            old = b.op("Gather", name, b.constant(layer))
            caches[name].append(b.op("Where", here, project(x, role, layer), old))
        x = b.op("Add", x, attend(project(x, 0, layer), caches["self_keys"][-1], caches["self_values"][-1], past))
        keys, values = (b.op("Gather", name, b.constant([layer])) for name in ("cross_keys", "cross_values"))
        x = b.op("Add", x, attend(project(x, 3, layer), keys, values, inside))
    b.op("LogSoftmax", b.op("MatMul", x, b.op("Transpose", words)), out="log_probs", axis=-1)
    for name, layers in caches.items():
        b.op("Concat", *[b.op("Unsqueeze", cache, b.constant([0])) for cache in layers], out=f"new_{name}", axis=0)
    cross: tuple[int, list[int | str]] = (TensorProto.FLOAT, [LAYERS, HEADS, MEMORY_FRAMES, HEAD_DIM])
    cache: tuple[int, list[int | str]] = (TensorProto.FLOAT, [LAYERS, rows, HEADS, MAX_TOKENS, HEAD_DIM])
    return b.model(
        "decode",
        {
            "tokens": (TensorProto.INT64, [rows]),
            "position": (TensorProto.INT64, [1]),
            "memory_length": (TensorProto.INT64, [1]),
            "self_keys": cache,
            "self_values": cache,
            "cross_keys": cross,
            "cross_values": cross,
        },
        {"log_probs": (TensorProto.FLOAT, [rows, len(WORDS)]), "new_self_keys": cache, "new_self_values": cache},
    )


def prefix_log_probs(
    weights: Weights, keys: NDArray[np.float32], values: NDArray[np.float32], length: int, prefix: list[int]
) -> NDArray[np.float64]:
    """Log-probabilities after a whole prefix, computed without a cache, in NumPy: shape (words,)."""

    def heads(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x.reshape(len(x), HEADS, HEAD_DIM).transpose(1, 0, 2)

    def attend(
        query: NDArray[np.float64], key: NDArray[np.float64], value: NDArray[np.float64], mask: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        scores = np.where(mask, heads(query) @ key.transpose(0, 2, 1), MASKED)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = shares / shares.sum(-1, keepdims=True) @ value
        return np.asarray(mixed.transpose(1, 0, 2).reshape(-1, WIDTH))

    x = weights.words[prefix].astype(np.float64) + weights.positions[: len(prefix)]
    causal = np.tri(len(prefix), dtype=bool)
    inside = np.arange(MEMORY_FRAMES) < length
    for layer in range(LAYERS):
        query, key, value, cross = (x @ weights.own[role, layer] for role in range(4))
        x = x + attend(query, heads(key), heads(value), causal)
        cross = x @ weights.own[3, layer]
        x = x + attend(cross, keys[layer], values[layer], inside)
    logits = x[-1] @ weights.words.T
    return np.asarray(logits - np.log(np.exp(logits).sum()))


def tiny_manifest(name: str = "tiny", beams: int = 0) -> Manifest:
    return Manifest(
        format="edgecap-bundle",
        format_version=FORMAT_VERSION,
        name=name,
        runtime="onnx",
        precision="fp32",
        front_end=FrontEnd(),
        encoder=EncoderSpec(
            architecture="tiny",
            window_frames=WINDOW_FRAMES,
            frames_per_memory=FRAMES_PER_MEMORY,
            memory_frames=MEMORY_FRAMES,
            embedding_dim=WIDTH,
        ),
        decoder=DecoderSpec(layers=LAYERS, heads=HEADS, head_dim=HEAD_DIM, max_tokens=MAX_TOKENS, beams=beams),
        vocabulary=VocabularySpec(size=len(WORDS)),
        silence=SilenceSpec(),
        files=[],
        licence=Licence(name="CC0-1.0", notice="Random numbers."),
        provenance=Provenance(source="random weights", created_by="the tests"),
    )


def tiny_contents(weights: Weights, beams: int = 0, *, ends_with_sound: bool = True) -> list[BundleContent]:
    return [
        BundleContent("encode.onnx", "encode", encode_graph(weights, ends_with_sound=ends_with_sound)),
        BundleContent("decode.onnx", "decode", decode_graph(weights, beams)),
        vocabulary_content(WORDS),
    ]


def write_tiny_bundle(folder: Path, *, seed: int = 6, beams: int = 0, ends_with_sound: bool = True) -> Bundle:
    contents = tiny_contents(random_weights(seed), beams, ends_with_sound=ends_with_sound)
    return write_bundle(folder, tiny_manifest(folder.name, beams), contents)
