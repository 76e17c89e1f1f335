"""Which rules an event matches, and so which outputs get it.

A rule that an event matches when it begins, or with a later caption or level, stays matched until the event ends. So
an output gets begin, updates and end of one event or nothing of it; where an event matches late, its first update
is given as its beginning. Matching is a function of the event alone; only the cooldown remembers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edgecap.errors import ConfigError
from edgecap.live.config.rule_config import DAYS, RuleConfig, minutes
from edgecap.live.events.event import Change, Event
from edgecap.live.events.similarity import stems
from edgecap.sounds.names import is_same

Local = Callable[[float], datetime]
"""Unix time to local time."""


@dataclass(frozen=True)
class Routed:
    """A change whose event names its rules, and the names of those that it matched before this change."""

    change: Change
    before: tuple[str, ...]


class Rules:
    """Names the rules of each event, and says what an output gets."""

    def __init__(self, rules: Sequence[RuleConfig], *, local: Local = datetime.fromtimestamp) -> None:
        """Raises ConfigError for a word that is no content word of captions."""
        for rule in rules:
            for key in ("words", "without"):
                check_words(f"rule {rule.name}: {key}", getattr(rule, key))
        self._rules, self._local = rules, local
        self._of_output: dict[str, frozenset[str]] = {
            output: frozenset(rule.name for rule in rules if output in rule.outputs)
            for output in {output for rule in rules for output in rule.outputs}
        }
        self._matched: dict[int, tuple[str, ...]] = {}
        """Number of an open event to the rules that it matches."""
        self._last: dict[str, float] = {}
        """Rule to the Unix time of its last match."""

    def apply(self, change: Change) -> Routed:
        """Name the rules of a change's event. Changes come in the order in which outputs get them."""
        event = change.event
        before = self._matched.get(event.id, ())
        after = before if change.kind == "end" else (*before, *self._new(event, before))
        if change.kind == "end":
            self._matched.pop(event.id, None)
        else:
            self._matched[event.id] = after
        return Routed(replace(change, event=replace(event, rules=after)), before)

    def clock_set(self, seconds: float) -> None:
        """The system's clock was set `seconds` forward."""
        self._last = {name: last + seconds for name, last in self._last.items()}

    def given(self, routed: Routed, output: str) -> Change | None:
        """What an output gets of a change; None for nothing."""
        names = self._of_output.get(output)
        if names is None:
            return routed.change
        if names.isdisjoint(routed.change.event.rules):
            return None
        return replace(routed.change, kind="begin") if names.isdisjoint(routed.before) else routed.change

    def _new(self, event: Event, before: tuple[str, ...]) -> list[str]:
        """Rules that the event matches and did not match before."""
        names = []
        for rule in self._rules:
            if rule.name in before or event.ended - self._last.get(rule.name, float("-inf")) < rule.cooldown:
                continue
            if matches(rule, event, self._local(event.began)):
                self._last[rule.name] = event.ended
                names.append(rule.name)
        return names


def matches(rule: RuleConfig, event: Event, began: datetime) -> bool:
    """Whether an event that began at this local time has all that the rule asks for; its cooldown is not looked at."""
    words = stems(event.text)
    return (
        (not rule.words or bool(words & _stems(rule.words)))
        and (not rule.sounds or _is_of(event, rule.sounds))
        and not words & _stems(rule.without)
        and (not rule.sources or event.source.casefold() in {name.casefold() for name in rule.sources})
        and (rule.min_level is None or event.level_dbfs >= rule.min_level)
        and (rule.min_confidence is None or event.confidence >= rule.min_confidence)
        and _on_time(rule, began)
    )


def check_words(key: str, words: Sequence[str], *, names: bool = False) -> None:
    """Refuse words that no caption can match: such a filter would silently do nothing. Raises ConfigError.

    Where a filter takes the names of sounds too, any word passes that is not one of those that captions do not count.
    """
    for word in words:
        name = names and re.search(r"[^\W_a-zA-Z]", word)
        if not (name or stems(word)):
            raise ConfigError(f"{key}: {word!r} is not a content word of captions; use a noun, as dog")


def _is_of(event: Event, sounds: Sequence[str]) -> bool:
    """Whether it is an event of one of these named sounds."""
    return bool(event.named) and any(is_same(sound, event.text, event.named) for sound in sounds)


def _stems(words: Sequence[str]) -> frozenset[str]:
    return frozenset().union(*(stems(word) for word in words))


def _on_time(rule: RuleConfig, began: datetime) -> bool:
    """Whether it is within the hours; what crosses midnight belongs to the day on which it begins."""
    day, minute = began.weekday(), began.hour * 60 + began.minute
    if rule.hours is not None:
        first, last = minutes(rule.hours)
        if first < last:
            inside = first <= minute < last
        else:
            inside = minute >= first or minute < last
            if minute < last:
                day = (began - timedelta(days=1)).weekday()
        if not inside:
            return False
    return not rule.days or DAYS[day] in rule.days
