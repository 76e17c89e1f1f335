"""The settings of one stream."""

from __future__ import annotations

from dataclasses import dataclass

from edgecap.live.config.events_config import EventsConfig
from edgecap.live.events.describe import NOVELTY_COSINE
from edgecap.live.pipeline.gate import GateSettings


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """How a stream is cut into windows, and which of them are captioned."""

    window: float
    """Seconds captioned at once."""
    hop: float = 2.0
    """Configured seconds from one caption to the next."""
    beam: int | None = None
    gate: GateSettings | None = None
    """None runs the model in quiet too."""
    novelty: float = NOVELTY_COSINE
    events: EventsConfig = EventsConfig()  # noqa: RUF009 - frozen
    phase: float = 0.0
    """Seconds by which the first window comes later, so that several streams do not need the model at once."""
    constant_after: float = 10.0
    """Seconds of one constant value after which the source is reported as faulty."""
    lost_after: float = 3.0
    """Seconds without samples after which the source is reported as faulty."""
    paused: bool = False
    """Whether sound is passed over."""
    audio_kept: str = ""
    """Folder in which a sink keeps the sound of events, for the views; empty where none does."""
