"""`[events]` of the configuration."""

# ruff: noqa: RUF009 - `option` returns a field
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgecap.live.config.options import option
from edgecap.util.limits.bounded import Seconds

Share = Annotated[float, Meta(ge=0, le=1)]
Filter = Annotated[tuple[str, ...], Meta(max_length=1000)]


@dataclass(frozen=True, kw_only=True)
class EventsConfig:
    """When an event begins and ends, and which are reported."""

    close_after: Seconds = option(8.0, "--close-after SECONDS", "An event ends after this long without its sound.")
    settle: Annotated[float, Meta(ge=0)] = option(
        6.0,
        "--settle SECONDS",
        "An event begins when two captions in a row say the same, its sound is over, or this long has passed.",
    )
    longest: Seconds = option(600.0, "--longest SECONDS", "No event lasts longer; its sound then begins a new one.")
    cooldown: Annotated[float, Meta(ge=0, le=31_536_000)] = option(
        8.0, "--cooldown SECONDS", "The same event is not reported again so soon after its end."
    )
    min_score: Annotated[float, Meta(ge=-1000, le=0)] = option(
        -1.5, "--min-score SCORE", "Captions with a lower mean log-probability begin no event."
    )
    min_confidence: Share = option(
        0.5, "--min-confidence P", "Say something broader, as that an animal is heard, of a less probable caption."
    )
    same_words: Share = 0.5
    """Overlap of content words from which on two captions say the same."""
    same_sound: Share = 0.85
    """Cosine of the embeddings from which on two windows sound the same."""
    only: Filter = option((), "--only WORD", "Report only events with this word (repeatable).")
    ignore: Filter = option((), "--ignore WORD", "Report no event with this word (repeatable).")
    alerts: Filter = option(
        ("smoke-alarm", "co-alarm"),
        "--alert NAME",
        "Recognise these sounds by name: smoke-alarm, co-alarm, glass-breaking, baby-crying, dog-barking, knocking, "
        "doorbell, running-water (repeatable).",
    )
