"""Tensors of a published file and their places in a module of ours: checked, then filled in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecap.errors import CheckpointError


@dataclass(frozen=True)
class Slot:
    """One tensor of a published file and where its values go."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[str, ...]
    """Names in our module; the published tensor holds their values one after the other."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How errors name a kind of checkpoint."""

    complete: str
    """What a file with a missing tensor should be."""
    kind: str
    """What a file with a tensor of another shape is not."""


def check_slots(  # noqa: PLR0917
    tensors: Mapping[str, Tensor],
    slots: Sequence[Slot],
    source: str,
    layout: Layout,
    optional: Collection[str] = (),
    prefix: str = "",
) -> None:
    """Raise CheckpointError for the first slot without a tensor of its shape and of finite numbers.

    `source` is the file's name; `prefix` stands before every name in it, and not in `tensors`.
    """
    needed = [slot for slot in slots if slot.name in tensors or slot.name not in optional]
    missing = sum(slot.name not in tensors for slot in needed)
    for slot in needed:
        name = prefix + slot.name
        if slot.name not in tensors:
            others = f" ({missing} of {len(needed)} are)" if missing > 1 else ""
            raise CheckpointError(f"{source}: tensor {name} is missing{others}; {layout.complete}")
        tensor = tensors[slot.name]
        if tuple(tensor.shape) != slot.shape:
            raise CheckpointError(
                f"{source}: tensor {name} has shape {tuple(tensor.shape)} where {slot.shape} is needed; "
                f"this is not {layout.kind}"
            )
        if not (tensor.is_floating_point() or name.endswith("num_batches_tracked")):
            raise CheckpointError(f"{source}: tensor {name} is of {tensor.dtype} where floating point is needed")
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{source}: tensor {name} holds NaN or infinity; the file is damaged")


def fill_slot(own: Mapping[str, Tensor], slot: Slot, tensor: Tensor) -> None:
    """Copy the values of a published tensor into the parts of `own`, a state dict."""
    values = torch.split(tensor.flatten(), [own[part].numel() for part in slot.parts])
    for part, value in zip(slot.parts, values, strict=True):
        own[part].copy_(value.view_as(own[part]))
