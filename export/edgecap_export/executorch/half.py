"""Weights in float16, arithmetic in float32, for ExecuTorch's XNNPACK delegate.

XNNPACK itself has convolutions and products of float32 with float16 weights, which it widens once when a program is
loaded; that runs on every processor and is as fast and almost as exact as float32. ExecuTorch's exporter has no switch
for it: a model in float16 would compute in float16 and still store its convolutions in float32. So its serialiser is
patched here, weight by weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

_LARGEST = torch.finfo(torch.float16).max


@contextmanager
def half_weights() -> Iterator[None]:
    """While it lasts, every program lowered stores the weights of float convolutions and products in float16."""
    from executorch.backends.xnnpack.operators import node_visitor
    from executorch.backends.xnnpack.utils.utils import get_param_tensor, is_param_node

    define = node_visitor.NodeVisitor.define_tensor
    halved: set[Node] = set()

    def define_tensor(self: Any, tensor: Node, *arguments: Any, **more: Any) -> None:  # noqa: ANN401
        if more.get("quant_params") is None and is_param_node(self.exported_program, tensor) and _is_weight(tensor):
            value = get_param_tensor(self.exported_program, tensor)
            if value.dtype == torch.float32 and float(value.abs().max()) <= _LARGEST:
                halved.add(tensor)
                tensor.meta["val"] = tensor.meta["val"].half()
                more["force_fp32"] = False
        define(self, tensor, *arguments, **more)

    def param_tensor(program: ExportedProgram, node: Node) -> Tensor | None:
        value: Tensor | None = get_param_tensor(program, node)
        return value.half() if value is not None and node in halved else value

    node_visitor.NodeVisitor.define_tensor = define_tensor
    node_visitor.get_param_tensor = param_tensor
    try:
        yield
    finally:
        node_visitor.NodeVisitor.define_tensor = define
        node_visitor.get_param_tensor = get_param_tensor


def _is_weight(node: Node) -> bool:
    """Whether a constant is a factor of linear layers and convolutions.

    Of a convolution with one channel in for each out XNNPACK takes float32 alone; such weights are few.
    """
    if node.meta["val"].dim() == 4 and node.meta["val"].shape[1] == 1:
        return False
    return all(
        len(user.args) > 1
        and user.args[1] is node
        and getattr(user.target, "__name__", "").startswith(("aten.convolution", "aten.linear"))
        for user in node.users
    )
