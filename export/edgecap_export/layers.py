"""Which layer's int8 hurts: each convolution quantised alone, and what that does to the encoder's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecap_export.quantise import Range, plan, quantise_encoder
from edgecap_export.recipes import Recipe
from edgecap_export.verify import onnx_runner


@dataclass(frozen=True)
class LayerError:
    """One convolution of the plan."""

    node: str
    error: float
    """Root mean square of what changes in the decoder's keys, in parts of their own, with this one alone in int8."""


def rank_layers(
    model: onnx.ModelProto, ranges: Mapping[str, Range], recipe: Recipe, log_mels: Sequence[NDArray[np.float32]],
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[LayerError, ...]:
    """Every convolution that `recipe` quantises in a simplified encoder graph, worst first."""
    names = tuple(plan(model, recipe).quantised)
    exact = _keys(model, log_mels)
    size = max(float(np.linalg.norm(exact)), 1e-12)
    found = []
    for number, name in enumerate(names):
        alone = replace(recipe, keep=(*recipe.keep, *(other for other in names if other != name)))
        keys = _keys(quantise_encoder(model, ranges, alone), log_mels)
        found.append(LayerError(name, float(np.linalg.norm(keys - exact)) / size))
        progress((number + 1) / len(names))
    return tuple(sorted(found, key=lambda layer: -layer.error))


def _keys(model: onnx.ModelProto, log_mels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    run = onnx_runner(model.SerializeToString())
    length = np.array([1], np.int64)
    return np.stack([run({"log_mel": log_mel, "memory_length": length})["cross_keys"] for log_mel in log_mels])
