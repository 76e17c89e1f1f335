"""The audio encoders that a student can have: what each must offer, and the table of them.

A new encoder is one file with an `Encoder` class and one line in `ENCODERS`; recipes, checkpoints and commands know it
from there. Classes are loaded by name when they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd
from edgecap.errors import CheckpointError

ENCODERS: dict[str, str] = {
    "efficientnet-b2": "edgecap_train.models.efficientnet:EfficientNet",
    "yamnet": "edgecap_train.models.yamnet:YamNet",
}
"""Name in recipes and checkpoints → "module:Class" of an `Encoder`."""
FRAMES_PER_MEMORY = 32
"""Log-mel frames of one memory frame: every encoder halves time five times."""


class Encoder(nn.Module):
    """An audio encoder: its forward takes log-mel (B, n_mels, T) to memory (B, S, dim), S about T / 32.

    It is built without arguments.
    """

    dim: int
    """Width of the memory."""
    front_end: ClassVar[FrontEnd]
    """The front end that it is trained with."""
    pretrained: ClassVar[str] = ""
    """"module:function" that fills a fresh encoder with published weights, if any: (encoder, path) → `Pretrained`."""

    def configure(self, *, frozen_blocks: int, drop_connect: float) -> None:
        """Apply the keys of these names in a recipe's [model]; an encoder ignores those that do not concern it."""


@dataclass(frozen=True)
class Classifier:
    """The classifier that published weights came with, over the mean of the memory."""

    weight: Tensor
    """(classes, dim)."""
    bias: Tensor
    """(classes,)."""
    names: tuple[str, ...]
    """Display name of each class."""


@dataclass(frozen=True)
class Pretrained:
    """What published weights brought besides the encoder's own."""

    classifier: Classifier | None = None
    needs_statistics: bool = False
    """Whether BatchNorm's statistics have to be measured on sounds before anything else."""


def build_encoder(name: str) -> Encoder:
    """An encoder of the table with fresh weights. Raises ValueError for an unknown name."""
    return encoder_class(name)()


def encoder_class(name: str) -> type[Encoder]:
    """The class behind a name of the table. Raises ValueError for an unknown name."""
    check_encoder(name)
    result: type[Encoder] = _load(ENCODERS[name])
    return result


def check_encoder(name: str) -> None:
    """Raise ValueError unless the table has an encoder of this name."""
    if name not in ENCODERS:
        raise ValueError(f"there is no encoder {name!r}; the encoders are {', '.join(ENCODERS)}")


def load_pretrained(encoder: Encoder, path: Path) -> Pretrained:
    """Fill `encoder` with the published weights in `path`. Raises CheckpointError."""
    if not encoder.pretrained:
        raise CheckpointError(f"{type(encoder).__name__} has no published weights; leave --encoder-weights out")
    result: Pretrained = _load(encoder.pretrained)(encoder, path)
    return result


def _load(reference: str) -> Any:  # noqa: ANN401 - a class or a function
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
