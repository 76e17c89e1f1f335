"""What goes on, for the live view and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from edgecap.audio.samples import LEVEL_FLOOR_DBFS
from edgecap.live.events.event import Event


@dataclass
class Status:
    """A listener's counts and last values; written by the listening thread only."""

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
    """Windows that the encoder was asked about."""
    reused: int = 0
    """Captions for which the decoder was skipped."""
    quiet: int = 0
    """Hops that were quiet, so that the model was not asked."""
    dropped: int = 0
    """Hops without a caption because the one before took too long."""
    lost: float = 0.0
    """Seconds of sound that were never looked at."""
    overflows: int = 0
    """Times that the system lost sound before edgecap saw it."""
    suppressed: int = 0
    """Captions that began no event: filtered, too unsure, or said just before."""
    events: int = 0
    event: Event | None = None
    """The open one."""
    text: str = ""
    """The last caption, told or not."""
    score: float | None = None
    beams: tuple[tuple[str, float], ...] = ()
    """Texts and scores of the last search."""
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

    @property
    def load(self) -> float:
        """Share of a hop that a caption takes: the real-time factor of the model."""
        return self.seconds / self.hop
