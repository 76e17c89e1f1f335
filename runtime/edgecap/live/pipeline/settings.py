"""How a stream is walked and when it is captioned."""

from __future__ import annotations

from dataclasses import dataclass

from edgecap.live.events.describe import NOVELTY_COSINE
from edgecap.live.events.event import EventSettings
from edgecap.live.pipeline.gate import GateSettings


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """How a stream is walked and when it is captioned."""

    window: float
    """Seconds captioned at once."""
    hop: float = 2.0
    """Seconds from one caption to the next, as asked for."""
    beam: int | None = None
    gate: GateSettings | None = None
    """None asks the model in quiet too."""
    novelty: float = NOVELTY_COSINE
    events: EventSettings = EventSettings()  # noqa: RUF009 - frozen
    phase: float = 0.0
    """Seconds by which the first window comes later, so that several streams do not ask for the model at once."""
