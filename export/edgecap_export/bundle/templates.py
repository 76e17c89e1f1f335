"""Writes the templates that turn a published checkpoint into a bundle without PyTorch (`edgecap.pull.template`).

    python -m edgecap_export.bundle.templates

Run it after a change of the graphs or of the bundle; it takes two minutes. It exports a student with random weights
by the normal way, looks which of the checkpoint's tensors, changed in which way, became which data of the graphs, and
cuts these out. Data that come from no tensor are constants and stay; that they are the same whatever the weights, a
second student shows.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.manifest import Licence, Precision, Provenance
from edgecap.pull.map_ranges import MapSource, byte_steps, span
from edgecap.pull.template import FOLDER, GraphTemplate, Hole, Step, Template, filled, template_path, weights
from edgecap.runtimes import GraphRole
from edgecap_export.bundle.bundles import manifest_of, window_frames
from edgecap_export.graphs.onnx_export import onnx_encoder
from edgecap_export.onnx.channel_groups import BLOCK, ends_of_groups
from edgecap_export.onnx.lowering import OnnxLowering, searching_graphs
from edgecap_export.quantisation.int8_plan import plan, pooled_tensors
from edgecap_export.quantisation.onnx_graph import EditableGraph
from edgecap_export.quantisation.quantise import simplified
from edgecap_train.checkpoints.published import (
    CLASSIFIER,
    EMBEDDING,
    IGNORED,
    POSITIONS,
    published_norms,
    published_slots,
    published_student,
)
from edgecap_train.models.student import Student, StudentConfig

ARCHITECTURE = "effb2-trm"
WORDS = (4368, 4981)
"""Sizes of the published vocabularies, Clotho's and AudioCaps'."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
MATRIX: tuple[tuple[Step, ...], ...] = (
    (),
    ("transpose",),
    ("half",),
    ("transpose", "half"),
    ("column bytes",),
    ("column scales",),
    ("transpose", "column bytes"),
    ("transpose", "column scales"),
    ("row bytes",),
    ("row scales",),
    ("row bytes", "transpose"),
    ("column scales", "half"),
    ("transpose", "column scales", "half"),
    ("row scales", "half"),
)
"""What may become of a matrix; of a convolution's weight, once it is "flat"."""
MOST_GROUPS = 12
"""Groups of channels that a wide map may be computed in."""
SMALLEST = 4
"""Values below which data are constants of the graph."""

Tensors = dict[str, NDArray[np.float32]]


def main() -> None:
    """Write all templates."""
    FOLDER.mkdir(exist_ok=True)
    for words in WORDS:
        for precision, template in templates(words).items():
            text = msgspec.json.encode(template)
            path = template_path(ARCHITECTURE, words, precision)
            path.write_bytes(gzip.compress(text, mtime=0))
            print(f"{path.name}: {path.stat().st_size} bytes")  # noqa: T201


def templates(words: int) -> dict[Precision, Template]:
    """The templates for a vocabulary of so many words.

    Raises ValueError for data whose origin is not known, and where another student's weights do not give its graphs.
    """
    first, second = random_tensors(words, 1), random_tensors(words, 2)
    student, other = (
        published_student({name: torch.from_numpy(value) for name, value in tensors.items()}, source="random").student
        for tensors in (first, second)
    )
    encode, another = (onnx_encoder(made, window_frames(made)) for made in (student, other))
    made = {}
    for precision in PRECISIONS:
        maps = map_sources(encode, first) if precision == "int8" else {}
        manifest = manifest_of(
            student,
            name=ARCHITECTURE,
            window=window_frames(student),
            precision=precision,
            licence=Licence(name="Apache-2.0"),
            provenance=Provenance(source="", created_by=""),
            search="in-graph",
        )
        origins = dict(_candidates(encode, first, maps))
        graphs = published_graphs(student, precision, encode, maps, first)
        template = Template(
            manifest=manifest,
            tensors={name: tuple(value.shape) for name, value in first.items()},
            tied={CLASSIFIER: EMBEDDING},
            ignored=IGNORED,
            graphs={role: _cut(graph, origins) for role, graph in graphs.items()},
            maps=maps,
        )
        for role, graph in published_graphs(other, precision, another, maps, second).items():
            if b"".join(filled(template, role, second)) != graph:
                raise ValueError(f"{role} depends on the weights in a way that templates do not know; see MATRIX")
        made[precision] = template
    return made


