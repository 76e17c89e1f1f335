"""From a window of log-mel to a caption, without the decoder where nothing has changed.

The encoder's clip embedding says how much a window differs from the one captioned last. Measured on the example
sounds with the tiny model, 2 s apart: a steady sound keeps a cosine of 0.994 to 1.000 with itself, another sound
is at 0.17 to 0.68. The comparison is always with the window that was decoded, so slow changes add up and are
found, and after `REFRESH` windows the decoder runs in any case.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.caption import Assessment, Beam, SoundMatch
from edgecap.captioner import Captioner
from edgecap.errors import OperatorError
from edgecap.types import LogMel

NOVELTY_COSINE = 0.998
REFRESH = 15
"""Windows after which the decoder runs even though nothing has changed."""


@dataclass(frozen=True)
class WindowJob:
    """A window to caption."""

    frames: LogMel
    """Log-mel without the window's level, shape (n, n_mels)."""
    start: float
    """Seconds of sound before it."""
    end: float
    level: float
    """Level of its loudest block since the window before, dBFS."""
    asked: float
    """Seconds since boot at which it was handed over."""
    sounded: float
    """Seconds of sound up to the last loud block, at most `end`."""
    first: int = 0
    """The stream's number of the first frame."""
    sliding: bool = False
    """Whether it is cut off somewhere in the sound, because it is as long as a window may be."""


@dataclass(frozen=True, slots=True)
class HeardSound:
    """A sound that has a name, in a stream: taught, or one of the built-in alerts."""

    name: str
    """As people know it: "our doorbell"."""
    identifier: str
    """Lower-case letters, digits and hyphens: "our-doorbell"."""
    confidence: float
    """Between 0 and 1."""
    start: float
    """Seconds of sound before it."""
    end: float
    """Seconds of sound up to its end."""

    def document(self) -> dict[str, object]:
        """For JSON; the event that it belongs to has the times."""
        return {"name": self.name, "identifier": self.identifier, "confidence": round(self.confidence, 3)}


@dataclass(frozen=True)
class Described:
    """What a window says."""

    job: WindowJob
    beams: tuple[Beam, ...]
    """Best first, at least one."""
    embedding: NDArray[np.float32]
    """The clip embedding, shape (embedding_dim,), length 1."""
    reused: bool
    """Whether the decoder was skipped because nothing had changed."""
    seconds: float
    """Time it took."""
    waited: float = 0.0
    """Seconds before that in which the model was busy with other windows."""
    sounds: tuple[SoundMatch, ...] = ()
    """The taught sounds in it."""
    assessment: Assessment | None = None
    """How probable the best beam is; None where the model does not know."""

    @property
    def probability(self) -> float | None:
        """Calibrated, of the best beam; None where the model does not know it."""
        return None if self.assessment is None else self.assessment.confidence

    def said(self, least: float) -> str:
        """The best beam's text, or something broader where it is known to be less probable than `least`."""
        text = self.beams[0].text
        return text if self.assessment is None else self.assessment.statement(text, least)

    @property
    def heard(self) -> list[HeardSound]:
        """The taught sounds, at their places in the stream."""
        start = self.job.start
        return [
            HeardSound(match.name, match.identifier, match.confidence, start + match.start, start + match.end)
            for match in self.sounds
        ]


class Describer:
    """Captions windows one after the other."""

    def __init__(
        self,
        captioner: Captioner,
        *,
        beam: int | None = None,
        novelty: float = NOVELTY_COSINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`novelty` is the cosine from which on two windows are the same; above 1 the decoder always runs."""
        try:
            self._encode = captioner.stream_encoder()
        except OperatorError:  # `edgecap.live.threads.slower_way` has told
            self._encode = captioner.encode_window
        self._captioner, self._beam, self._novelty, self._clock = captioner, beam, novelty, clock
        self._last: Described | None = None
        self._reuses = 0

    def __call__(self, job: WindowJob) -> Described:
        """Caption one window. Raises BundleError where the model answers with nonsense."""
        began = self._clock()
        waited = max(0.0, began - job.asked)
        encoded = self._encode(job.frames, job.first, sliding=job.sliding)
        embedding, sounds = unit(encoded.clip_embedding), self._captioner.sounds(encoded)
        last = self._last
        if last is not None and self._reuses < REFRESH and float(embedding @ last.embedding) >= self._novelty:
            self._reuses += 1
            before = last.assessment
            return Described(job, last.beams, embedding, True, self._clock() - began, waited, sounds, before)
        beams = self._captioner.decode(encoded, self._beam)
        self._reuses = 0
        known = self._captioner.assess(encoded, beams)
        self._last = Described(job, beams, embedding, False, self._clock() - began, waited, sounds, known)
        return self._last


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A vector at length 1; zeros stay zeros."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / np.float32(length or 1.0), np.float32)
