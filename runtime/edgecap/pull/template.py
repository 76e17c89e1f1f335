"""The graphs of an architecture without its weights, and how a checkpoint's tensors fill them.

A template is one compressed JSON file in `templates`. For each graph it has the bytes of its ONNX file without the data
of its weights, and where in them which data belong: a tensor of the checkpoint, or rows of it, perhaps with BatchNorm
folded in, transposed, or in fewer bits, or how a map is made bytes (`edgecap.pull.map_ranges`). `python -m
edgecap_export.bundle.templates` writes them from the normal export; a test holds that what is filled here is what the
exporter writes, byte for byte.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.manifest import Manifest, Precision
from edgecap.errors import CheckpointError
from edgecap.pull.map_ranges import ByteStep, MapSource, byte_steps
from edgecap.runtimes import GraphRole

FOLDER = Path(__file__).parent / "templates"
EPSILON = 1e-3
"""Of the published students' BatchNorm."""
LARGEST_BYTE = 127.0
SMALLEST_SCALE = 1e-8

MOST_INTEGER = 2**31
Step = Literal["transpose", "half", "column bytes", "column scales", "row bytes", "row scales", "flat", "scale", "zero"]
"""Of "column …" each column has a scale of its own; "flat" makes rows of all that belongs to one first index."""
Values = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Hole:
    """Where data of weights belong, and what they are computed from."""

    at: int
    """Offset in the skeleton before which the data are put; holes are in this order."""
    tensor: str = ""
    """Name in the checkpoint, without wrappers; empty for the "scale" or "zero" of a map."""
    rows: tuple[int, int] | None = None
    """Which rows of it, where not all."""
    columns: tuple[int, int] | None = None
    """Which channels a convolution's weight takes, where not all."""
    norm: str = ""
    """The BatchNorm to fold, "….": the tensor is the convolution's weight, or the norm's `weight` for a bias."""
    bias: bool = False
    """Whether the folded bias is wanted, and not the weight."""
    map: str = ""
    """The map whose "scale" or "zero" is wanted, or which the convolution takes whose bias is wanted in integers."""
    weight: str = ""
    """Of such a bias: the convolution's weight."""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GraphTemplate:
    """One graph."""

    skeleton: str
    """Base64 of its bytes without the weights."""
    holes: tuple[Hole, ...]


@dataclass(frozen=True, kw_only=True)
class Template:
    """A bundle without weights."""

    manifest: Manifest
    """Complete but for name, files, licence and provenance."""
    tensors: dict[str, tuple[int, ...]]
    """Every tensor that a checkpoint must have, in published order, and its shape."""
    tied: dict[str, str]
    """Tensors that may be left out and else are equal to another."""
    ignored: tuple[str, ...]
    """How names of tensors begin that may be there and are not needed."""
    graphs: dict[GraphRole, GraphTemplate]
    maps: dict[str, MapSource] = field(default_factory=dict)
    """The maps that are bytes in int8."""


def template_path(architecture: str, words: int, precision: Precision) -> Path:
    """The file of a template."""
    return FOLDER / f"{architecture}-{words}-{precision}.json.gz"


def known_words(architecture: str) -> list[int]:
    """Sizes of the vocabularies for which there are templates."""
    return sorted({int(path.name.split("-")[-2]) for path in FOLDER.glob(f"{architecture}-*.json.gz")})


def read_template(architecture: str, words: int, precision: Precision) -> Template:
    """The template of a checkpoint with so many words. Raises CheckpointError where there is none."""
    path = template_path(architecture, words, precision)
    if not path.is_file():
        sizes = " and ".join(map(str, known_words(architecture))) or "none"
        raise CheckpointError(
            f"there is no template of {architecture or 'an unnamed architecture'} with {words} words in {precision} "
            f"(there are such of {sizes} words); type: edgecap import (extra export), which needs none"
        )
    return msgspec.json.decode(gzip.decompress(path.read_bytes()), type=Template)


def filled(template: Template, role: GraphRole, tensors: Mapping[str, Values]) -> Iterator[bytes]:
    """The bytes of a graph, piece by piece; `tensors` by names without wrappers, checked against the template."""
    graph, steps = template.graphs[role], byte_steps(template.maps, tensors)
    skeleton = base64.b64decode(graph.skeleton)
    position = 0
    for hole in graph.holes:
        yield skeleton[position : hole.at]
        yield weights(hole, tensors, steps).tobytes()
        position = hole.at
    yield skeleton[position:]


def weights(hole: Hole, tensors: Mapping[str, Values], maps: Mapping[str, ByteStep]) -> Values:
    """The data of one hole, little-endian."""
    if not hole.tensor:
        return np.asarray(maps[hole.map].scale if hole.steps == ("scale",) else maps[hole.map].zero)
    values = tensors[hole.tensor]
    if hole.rows is not None:
        values = values[slice(*hole.rows)]
    values = values.astype("<f4")
    if hole.norm:
        values = _folded(hole, values, tensors)
    if hole.columns is not None:
        values = np.ascontiguousarray(values[:, slice(*hole.columns)])
    if hole.weight:
        return _integers(values, replace(hole, tensor=hole.weight, bias=False, weight=""), tensors, maps)
    for step in hole.steps:
        values = _stepped(step, values)
    return values


def _integers(bias: Values, weight: Hole, tensors: Mapping[str, Values], maps: Mapping[str, ByteStep]) -> Values:
    """The bias of a convolution of bytes, in its steps."""
    scales = _scales(_stepped("flat", weights(replace(weight, map=""), tensors, maps)), 1)[:, 0]
    steps = bias.astype(np.float64) / (float(maps[weight.map].scale) * scales)
    return np.clip(np.rint(steps), -MOST_INTEGER, MOST_INTEGER - 1).astype("<i4")


def _folded(hole: Hole, values: Values, tensors: Mapping[str, Values]) -> Values:
    """BatchNorm folded into a convolution, in float32 and in the order of the exporter's operations."""
    rows = slice(*hole.rows) if hole.rows is not None else slice(None)
    gamma, beta, mean, variance = (
        tensors[hole.norm + part][rows].astype("<f4") for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + np.float32(EPSILON))
    if hole.bias:
        return np.asarray((np.float32(0) - mean) * scale + beta)
    return np.asarray(values * scale.reshape(-1, *[1] * (values.ndim - 1)))


def _stepped(step: Step, values: Values) -> Values:
    match step:
        case "transpose":
            return np.ascontiguousarray(values.T)
        case "half":
            return np.asarray(values.astype("<f2"))
        case "flat":
            return values.reshape(len(values), -1)
        case "column scales" | "row scales":
            return _scales(values, 0 if step.startswith("column") else 1)
        case "column bytes" | "row bytes":
            scales = _scales(values, 0 if step.startswith("column") else 1)
            return np.clip(np.rint(values / scales), -LARGEST_BYTE, LARGEST_BYTE).astype(np.int8)
        case "scale" | "zero":
            raise ValueError(f"{step!r} is of a map, not of a tensor")


def _scales(values: Values, axis: int) -> Values:
    """What one step of a byte means, for each column (axis 0) or row: `edgecap_export.quantisation.weights`."""
    largest = np.abs(values).max(axis=axis, keepdims=axis == 1)
    return np.asarray(np.maximum(largest / LARGEST_BYTE, SMALLEST_SCALE).astype("<f4"))