def published_graphs(
    student: Student, precision: Precision, encode: bytes, maps: dict[str, MapSource], tensors: Tensors
) -> dict[GraphRole, bytes]:
    """The graphs that a template is to give for a student with these tensors, by the exporter's way."""
    recipe = OnnxLowering().recipe(precision, student.config.encoder)
    spans = {name: span(source, tensors) for name, source in maps.items()}
    return searching_graphs(recipe, student, window_frames(student), encode, spans).by_role()


def map_sources(encode: bytes, tensors: Tensors) -> dict[str, MapSource]:
    """What the maps are made of that int8 needs ranges of. Raises ValueError where that is no BatchNorm."""
    model = simplified(onnx.load_from_string(encode))
    graph = EditableGraph(model)
    makers, pooled = graph.producers(), pooled_tensors(graph)
    convolutions = _convolutions(tensors)

    def source(name: str) -> MapSource:
        node = makers[name]
        maps = [each for each in node.input if each not in graph.constants and each not in pooled]
        match node.op_type:
            case "Conv":
                return MapSource(norms=(convolutions[_digest(graph.constants[node.input[1]].tobytes())].norm,))
            case "QuickGelu":
                return replace(source(maps[0]), swish=True)
            case "GlobalAveragePool":
                return replace(source(maps[0]), pooled=True)
            case "Mul" if len(maps) == 1:  # by a gate between 0 and 1
                return source(maps[0])
            case "Add":
                return MapSource(norms=tuple(norm for each in maps for norm in source(each).norms))
        raise ValueError(f"the range of {name} does not follow from BatchNorms")

    recipe = OnnxLowering().recipe("int8", "efficientnet-b2")
    return {name: source(name) for name in plan(model, recipe).tensors}


