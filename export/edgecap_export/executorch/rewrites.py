"""One torch definition, written with the operators that XNNPACK takes: rewrites of the exported graph.

XNNPACK's delegate takes no `where`, `layer_norm`, `select`, `stack`, `unsqueeze`, and no product or mean over more axes
than it knows; each one left cuts the delegated part in two, and every part costs a call. Each rewrite is a plain torch
function with the meaning of the operator that it replaces, for the shapes that occur here, or NotImplemented for
others, which then stay as they are. The comparison with PyTorch at the end of an export checks the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

aten = torch.ops.aten
Replacement = Any
"""A Tensor, or NotImplemented."""
_ZEROS = ((), ("constant",), ("constant", None), ("constant", 0.0))
"""Arguments of a pad that pads with zeros."""


def rewritten(program: ExportedProgram, leave: Collection[Any] = ()) -> ExportedProgram:
    """The program with every rewrite but those of `leave` applied; other operators stay whole, linear layers too."""
    chosen = {target: rewrite for target, rewrite in REWRITES.items() if target not in leave}
    changed: ExportedProgram = program.run_decompositions(chosen)
    return changed


def fold_padding(program: ExportedProgram) -> None:
    """Let convolutions pad by themselves where a pad before them is the same at both ends of an axis; in place.

    A pad by itself copies the whole map. XNNPACK could pad unlike ends too; ExecuTorch's convolution cannot say so.
    """
    nodes: list[Any] = list(program.graph.nodes)
    for node in nodes:
        if node.target != aten.conv2d.default or node.args[0].target != aten.pad.default:
            continue
        pad = node.args[0]
        left, right, top, bottom = pad.args[1]
        if left != right or top != bottom or pad.args[2:] not in _ZEROS:
            continue
        unstated: list[Any] = [None, None, None, [1, 1], [0, 0], [1, 1], 1]
        arguments: list[Any] = list(node.args) + unstated[len(node.args) :]
        high, wide = arguments[4]
        arguments[0], arguments[4] = pad.args[0], [high + top, wide + left]
        node.args = tuple(arguments)
        if not pad.users:
            program.graph.erase_node(pad)
    program.graph_module.recompile()


def where(mask: Tensor, chosen: Tensor, other: Tensor) -> Replacement:
    """Products and a sum, equal to the bit for finite numbers; a choice between two numbers stays."""
    if chosen.dim() == 0 or other.dim() == 0:
        return NotImplemented
    weight = mask.to(chosen.dtype)
    return chosen * weight + other * (1.0 - weight)


def layer_norm(  # noqa: PLR0917
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn: bool = True,
) -> Replacement:
    """Ba et al. 2016 (arXiv 1607.06450) over the last axis: XNNPACK averages images, so each row becomes one."""
    if len(shape) != 1 or weight is None or bias is None:
        return NotImplemented
    image = x.reshape(-1, 1, 1, shape[0])
    centred = image - image.mean((2, 3), keepdim=True)
    variance = (centred * centred).mean((2, 3), keepdim=True)
    return (centred * torch.rsqrt(variance + eps)).reshape(x.shape) * weight + bias


def select(x: Tensor, axis: int, index: int) -> Tensor:
    """A slice of one place, and the axis dropped."""
    shape = list(x.shape)
    place = index % shape[axis]
    del shape[axis % len(shape)]
    return x.narrow(axis, place, 1).reshape(shape)


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Joined along an axis of one."""
    return torch.cat([unsqueeze(tensor, axis) for tensor in tensors], axis)


def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """Another shape."""
    shape = list(x.shape)
    shape.insert(axis % (len(shape) + 1), 1)
    return x.reshape(shape)


def split(x: Tensor, size: int, axis: int = 0) -> list[Tensor]:
    """Slices instead of one operator with several outputs."""
    starts = range(0, x.shape[axis], size)
    return [x.narrow(axis, start, min(size, x.shape[axis] - start)) for start in starts]


def matmul(left: Tensor, right: Tensor) -> Replacement:
    """One batch of products where both have the same leading axes, or one of them has leading ones."""
    if left.dim() != right.dim() or left.dim() < 3:
        return NotImplemented
    ahead = left.shape[:-2] if left.shape[:-2].numel() >= right.shape[:-2].numel() else right.shape[:-2]
    for tensor in (left, right):
        if tensor.shape[:-2] != ahead and tensor.shape[:-2].numel() != ahead.numel():
            return NotImplemented
    product = torch.bmm(left.reshape(-1, *left.shape[-2:]), right.reshape(-1, *right.shape[-2:]))
    return product.reshape(*ahead, *product.shape[-2:])


def mean(x: Tensor, axes: Sequence[int] | None, keepdim: bool = False, *, dtype: Any = None) -> Replacement:  # noqa: ANN401
    """The mean over one axis of images as a pooling of that height or width."""
    if x.dim() != 4 or axes is None or len(axes) != 1 or axes[0] % 4 < 2 or dtype is not None:
        return NotImplemented
    kernel = [x.shape[2], 1] if axes[0] % 4 == 2 else [1, x.shape[3]]
    pooled: Tensor = aten.avg_pool2d.default(x, kernel, kernel, [0, 0], False, False)
    return pooled if keepdim else select(pooled, axes[0], 0)


def total(x: Tensor, axes: Sequence[int] | None, keepdim: bool = False, *, dtype: Any = None) -> Replacement:  # noqa: ANN401
    """The sum over the middle axis of three: the mean of an image that is one wide, times its height."""
    if x.dim() != 3 or axes is None or [axis % 3 for axis in axes] != [1] or dtype is not None or keepdim:
        return NotImplemented
    height = x.shape[1]
    image = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], height, 1)
    return (image.mean((2, 3), keepdim=True) * float(height)).reshape(x.shape[0], x.shape[2])


def adaptive_avg_pool(x: Tensor, size: Sequence[int]) -> Replacement:
    """The mean of each image, where the output size is 1 x 1."""
    if list(size) != [1, 1]:
        return NotImplemented
    return x.mean((2, 3), keepdim=True)


REWRITES: dict[Any, Callable[..., Any]] = {
    aten.where.self: where,
    aten.layer_norm.default: layer_norm,
    aten.select.int: select,
    aten.stack.default: stack,
    aten.unsqueeze.default: unsqueeze,
    aten.split.Tensor: split,
    aten.matmul.default: matmul,
    aten.mean.dim: mean,
    aten.sum.dim_IntList: total,
    aten.adaptive_avg_pool2d.default: adaptive_avg_pool,
}
"""Operator → the function that replaces it."""
