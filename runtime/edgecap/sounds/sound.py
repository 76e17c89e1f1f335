"""What is known of a sound that the user taught."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]
"""Frame embeddings of a stretch of sound, shape (frames, width), in the order of time."""


@dataclass(frozen=True, eq=False)
class TaughtSound:
    """A sound that has a name. It holds embeddings, no audio."""

    name: str
    """As the user wrote it: "our doorbell"."""
    identifier: str
    """The name for topics, file names and the like: lower-case letters, digits and hyphens; unique in a store."""
    model: str
    """Identity of the encoder that made the embeddings (`edgecap.sounds.bank.model_identity`)."""
    threshold: float
    """Score from which on a window holds the sound."""
    typical: float
    """Score that an example gets from the others: that of a confidence of 1."""
    examples: tuple[Frames, ...]
    """Frame embeddings of each example, cut to where it sounds."""
    counter_examples: tuple[Frames, ...] = ()
    """Frame embeddings of what is not this sound."""
    created: str = ""
    """When it was taught first, ISO 8601."""
    false_alarms: float = 1.0 / 24.0
    """Wanted false alarms an hour, from which the threshold follows."""
    recordings: int = 0
    """How many examples are kept as audio beside their embeddings (`SoundStore.recordings`)."""
    bank: str = ""
    """Identity of the bank by which threshold and typical score were computed (`edgecap.sounds.bank.Bank.identity`)."""

    def is_learnt_as(self, other: TaughtSound) -> bool:
        """Whether another recognises the same by the same examples and rate."""
        here, there = (
            [frames.tobytes() for frames in (*sound.examples, *sound.counter_examples)] for sound in (self, other)
        )
        return (here, self.false_alarms, self.model) == (there, other.false_alarms, other.model)