def random_tensors(words: int, seed: int) -> Tensors:
    """A published checkpoint with random values, all different, without wrappers and without the tied classifier."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for slot in published_slots(_student(words)):
        values = rng.normal(0, 0.1, slot.shape).astype(np.float32)
        if slot.name.endswith("running_var"):
            values = np.abs(values) + 1
        tensors[slot.name] = np.asarray(values, np.float32)
    del tensors[CLASSIFIER]
    return tensors


def _student(words: int) -> Student:
    return Student(StudentConfig(encoder="efficientnet-b2", front_end=FrontEnd(), vocabulary_size=words))


def _cut(data: bytes, origins: dict[bytes, Hole]) -> GraphTemplate:
    """A graph without the data that come from tensors."""
    pieces, position = [], 0
    holes = []
    named: dict[str, Hole] = {}
    for item in onnx.load_from_string(data).graph.initializer:
        hole = origins.get(_digest(item.raw_data))
        if item.name.startswith("zero#"):  # a byte says nothing; it belongs to the scale of its number
            scale = named.get(item.name.replace("zero", "scale", 1))
            hole = scale and replace(scale, steps=("zero",))
        if hole is None:
            continue
        tensor = item.SerializeToString()  # a tensor's data are the last of its fields
        end = data.index(tensor, position) + len(tensor)
        pieces.append(data[position : end - len(item.raw_data)])
        named[item.name] = hole
        holes.append(replace(hole, at=sum(map(len, pieces))))
        position = end
    pieces.append(data[position:])
    return GraphTemplate(skeleton=base64.b64encode(b"".join(pieces)).decode(), holes=tuple(holes))


def _candidates(encode: bytes, tensors: Tensors, maps: dict[str, MapSource]) -> Iterator[tuple[bytes, Hole]]:
    """All that may be made of the tensors, by the digest of its data; what is simpler comes last and wins."""
    steps = byte_steps(maps, tensors)
    for hole in _groups(tensors):
        yield _digest(weights(hole, tensors, steps).tobytes()), hole
    for hole in reversed(list(_sources(tensors))):
        values = weights(hole, tensors, steps)
        for made in _changed(hole, values.ndim, values.size):
            yield _digest(weights(made, tensors, steps).tobytes()), made
    for hole in (*_integer_biases(encode, tensors, maps), *(Hole(at=0, map=name, steps=("scale",)) for name in maps)):
        yield _digest(weights(hole, tensors, steps).tobytes()), hole


def _integer_biases(encode: bytes, tensors: Tensors, maps: dict[str, MapSource]) -> Iterator[Hole]:
    """The biases of the convolutions that may take a map of bytes."""
    graph, origins = EditableGraph(simplified(onnx.load_from_string(encode))), _convolutions(tensors)
    for node in graph.nodes:
        if node.op_type == "Conv" and node.input[0] in maps:
            made = origins.get(_digest(graph.constants[node.input[1]].tobytes()))
            if made is not None:
                yield replace(made, tensor=f"{made.norm}weight", bias=True, map=node.input[0], weight=made.tensor)


def _convolutions(tensors: Tensors) -> dict[bytes, Hole]:
    """The folded weights of the convolutions, by the digest of their data."""
    return {_digest(weights(hole, tensors, {}).tobytes()): hole for hole in _folded() if not hole.bias}


def _changed(hole: Hole, axes: int, size: int) -> Iterator[Hole]:
    """A tensor in all the forms that it may have, the simplest last."""
    if size >= SMALLEST and axes in {2, 4} and not hole.bias:
        flat: tuple[Step, ...] = ("flat",) if axes == 4 else ()
        for steps in reversed(MATRIX):
            yield replace(hole, steps=(*flat, *steps))
    if hole.tensor:
        yield replace(hole, steps=("half",))
    yield hole


def _sources(tensors: Tensors) -> Iterator[Hole]:
    for name, values in tensors.items():
        if values.size < SMALLEST:
            continue
        yield Hole(at=0, tensor=name)
        if "attn.in_proj_" in name:  # queries, keys and values, one below the other
            third = len(values) // 3
            for rows in _spans(third):
                yield Hole(at=0, tensor=name, rows=rows)
        if name == POSITIONS:
            yield Hole(at=0, tensor=name, rows=(0, StudentConfig.max_tokens))
    yield from _folded()


def _folded() -> Iterator[Hole]:
    """The convolutions with their BatchNorms folded in."""
    for weight, norm in _norms():
        yield Hole(at=0, tensor=weight, norm=norm)
        yield Hole(at=0, tensor=f"{norm}weight", norm=norm, bias=True)


def _groups(tensors: Tensors) -> Iterator[Hole]:
    """The convolutions for a group of the channels that they give or take (`edgecap_export.onnx.channel_groups`)."""
    for hole in _folded():
        given, taken = (*tensors[hole.tensor].shape[:2], 0)[:2]
        for ends in _all_groups(given):
            yield replace(hole, rows=ends)
        for ends in _all_groups(taken):
            yield replace(hole, columns=ends)


def _all_groups(channels: int) -> Iterator[tuple[int, int]]:
    for groups in range(2, min(MOST_GROUPS, channels // BLOCK) + 1):
        yield from ends_of_groups(channels, groups)


@cache
def _norms() -> tuple[tuple[str, str], ...]:
    return published_norms(_student(words=1))


def _spans(third: int) -> Sequence[tuple[int, int]]:
    return [(begin * third, end * third) for begin in range(3) for end in range(begin + 1, 4) if end - begin < 3]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


if __name__ == "__main__":
    main()
