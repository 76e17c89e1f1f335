"""EfficientNet-B2 over a log-mel spectrogram: log-mel in, memory out.

Knows nothing about decibels, words or checkpoints' names. The network is Tan & Le's
(arXiv 1905.11946) with one input channel and no classifier, in the form that the published student
was trained in (Xu et al. 2024, arXiv 2407.14329): its padding is a constant, see `PADDING`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from edgecap.audio.frontend import FrontEnd
from edgecap_train.models.encoder import Encoder

DIM = 1408
"""Channels of the last feature map, and so the width of the memory."""
NORM_EPS = 1e-3
NORM_MOMENTUM = 0.01
DROP_CONNECT = 0.2
"""Chance that training skips the last block; it grows linearly from 0 over the blocks."""


@dataclass(frozen=True, kw_only=True)
class BlockStage:
    """Consecutive blocks of one shape; the first has the stride and the change of width."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


STEM_WIDTH = 32
# EfficientNet-B0's stages with widths times 1.1 (rounded to 8) and depths times 1.2 (rounded up).
STAGES = (
    BlockStage(blocks=2, kernel=3, stride=1, expansion=1, width=16),
    BlockStage(blocks=3, kernel=3, stride=2, expansion=6, width=24),
    BlockStage(blocks=3, kernel=5, stride=2, expansion=6, width=48),
    BlockStage(blocks=4, kernel=3, stride=2, expansion=6, width=88),
    BlockStage(blocks=4, kernel=5, stride=1, expansion=6, width=120),
    BlockStage(blocks=5, kernel=5, stride=2, expansion=6, width=208),
    BlockStage(blocks=2, kernel=3, stride=1, expansion=6, width=352),
)


def static_padding(image: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after each axis for "same" padding of a square image of `image` pixels."""
    total = max((-(-image // stride) - 1) * stride + kernel - image, 0)
    return total // 2, total - total // 2


IMAGE = 260
"""Side of the image that B2's padding is computed for. The published student keeps that padding although a
spectrogram has other sides, so the two first 3x3 strides pad only at the right and the bottom."""


class PaddedConv(nn.Conv2d):
    """A convolution with a constant padding that may differ between the two ends of an axis."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int, groups: int, padding: tuple[int, int]
    ) -> None:
        before, after = padding
        symmetric = before == after
        super().__init__(
            inputs, outputs, kernel, stride=stride, groups=groups, bias=False, padding=before if symmetric else 0
        )
        self.ends = None if symmetric else (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) → (B, C', H', W')."""
        x = x if self.ends is None else functional.pad(x, self.ends)
        if self.training and self.groups > 1 and self.weight.requires_grad and x.device.type == "cpu":
            learnt: Tensor = _LearntDepthwise.apply(x, self.weight, self.stride, self.padding)  # type: ignore[no-untyped-call]
            return learnt
        return super().forward(x)


class _LearntDepthwise(torch.autograd.Function):
    """A depthwise convolution whose weights get their gradient in float32, as it is faster on processors.

    oneDNN has no fast one in bfloat16: for 288 channels, 5 x 5 and maps of 8 x 40 in a batch of 32 it takes 110 ms in
    bfloat16 and 23 in float32 (PyTorch 2.13.0, channels last, one thread of an Intel Xeon with AMX).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:  # noqa: ANN401
        """`x` (B, C, H, W), `weight` (C, 1, k, k) → (B, C, H', W')."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = list(stride), list(padding)
        return functional.conv2d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:  # noqa: ANN401
        """Gradients of `x`, in the precision of the forward pass, and of `weight`."""
        x, weight = ctx.saved_tensors
        (gradient,) = gradients

        def part(dtype: torch.dtype, *, of_input: bool) -> Tensor:
            tensors = (tensor.to(dtype) for tensor in (gradient, x, weight))
            place = (ctx.stride, ctx.padding, [1, 1], False, [0, 0], len(weight), [of_input, not of_input, False])
            computed: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(*tensors, [0], *place)
            return computed[0 if of_input else 1]

        of_input = part(gradient.dtype, of_input=True).to(x.dtype) if ctx.needs_input_grad[0] else None
        return of_input, part(torch.float32, of_input=False).to(weight.dtype), None, None


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=NORM_EPS, momentum=NORM_MOMENTUM)


