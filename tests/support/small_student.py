"""Students of random weights: one with every kind of layer that the real encoders have, small enough to be lowered in
seconds, and one with a whole encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecap.audio.frontend import FrontEnd
from edgecap_train.models.efficientnet import Block, BlockStage
from edgecap_train.models.encoder import ENCODERS, Encoder
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.models.yamnet import SamePadded, Separable

SIZE, WINDOW = 60, 129
FRONT_END = FrontEnd(win_length=400, power=1, f_min=125.0, f_max=7500.0, mel_slopes="mel", compression="log")


class SmallEncoder(Encoder):
    """A stem, separable convolutions, an inverted bottleneck with squeeze-excite, and the mean over frequency."""

    dim = 24
    front_end = FRONT_END

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(SamePadded(1, 8, 2), Separable(8, 16, 2), Separable(16, 16, 2))
        stage = BlockStage(blocks=1, kernel=3, stride=2, expansion=2, width=16)
        self.bottleneck = Block(16, stage, 2, (0, 1), 0.0)
        self.last = Separable(16, self.dim, 2)

    def forward(self, log_mel: Tensor) -> Tensor:
        """`log_mel` (B, n_mels, T) → memory (B, T // 32, 24)."""
        maps = self.last(functional.silu(self.bottleneck(self.blocks(log_mel.transpose(1, 2).unsqueeze(1)))))
        return torch.as_tensor(maps.mean(dim=3).transpose(1, 2))


def small_student(seed: int, **more: int) -> Student:
    """A student of random weights whose memory depends on the sound, in eval mode."""
    torch.manual_seed(seed)
    config = StudentConfig(
        encoder="yamnet", front_end=FRONT_END, vocabulary_size=SIZE, d_model=32, feed_forward=64, max_tokens=8, **more
    )
    student = Student(config, SmallEncoder()).eval()
    with torch.no_grad():
        drawn(student).decoder.embedding.weight.mul_(8)
    return student


@contextmanager
def small_yamnet() -> Iterator[None]:
    """Within, the encoder "yamnet" is the small one, so that a command can load a checkpoint of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "yamnet", "support.small_student:SmallEncoder")
        yield


def whole_student(encoder: Literal["yamnet", "efficientnet-b2"], seed: int) -> Student:
    """A student with a whole encoder and a small decoder, random weights, in eval mode."""
    torch.manual_seed(seed)
    return drawn(
        Student(
            StudentConfig(
                encoder=encoder,
                front_end=FRONT_END,
                vocabulary_size=20,
                d_model=32,
                layers=1,
                feed_forward=32,
                max_tokens=4,
            )
        ).eval()
    )


@torch.no_grad()
def drawn(student: Student) -> Student:
    """The student, its encoder's weights drawn anew so that what they make neither vanishes nor grows on its way."""
    for parameter in student.encoder.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return student
