"""Which layer's rounding hurts: each convolution in another precision alone, and what that does to the encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgecap_export.quantisation.int8_plan import plan
from edgecap_export.quantisation.onnx_graph import encoder_runner
from edgecap_export.quantisation.quantise import Range, quantise_encoder
from edgecap_export.recipes import ExportRecipe


@dataclass(frozen=True)
class LayerError:
    """One convolution."""

    node: str
    error: float
    """Root mean square of the change in the decoder's keys, relative to their own, with only this one rounded."""


def rank_layers(
    model: onnx.ModelProto, ranges: Mapping[str, Range], recipe: ExportRecipe, log_mels: Sequence[NDArray[np.float32]]
) -> tuple[LayerError, ...]:
    """Every convolution that `recipe` quantises in a simplified encoder graph, worst first."""
    names = tuple(plan(model, recipe).quantised)
    alone = (replace(recipe, keep=(*recipe.keep, *(other for other in names if other != name))) for name in names)
    variants = (quantise_encoder(model, ranges, one) for one in alone)
    return _ranked(model, zip(names, variants, strict=True), log_mels)


def rank_halves(model: onnx.ModelProto, log_mels: Sequence[NDArray[np.float32]]) -> tuple[LayerError, ...]:
    """Every convolution of an encoder graph by what weights in float16 do to it, worst first."""
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return _ranked(model, ((name, _halved(model, weight)) for name, weight in weights.items()), log_mels)


def _halved(model: onnx.ModelProto, weight: str) -> onnx.ModelProto:
    """The graph with one constant rounded to float16."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for item in changed.graph.initializer:
        if item.name == weight:
            rounded = numpy_helper.to_array(item).astype(np.float16).astype(np.float32)
            item.CopyFrom(numpy_helper.from_array(rounded, weight))
    return changed


def _ranked(
    model: onnx.ModelProto, variants: Iterable[tuple[str, onnx.ModelProto]], log_mels: Sequence[NDArray[np.float32]]
) -> tuple[LayerError, ...]:
    exact = _keys(model, log_mels)
    size = max(float(np.linalg.norm(exact)), 1e-12)
    errors = [
        LayerError(name, float(np.linalg.norm(_keys(variant, log_mels) - exact)) / size) for name, variant in variants
    ]
    return tuple(sorted(errors, key=lambda layer: -layer.error))


def _keys(model: onnx.ModelProto, log_mels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    run = encoder_runner(model)
    return np.stack([run(log_mel)["cross_keys"] for log_mel in log_mels])