class SqueezeExcite(nn.Module):
    """Scales each channel by a number computed from all channels' means."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) → the same shape."""
        scale = functional.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.expand(functional.silu(self.reduce(scale))))


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, squeeze-excite, project, and the input added where shapes agree."""

    def __init__(self, inputs: int, stage: BlockStage, stride: int, padding: tuple[int, int], drop: float) -> None:
        super().__init__()
        wide = inputs * stage.expansion
        self.expand = nn.Conv2d(inputs, wide, 1, bias=False) if wide != inputs else None
        self.expand_norm = _norm(wide) if wide != inputs else None
        self.depthwise = PaddedConv(wide, wide, stage.kernel, stride=stride, groups=wide, padding=padding)
        self.depthwise_norm = _norm(wide)
        self.squeeze = SqueezeExcite(wide, max(1, inputs // 4))
        self.project = nn.Conv2d(wide, stage.width, 1, bias=False)
        self.project_norm = _norm(stage.width)
        self.residual = stride == 1 and inputs == stage.width
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) → (B, C', H', W')."""
        y: Tensor = x
        if self.expand is not None and self.expand_norm is not None:
            y = functional.silu(self.expand_norm(self.expand(y)))
        y = functional.silu(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(self.squeeze(y)))
        if not self.residual:
            return y
        if self.training and self.drop > 0:
            keep = 1.0 - self.drop
            y = y * (torch.rand(y.shape[0], 1, 1, 1, device=y.device, dtype=y.dtype) < keep) / keep
        return x + y


class EfficientNet(Encoder):
    """EfficientNet-B2 with one input channel: 7,700,418 parameters."""

    dim = DIM
    front_end = FrontEnd()
    pretrained = "edgecap_train.checkpoints.lite2:load_lite2_weights"

    def __init__(self) -> None:
        super().__init__()
        padding = static_padding(IMAGE, 3, 2)
        self.stem = PaddedConv(1, STEM_WIDTH, 3, stride=2, groups=1, padding=padding)
        self.stem_norm = _norm(STEM_WIDTH)
        image = -(-IMAGE // 2)
        total = sum(stage.blocks for stage in STAGES)
        blocks: list[Block] = []
        width = STEM_WIDTH
        for stage in STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                padding = static_padding(image, stage.kernel, stride)
                blocks.append(Block(width, stage, stride, padding, DROP_CONNECT * len(blocks) / total))
                image = -(-image // stride)
                width = stage.width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(width, DIM, 1, bias=False)
        self.head_norm = _norm(DIM)
        self._frozen: list[nn.Module] = []

    def configure(self, *, frozen_blocks: int, drop_connect: float) -> None:
        """Freeze the stem and the first `frozen_blocks` blocks, their statistics too; let training skip the last block.

        That happens with the chance `drop_connect`, which grows linearly from 0 over the blocks. Channels last is the
        faster memory format.
        """
        for index, block in enumerate(self.blocks):
            cast(Block, block).drop = drop_connect * index / len(self.blocks)
        self._frozen = [self.stem, self.stem_norm, *self.blocks[:frozen_blocks]] if frozen_blocks else []
        for module in self._frozen:
            module.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> Self:
        """As of every module, but what is frozen stays as it is in use."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, log_mel: Tensor) -> Tensor:
        """`log_mel` (B, n_mels, T) in decibels → memory (B, ceil(T / 32), 1408): the mean over frequency."""
        x: Tensor = functional.silu(self.stem_norm(self.stem(log_mel.unsqueeze(1))))
        for block in self.blocks:
            x = block(x)
        maps: Tensor = functional.silu(self.head_norm(self.head(x)))
        return maps.mean(dim=2).transpose(1, 2)
