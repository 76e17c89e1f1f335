"""What of the configuration can be changed while edgecap listens, as on the page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

from msgspec import Meta

from edgecap.errors import ConfigError
from edgecap.live.config.events_config import Filter, Share
from edgecap.live.config.listen_config import Level, ListenConfig
from edgecap.util.schema import SchemaError, convert

SHORTEST_HOP, LONGEST_HOP = 0.5, 600.0
LONGEST_WORD = 100


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """Keys of [stream] and [events], and whether listening is paused."""

    paused: bool = False
    """What is heard is passed over: not described, shown or kept."""
    gate: Level = "auto"
    """Of the microphones that have no gate of their own."""
    hop: Annotated[float, Meta(ge=SHORTEST_HOP, le=LONGEST_HOP)] = 2.0
    min_score: Annotated[float, Meta(ge=-1000, le=0)] = -1.5
    min_confidence: Share = 0.5
    only: Filter = ()
    ignore: Filter = ()

    def with_changes(self, given: Mapping[str, object]) -> LiveSettings:
        """These settings with some others. Raises ConfigError for what is none, or has a value that it cannot have."""
        before = asdict(self)
        if unknown := sorted(set(given) - set(before)):
            raise ConfigError(f"there is no setting {unknown[0]!r}; there are {', '.join(before)}")
        try:
            settings = convert(before | dict(given), LiveSettings)
        except SchemaError as error:
            raise ConfigError(str(error)) from error
        if any(len(word) > LONGEST_WORD for word in (*settings.only, *settings.ignore)):
            raise ConfigError(f"a word has at most {LONGEST_WORD} characters")
        return settings


def live_settings(config: ListenConfig) -> LiveSettings:
    """As configured."""
    stream, events = config.stream, config.events
    return LiveSettings(
        gate=stream.gate,
        hop=stream.hop,
        min_score=events.min_score,
        min_confidence=events.min_confidence,
        only=events.only,
        ignore=events.ignore,
    )


class LiveBox:
    """The way of new settings from any thread to the listening one, which takes all of them between two steps."""

    def __init__(
        self,
        settings: LiveSettings,
        check: Callable[[LiveSettings], None],
        keep: Callable[[Callable[[], LiveSettings]], None] | None = None,
    ) -> None:
        """`check` raises ConfigError for settings that cannot be used; `keep` makes what is asked for last.

        It gets a function that gives the newest settings.
        """
        self._check, self._keep = check, keep
        self.lasts = keep is not None
        """Whether they hold after a restart too."""
        self._change = threading.Condition()
        """Guards the two below."""
        self._now = settings
        self._asked: LiveSettings | None = None

    @property
    def now(self) -> LiveSettings:
        """The settings in force."""
        return self._now

    def ask(self, given: Mapping[str, object], seconds: float) -> tuple[LiveSettings, bool]:
        """Ask for some other settings, and wait at most `seconds` until they are in force; whether they are.

        Raises ConfigError; then nothing has changed.
        """
        with self._change:
            asked = (self._asked or self._now).with_changes(given)
            self._check(asked)
            self._asked = asked
            applied = self._change.wait_for(lambda: self._asked is None, seconds)
        if self._keep is not None:
            self._keep(self._newest)
        return asked, applied

    def begin(self, settings: LiveSettings) -> None:
        """Ask for settings of before, which are kept already."""
        with self._change:
            self._asked = settings

    def take(self) -> LiveSettings | None:
        """What is asked for and not yet in force, for the listening thread."""
        return self._asked

    def applied(self, settings: LiveSettings) -> None:
        """These settings are in force."""
        with self._change:
            self._now = settings
            if self._asked is settings:  # else newer ones were asked for meanwhile
                self._asked = None
                self._change.notify_all()

    def _newest(self) -> LiveSettings:
        with self._change:
            return self._asked or self._now
