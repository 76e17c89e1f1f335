"""The ranges of a float graph's activations: measured on sounds, stored as JSON beside the weights.

A graph is run twice: for the extremes, then for histograms between them. A range covers `ExportRecipe.percentile` of
the values, so that a lone outlier does not decide the step of all others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgecap.errors import BundleError
from edgecap.util.documents import from_json
from edgecap.util.schema import convert
from edgecap_export.calibration import CalibrationSet
from edgecap_export.quantisation.onnx_graph import encoder_runner
from edgecap_export.quantisation.quantise import Range, simplified
from edgecap_export.recipes import INT8, ExportRecipe
from edgecap_train.models.student import Student

BINS = 2048
FILE_NAME = "ranges.json"
MEASURED = {"Conv", "Relu", "QuickGelu", "Mul", "Add", "GlobalAveragePool"}
"""Operators whose maps a recipe may want in bytes."""
_RULE = "percentile"
"""Key of the ranges in the file."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Ranges of the activations of one encoder."""

    weights: str
    """`weights_digest` of the student that they were measured on."""
    clips: int
    """Recordings they were measured on."""
    percentile: float
    """Share of an activation's values that its range covers, in per cent."""
    spans: dict[str, Range]
    """Tensor → (lowest, highest)."""

    def of(self, recipe: ExportRecipe) -> dict[str, Range]:
        """The ranges for a recipe. Raises BundleError where they were computed for another percentile."""
        if recipe.percentile != self.percentile:
            raise BundleError(
                f"the stored ranges cover {self.percentile:g} % of the values and the recipe needs "
                f"{recipe.percentile:g} %; measure them again with --calibration FOLDER"
            )
        return self.spans


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a student's weights rounded to float16, so that a float16 copy has the same."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def render_ranges(ranges: Ranges) -> bytes:
    """JSON, with four digits of each number."""
    spans = {name: [float(f"{low:.4g}"), float(f"{high:.4g}")] for name, (low, high) in ranges.spans.items()}
    document = {"format": "edgecap-ranges", **msgspec.to_builtins(ranges), "spans": {_RULE: spans}}
    return (json.dumps(document, sort_keys=True) + "\n").encode()


def parse_ranges(text: bytes) -> Ranges:
    """What `render_ranges` wrote. Raises BundleError."""
    try:
        document = from_json(text)
        if document.pop("format", None) != "edgecap-ranges":
            raise ValueError('no "format": "edgecap-ranges"')
        return convert({**document, "spans": document["spans"][_RULE]}, Ranges)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # msgspec's are ValueErrors
        raise BundleError(f"the stored ranges cannot be read ({error}); give --calibration FOLDER") from error


def measurable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Tensors of a simplified encoder graph that hold maps, in order."""
    constants = {item.name for item in model.graph.initializer}
    maps = {item.name for item in model.graph.value_info if len(item.type.tensor_type.shape.dim) == 4}
    names: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            names |= {node.input[0]: None}
        if node.op_type in MEASURED:
            names |= {name: None for name in node.output if name in maps}
    return tuple(name for name in names if name not in constants)


def student_ranges(student: Student, encode: bytes, calibration: CalibrationSet) -> Ranges:
    """The ranges of a student's encoder, of which `encode` is the float graph, on a calibration set."""
    return Ranges(
        weights=weights_digest(student.state_dict()),
        clips=calibration.clips,
        percentile=INT8.percentile,
        spans=measure_ranges(simplified(onnx.load_from_string(encode)), calibration.log_mels, INT8.percentile),
    )


def measure_ranges(
    model: onnx.ModelProto, log_mels: Sequence[NDArray[np.float32]], percentile: float
) -> dict[str, Range]:
    """Run a simplified encoder graph over log-mels (1, n_mels, T): map → range that covers `percentile` % of it.

    Raises ValueError without log-mels.
    """
    if not log_mels:
        raise ValueError("ranges need at least one log-mel")
    names = measurable(model)
    run = encoder_runner(model, names)
    lows, highs = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for log_mel in log_mels:
        outputs = run(log_mel)
        for name in names:
            lows[name] = min(lows[name], float(outputs[name].min()))
            highs[name] = max(highs[name], float(outputs[name].max()))
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    for log_mel in log_mels:
        outputs = run(log_mel)
        for name in names:
            counts[name] += _histogram(outputs[name], lows[name], highs[name])
    return {name: percentile_range(lows[name], highs[name], counts[name], percentile) for name in names}


def percentile_range(low: float, high: float, counts: NDArray[np.int64], percentile: float) -> Range:
    """The range that covers `percentile` % of the values, as much cut off at either end, and holds zero.

    `counts` says how many values fell into equal parts from `low` to `high`.
    """
    total, edges = counts.sum(), np.linspace(low, high, counts.size + 1)
    cut = total * (1 - percentile / 100) / 2
    below = np.concatenate([[0], np.cumsum(counts)])
    first = int(np.searchsorted(below, cut, side="right")) - 1
    last = int(np.searchsorted(below, total - cut, side="left"))
    return min(float(edges[max(first, 0)]), 0.0), max(float(edges[min(last, edges.size - 1)]), 0.0)


def _histogram(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.int64]:
    """Counts of values in equal parts; those beyond an end count as at it."""
    if high <= low:
        return np.bincount([0], [values.size], BINS).astype(np.int64)
    places = ((values.ravel() - np.float32(low)) * np.float32(BINS / (high - low))).astype(np.int32)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS).astype(np.int64)
