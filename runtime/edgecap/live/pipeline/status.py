"""What one step of a stream brings: changes of events, new sound, and the status that views and metrics show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from edgecap.audio.samples import LEVEL_FLOOR_DBFS
from edgecap.live.config.live_settings import LiveSettings
from edgecap.live.events.describe import HeardSound
from edgecap.live.events.event import Change, Event
from edgecap.live.sources.source import NOTHING
from edgecap.types import LogMel, Waveform


@dataclass(frozen=True, kw_only=True)
class StatusSnapshot:
    """Counters and latest values of one stream after a step. A new one replaces it as a whole: safe in any thread."""

    source: str
    asked_hop: float
    hop: float
    """Seconds between captions now."""
    number: int = 0
    """Which of several streams it is, from 0."""
    heard: float = 0.0
    """Seconds of sound."""
    level: float = LEVEL_FLOOR_DBFS
    """Newest 100 ms, dBFS."""
    loudest: float = LEVEL_FLOOR_DBFS
    """Loudest 100 ms of the newest ten seconds, dBFS."""
    floor: float | None = None
    """The gate's noise floor, dBFS; None without a gate."""
    gate_open: bool = False
    windows: int = 0
    """Hops that passed."""
    captions: int = 0
    """Windows that were encoded."""
    reused: int = 0
    """Captions for which the decoder was skipped."""
    quiet: int = 0
    """Hops that were quiet, so that the model was not run."""
    dropped: int = 0
    """Hops without a caption because the one before took too long."""
    lost: float = 0.0
    """Seconds of sound that were never looked at."""
    overflows: int = 0
    """Times that the system lost sound before edgecap saw it."""
    suppressed: int = 0
    """Captions that began no event: filtered, too unsure, or a repetition."""
    events: int = 0
    event: Event | None = None
    """The open one."""
    beams: tuple[tuple[str, float], ...] = ()
    """Texts and scores of the last window's captions, best first."""
    seconds: float = 0.0
    """Time that the last caption took."""
    latency: float = 0.0
    """Seconds from the end of the last window to its caption."""
    slowest: float = 0.0
    """The longest of these."""
    celsius: float | None = None
    throttled: bool = False
    fault: str = ""
    """What is wrong with the source; empty where nothing is."""
    audio_kept: str = ""
    """Folder in which sound is kept; empty where none is."""
    live: LiveSettings = LiveSettings()  # noqa: RUF009 - frozen
    """What can be changed while listening, as it is now."""

    def updated(self, values: Mapping[str, object]) -> Self:
        """This with other values of some fields, as `dataclasses.replace` and much faster: each step needs it."""
        if not values.keys() <= self.__dict__.keys():
            raise TypeError(f"a status has no {sorted(values.keys() - self.__dict__.keys())}")
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.__dict__.update(values)
        return new

    @property
    def paused(self) -> bool:
        """Whether sound is passed over, as somebody asked on the page."""
        return self.live.paused

    @property
    def text(self) -> str:
        """The last window's best caption, whether it became an event or not; empty before the first."""
        return self.beams[0][0] if self.beams else ""

    @property
    def score(self) -> float | None:
        """Mean log-probability of that caption."""
        return self.beams[0][1] if self.beams else None

    @property
    def load(self) -> float:
        """Share of a hop that a caption takes: the real-time factor of the model."""
        return self.seconds / self.hop


@dataclass(frozen=True)
class StreamStep:
    """What one step of a stream brought."""

    status: StatusSnapshot
    changes: tuple[Change, ...] = ()
    """Of events, in order."""
    samples: Waveform = field(default_factory=lambda: NOTHING)
    """New sound, shape (n,) at the model's rate, which ends at `status.heard`."""
    frames: LogMel | None = None
    """Log-mel frames that became complete, shape (n, n_mels), each once; None where there are none."""
    heard: tuple[HeardSound, ...] = ()
    """The taught sounds in the windows that were captioned; overlapping windows have the same sound."""
