"""`[[rules]]` of the configuration: which events go to which outputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgecap.util.limits import MOST_RULES

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24(?=:00)):([0-5]\d)")
PRINT = "print"
"""The output that is there without being configured: lines, JSON or the live view."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, kw_only=True)
class RuleConfig:
    """An event matches where all that is set holds; one table [[rules]] each."""

    name: str
    """What automations know it by, in the `rules` of an event: letters, digits, _ and -."""
    words: tuple[str, ...] = ()
    """Any of these content words is in the caption, as `events.only` matches."""
    without: tuple[str, ...] = ()
    """None of these is."""
    sounds: tuple[str, ...] = ()
    """It is an event of one of these named sounds, by name or identifier."""
    sources: tuple[str, ...] = ()
    """It was heard by one of these microphones."""
    min_level: Annotated[float, Meta(ge=-120, le=0)] | None = None
    """Its loudest 100 ms, dBFS."""
    min_confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Confidence of its caption."""
    hours: str | None = None
    """ "HH:MM-HH:MM" in local time, when it began; it may cross midnight."""
    days: tuple[str, ...] = ()
    """Days, mon to sun, on which these hours begin."""
    cooldown: Annotated[float, Meta(ge=0, le=604_800)] = 0.0
    """Seconds after a match in which nothing else matches."""
    outputs: tuple[str, ...] = ()
    """Outputs that get only what matches; without any the rule is a label."""


def faults(
    rules: Sequence[RuleConfig], configured: Collection[str], known: Collection[str]
) -> Iterator[tuple[int, str, str]]:
    """What cannot be meant: number of the rule from 0, its key, what is wrong.

    `known` are all outputs, `configured` those in use.
    """
    names = set[str]()
    for number, rule in enumerate(rules):
        if number >= MOST_RULES:
            yield number, "name", f"there are more than {MOST_RULES} rules"
        if not NAME.fullmatch(rule.name):
            yield number, "name", f"{rule.name!r} must be 1 to 40 letters, digits, _ and -"
        if rule.name in names:
            yield number, "name", f"two rules are called {rule.name}; rename one"
        names.add(rule.name)
        if rule.hours is not None:
            try:
                minutes(rule.hours)
            except ValueError:
                yield number, "hours", f"hours are written as 22:00-06:00, not {rule.hours!r}"
        for day in rule.days:
            if day not in DAYS:
                yield number, "days", f"there is no day {day!r}; there are {', '.join(DAYS)}"
        for output in rule.outputs:
            if output not in known:
                yield number, "outputs", f"there is no output {output!r}; there are {', '.join(sorted(known))}"
            elif output not in configured:
                used = ", ".join(sorted(configured))
                yield number, "outputs", f"the output {output} is not configured; configured are {used}"


def minutes(hours: str) -> tuple[int, int]:
    """ "HH:MM-HH:MM" as minutes since midnight, the end at most 1440. Raises ValueError."""
    match = HOURS.fullmatch(hours)
    if match is None:
        raise ValueError
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if begin == end:
        raise ValueError
    return begin, end
