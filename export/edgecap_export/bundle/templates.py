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
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.manifest import Licence, Precision, Provenance
from edgecap.pull.template import FOLDER, GraphTemplate, Hole, Step, Template, template_path, weights
from edgecap.runtimes import GraphRole
from edgecap_export.bundle.bundles import manifest_of, window_frames
from edgecap_export.graphs.onnx_export import OnnxGraphs, onnx_graphs
from edgecap_export.onnx.lowering import apply_recipe
from edgecap_export.recipes import FP32, ExportRecipe
from edgecap_train.checkpoints.published import (
    CLASSIFIER,
    EMBEDDING,
    IGNORED,
    published_norms,
    published_slots,
    published_student,
)
from edgecap_train.models.student import Student, StudentConfig

ARCHITECTURE = "effb2-trm"
WORDS = (4368, 4981)
"""Sizes of the published vocabularies, Clotho's and AudioCaps'."""
DYNAMIC = ExportRecipe(name="int8-dynamic-products", precision="int8", products=True, half_weights=True)
"""Int8 without calibration: products with ranges computed at run time; convolutions in float, stored in float16."""
RECIPES: dict[Precision, ExportRecipe] = {"fp32": FP32, "int8": DYNAMIC}
STEPS: tuple[tuple[Step, ...], ...] = (
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
    ("column scales", "half"),
    ("transpose", "column scales", "half"),
    ("row scales", "half"),
)
SMALLEST = 4
"""Values below which data are constants of the graph."""

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class _Graph:
    """One exported graph: its bytes, and the data inside by the name of the constant."""

    data: bytes
    constants: dict[str, bytes]


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
    """The templates for a vocabulary of so many words."""
    first, second = random_tensors(words, 1), random_tensors(words, 2)
    student = published_student({name: torch.from_numpy(value) for name, value in first.items()}, source="random")
    other = published_student({name: torch.from_numpy(value) for name, value in second.items()}, source="random")
    graphs, others = (_exported(made.student) for made in (student, other))
    made = {}
    for precision, recipe in RECIPES.items():
        manifest = manifest_of(
            student.student,
            name=ARCHITECTURE,
            window=window_frames(student.student),
            precision=precision,
            licence=Licence(name="Apache-2.0"),
            provenance=Provenance(source="", created_by=""),
        )
        pairs = zip(_roles(apply_recipe(recipe, graphs)), _roles(apply_recipe(recipe, others)), strict=True)
        made[precision] = Template(
            manifest=manifest,
            tensors={name: tuple(value.shape) for name, value in first.items()},
            tied={CLASSIFIER: EMBEDDING},
            ignored=IGNORED,
            graphs={role: _cut(graph, another, first) for (role, graph), (_, another) in pairs},
        )
    return made


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


def _exported(student: Student) -> OnnxGraphs:
    return onnx_graphs(student, window_frames(student))


def _roles(graphs: OnnxGraphs) -> Iterator[tuple[GraphRole, _Graph]]:
    for role, data in graphs.by_role().items():
        constants = onnx.load_from_string(data).graph.initializer
        yield role, _Graph(data, {item.name: item.raw_data for item in constants})


def _cut(graph: _Graph, another: _Graph, tensors: Tensors) -> GraphTemplate:
    """A graph without the data that come from tensors. Raises ValueError for data whose origin is not known."""
    origins = dict(_candidates(tensors))
    pieces, position = [], 0
    holes = []
    for name, data in graph.constants.items():
        hole = origins.get(_digest(data))
        if hole is None:
            if data != another.constants[name]:
                raise ValueError(f"{name} depends on the weights in a way that templates do not know; see STEPS")
            continue
        begin = graph.data.index(data, position)
        pieces.append(graph.data[position:begin])
        holes.append(replace(hole, at=sum(map(len, pieces))))
        position = begin + len(data)
    pieces.append(graph.data[position:])
    return GraphTemplate(skeleton=base64.b64encode(b"".join(pieces)).decode(), holes=tuple(holes))


def _candidates(tensors: Tensors) -> Iterator[tuple[bytes, Hole]]:
    """Everything that may be made of the tensors, by the digest of its data; what is simpler comes last and wins."""
    for hole in reversed(list(_sources(tensors))):
        values = weights(hole, tensors)
        for steps in reversed(STEPS):
            if not steps or (values.ndim == 2 and values.size >= SMALLEST) or steps == ("half",):
                made = replace(hole, steps=steps)
                data = weights(made, tensors).tobytes()
                yield _digest(data), made


def _sources(tensors: Tensors) -> Iterator[Hole]:
    for name, values in tensors.items():
        if values.size < SMALLEST:
            continue
        yield Hole(at=0, tensor=name)
        if "attn.in_proj_" in name:  # queries, keys and values, one below the other
            third = len(values) // 3
            for rows in _spans(third):
                yield Hole(at=0, tensor=name, rows=rows)
    for weight, norm in published_norms(_student(words=1)):
        yield Hole(at=0, tensor=weight, norm=norm)
        yield Hole(at=0, tensor=f"{norm}weight", norm=norm, bias=True)


def _spans(third: int) -> Sequence[tuple[int, int]]:
    return [(begin * third, end * third) for begin in range(3) for end in range(begin + 1, 4) if end - begin < 3]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


if __name__ == "__main__":
    main()
