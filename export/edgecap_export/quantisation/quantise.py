"""Static int8 for an encoder's convolutions: a float graph and the ranges of its tensors in, a mixed graph out.

Between two int8 convolutions maps lie as (1, H, W, C) bytes, which is how ONNX Runtime's int8 kernels read them, so
the graph is written in that layout from the start (operators `QLinearConv` with `channels_last`); what is left in
float there works on either layout, but for convolutions, for which ONNX Runtime makes blocks of channels of both.
Asymmetric unsigned activations, symmetric signed weights with one scale for each output channel, 32-bit biases: Jacob
et al. 2018, arXiv 1712.05877.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from edgecap_export.quantisation.int8_plan import POINTWISE_OPERATORS, Int8Plan, kind_of, plan, pooled_tensors
from edgecap_export.quantisation.onnx_graph import MICROSOFT, EditableGraph, attributes
from edgecap_export.recipes import ExportRecipe

Range = tuple[float, float]
_FLOAT_OPERATORS = {"QuickGelu", "ReduceMean", "Add"}
"""Operators that no recipe for ONNX Runtime quantises: bytes would be widened for them."""
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Step:
    """How an activation is quantised: real = scale · (byte - zero)."""

    scale: np.float32
    zero: np.uint8


def step_of(span: Range) -> Step:
    """The step of a range, widened to hold 0, so that padding with zeros is exact."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = max((high - low) / 255.0, 1e-8)
    return Step(np.float32(scale), np.uint8(np.clip(round(-low / scale), 0, 255)))


def channel_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale for each first index of `weight`, for signed bytes from -127 to 127."""
    peaks = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    return np.asarray(np.maximum(peaks / 127.0, 1e-8), np.float32)


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float graph that ranges are measured on: x·sigmoid(x) as one operator, means over a map as a pooling.

    ONNX Runtime fuses the first only where nothing is quantised, and pools several times faster than it averages.
    """
    graph = EditableGraph(model)
    takers, makers = graph.consumers(), graph.producers()
    for node in graph.nodes:
        if node.op_type == "ReduceMean" and len(node.input) == 2 and attributes(node).get("keepdims", 1):
            axes = sorted(int(axis) % 4 for axis in np.atleast_1d(graph.constants.get(node.input[1], np.array([]))))
            if axes == [2, 3]:
                node.op_type = "GlobalAveragePool"
                del node.input[1:], node.attribute[:]
        elif node.op_type == "Mul":
            for x, gate in (tuple(node.input), tuple(node.input)[::-1]):
                maker = makers.get(gate)
                if maker is not None and maker.op_type == "Sigmoid" and maker.input[0] == x and len(takers[gate]) == 1:
                    node.op_type, node.domain = "QuickGelu", MICROSOFT
                    del node.input[:]
                    node.input.append(x)
                    node.attribute.append(onnx.helper.make_attribute("alpha", 1.0))
                    break
    return graph.model()


def quantise_encoder(model: onnx.ModelProto, ranges: Mapping[str, Range], recipe: ExportRecipe) -> onnx.ModelProto:
    """A simplified encoder graph with the convolutions that `recipe` names in int8.

    Raises KeyError where `ranges` lacks a tensor of `plan(model, recipe).tensors`.
    """
    return _Rewriter(model, ranges, plan(model, recipe)).run()


