"""The names that are there without being taught: alarms by their pattern in time, and what a caption's words say.

Not a safety device: see `edgecap.sounds.alarms`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecap.errors import ConfigError
from edgecap.live.events.similarity import stems
from edgecap.sounds.alarm_patterns import PATTERNS


@dataclass(frozen=True)
class WordAlert:
    """A name for what captions say."""

    name: str
    words: tuple[str, ...]
    """For each of these groups the caption has one of its words."""
    least_seconds: float = 0.0
    """The caption's event lasts at least so long."""

    @property
    def identifier(self) -> str:
        """The name for topics."""
        return self.name.replace(" ", "-")

    def says(self, text: str, seconds: float) -> bool:
        """Whether a caption says it, of an event that has lasted `seconds`."""
        spoken = stems(text.replace("door bell", "doorbell"))  # captions write it in both ways
        return seconds >= self.least_seconds and all(spoken & stems(group) for group in self.words)


WORD_ALERTS = (
    WordAlert("glass breaking", ("glass window dishes bottle", "breaking shatters smashing crashing cracks")),
    WordAlert("baby crying", ("baby infant newborn toddler", "crying cries wails screams whimpers sobs fusses")),
    WordAlert("dog barking", ("dog puppy", "barking howls growls yaps whimpers")),
    WordAlert("knocking", ("knocking",)),
    WordAlert("doorbell", ("doorbell",)),
    WordAlert("running water", ("water faucet tap", "running flows pours gushes splashes filling"), 60.0),
)
NAMES = {pattern.identifier: pattern.name for pattern in PATTERNS} | {
    each.identifier: each.name for each in WORD_ALERTS
}
"""Identifier to name of each."""


def chosen(alerts: Sequence[str]) -> list[str]:
    """Identifiers of the alerts that the configuration names by name or identifier. Raises ConfigError."""
    identifiers = []
    for alert in alerts:
        identifier = alert.strip().casefold().replace(" ", "-")
        by_name = {name.replace(" ", "-"): each for each, name in NAMES.items()}
        if identifier not in NAMES and identifier not in by_name:
            raise ConfigError(f"events.alerts: there is no {alert!r}; there are {', '.join(NAMES)}")
        identifiers.append(by_name.get(identifier, identifier))
    return identifiers


def said(alerts: Sequence[str], text: str, seconds: float) -> Iterator[WordAlert]:
    """Those of the chosen alerts that a caption says."""
    for alert in WORD_ALERTS:
        if alert.identifier in alerts and alert.says(text, seconds):
            yield alert