class _Rewriter:
    """Walks the float graph in order; keeps for each tensor the forms in which it exists already."""

    def __init__(self, model: onnx.ModelProto, ranges: Mapping[str, Range], planned: Int8Plan) -> None:
        self.graph = EditableGraph(model)
        self.plan = planned
        self.steps = {name: step_of(ranges[name]) for name in planned.tensors}
        self.pooled = pooled_tensors(self.graph)
        self.takers = self.graph.consumers()
        self.forms: dict[str, dict[str, str]] = {}
        """Tensor of the float graph → form ("nchw" float, "nhwc" float, "bytes" nhwc) → tensor of the new graph."""

    def run(self) -> onnx.ModelProto:
        nodes, self.graph.nodes = self.graph.nodes, []
        for node in nodes:
            if not self._is_done(node):
                self._rewrite(node)
        for name in self.graph.outputs & set(self.forms):
            self._as(name, "nchw")
        return self.graph.model()

    def _is_done(self, node: NodeProto) -> bool:
        """Whether a node is a ReLU whose work its convolution does: bytes below zero do not exist there."""
        output = node.output[0]
        return node.op_type == "Relu" and output in set(self.plan.quantised.values()) and output in self.forms

    def _rewrite(self, node: NodeProto) -> None:
        if node.name in self.plan.quantised and self._wanted_in_float(node):
            self._pointwise_to_float(node)
        elif node.name in self.plan.quantised:
            self._convolution(node)
        elif node.output[0] in self.plan.excites and not self._exists(self.plan.excites[node.output[0]].map, "nhwc"):
            self._excited(node.output[0])
        elif node.output[0] in self.pooled and node.op_type == "Conv" and self.forms:
            self._pooled_convolution(node)
        elif node.op_type in POINTWISE_OPERATORS and any(self._exists(name, "nhwc") for name in node.input):
            self._pointwise(node)
        else:
            for index, name in enumerate(node.input):
                if name in self.forms:
                    node.input[index] = self._as(name, "nchw")
            self.graph.nodes.append(node)

    def _exists(self, name: str, form: str) -> bool:
        """Whether a tensor has that form, or bytes, which lie in the same layout."""
        known = self.forms.get(name, {})
        return form in known or "bytes" in known

    def _as(self, name: str, form: str) -> str:
        """The tensor in a form, made where it does not exist yet."""
        known = self.forms.setdefault(name, {"nchw": name})
        if form in known:
            return known[form]
        if form == "bytes":
            inputs = [self._as(name, "nhwc"), *self._step(name)]
            known[form] = self.graph.add("QuantizeLinear", inputs, f"{name}@bytes")
        elif form == "nhwc" and "bytes" in known:
            known[form] = self.graph.add("DequantizeLinear", [known["bytes"], *self._step(name)], f"{name}@nhwc")
        elif form == "nhwc":
            known[form] = self.graph.add("Transpose", [known["nchw"]], f"{name}@nhwc", perm=_TO_NHWC)
        else:
            known[form] = self.graph.add("Transpose", [self._as(name, "nhwc")], name, perm=_TO_NCHW)
        return known[form]

    def _step(self, name: str) -> list[str]:
        step = self.steps[name]
        return [self.graph.constant(step.scale, "scale"), self.graph.constant(step.zero, "zero")]

    def _pointwise_to_float(self, node: NodeProto) -> None:
        """A 1x1 convolution whose answer is wanted in float: a product of bytes that is not rounded again."""
        source, output = node.input[0], node.output[0]
        weight = self.graph.constants[node.input[1]][:, :, 0, 0].astype(np.float32)
        scales, step = channel_scales(weight), self._step(source)
        rounded = np.clip(np.rint((weight / scales[:, None]).T), -127, 127).astype(np.int8)
        inputs = [
            self._as(source, "bytes"),
            self.graph.constant(rounded, "weight"),
            step[0],
            self.graph.constant(scales, "scales"),
            step[1],
            self.graph.constant(np.zeros(len(scales), np.int8), "zeros"),
        ]
        if len(node.input) > 2:
            inputs.append(node.input[2])
        made = self.graph.add("MatMulIntegerToFloat", inputs, f"{output}@nhwc", node.name, MICROSOFT)
        self.forms[output] = {"nhwc": made}

    def _wanted_in_float(self, node: NodeProto) -> bool:
        """Whether a quantised convolution is a plain 1x1 one and all that takes its answer works in float."""
        weight, more = self.graph.constants[node.input[1]], attributes(node)
        plain = kind_of(node, weight) == "pointwise" and set(more.get("strides", [1])) == {1}
        takers = self.takers[self.plan.quantised[node.name]]
        return (
            plain
            and bool(takers)
            and all(taker.op_type in _FLOAT_OPERATORS and taker.name not in self.plan.quantised for taker in takers)
        )

    def _convolution(self, node: NodeProto) -> None:
        source, output = node.input[0], self.plan.quantised[node.name]
        weight = self.graph.constants[node.input[1]].astype(np.float32)
        scales = channel_scales(weight)
        rounded = np.clip(np.rint(weight / scales[:, None, None, None]), -127, 127).astype(np.int8)
        inputs = [self._as(source, "bytes"), *self._step(source)]
        inputs += [
            self.graph.constant(rounded, "weight"),
            self.graph.constant(scales, "scales"),
            self.graph.constant(np.zeros(len(scales), np.int8), "zeros"),
            *self._step(output),
        ]
        if len(node.input) > 2:
            bias = self.graph.constants[node.input[2]].astype(np.float64) / (float(self.steps[source].scale) * scales)
            inputs.append(self.graph.constant(np.clip(np.rint(bias), -(2**31), 2**31 - 1).astype(np.int32), "bias"))
        kept = {name: value for name, value in attributes(node).items() if name != "auto_pad"}
        made = self.graph.add("QLinearConv", inputs, f"{output}@bytes", node.name, MICROSOFT, channels_last=1, **kept)
        self.forms[output] = {"bytes": made}
        if output != node.output[0] and self.steps[output].zero != 0:
            raise ValueError(f"the range of {output}, behind a ReLU, starts below zero")

    def _excited(self, output: str) -> None:
        """Channels scaled and made bytes at once: the step of each is divided by its factor."""
        excite, (scale, zero) = self.plan.excites[output], self._step(output)
        row, size = (self.graph.constant(np.array([number], np.int64), "size") for number in (-1, excite.channels))
        gates = self.graph.add("Reshape", [self._as(excite.gate, "nchw"), row], f"{output}@gates")
        scales = self.graph.add("Div", [scale, gates], f"{output}@scales")
        zeros = self.graph.add("Expand", [zero, size], f"{output}@zeros")
        made = self.graph.add("QuantizeLinear", [self._as(excite.map, "nchw"), scales, zeros], f"{output}@nchw", axis=1)
        self.forms[output] = {"bytes": self.graph.add("Transpose", [made], f"{output}@bytes", perm=_TO_NHWC)}

    def _pooled_convolution(self, node: NodeProto) -> None:
        """A 1x1 convolution of one value a channel is a product of a row and a matrix."""
        weight = self.graph.constants[node.input[1]][:, :, 0, 0].T
        product = self.graph.add(
            "MatMul",
            [self._as(node.input[0], "nhwc"), self.graph.constant(np.ascontiguousarray(weight), "weight")],
            f"{node.output[0]}@product",
            node.name,
        )
        if len(node.input) > 2:
            bias = self.graph.constant(self.graph.constants[node.input[2]], "bias")
            product = self.graph.add("Add", [product, bias], f"{node.output[0]}@nhwc")
        self.forms[node.output[0]] = {"nhwc": product}

    def _pointwise(self, node: NodeProto) -> None:
        for index, name in enumerate(node.input):
            if name not in self.graph.constants:
                node.input[index] = self._as(name, "nhwc")
        output = node.output[0]
        node.output[0] = f"{output}@nhwc"
        self.graph.nodes.append(node)
        self.forms[output] = {"nhwc": node.output[0]}
