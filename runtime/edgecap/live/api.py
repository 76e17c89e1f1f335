"""`edgecap.listen`: events as a Python iterator, plain or asynchronous."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from edgecap.errors import ConfigError
from edgecap.live.config.config_file import load_config, sections
from edgecap.live.events.event import Event, Kind
from edgecap.live.pipeline.status import Status
from edgecap.live.session import ListenSession
from edgecap.live.sources.source import Tell

LOG = logging.getLogger("edgecap.listen")
CLOSE_TRIES = 200
ALIASES = {"model": "name", "web": "address"}


class Events:
    """Events of an open listener, in `for` and in `async for`. Closes itself at the end of either."""

    def __init__(self, session: ListenSession, kinds: frozenset[Kind]) -> None:
        self._session, self._kinds = session, kinds
        self._stop = threading.Event()
        self._walk = self._events()

    @property
    def status(self) -> Status:
        """What goes on: level, gate, counts; of the first microphone where there are several."""
        return self._session.status

    @property
    def statuses(self) -> list[Status]:
        """What goes on at each microphone."""
        return self._session.statuses

    def stop(self) -> None:
        """Let the listener end, from any thread; the open event is closed and given."""
        self._stop.set()

    def close(self) -> None:
        """End the listener and let go of the device and the outputs; from any thread."""
        self._stop.set()
        for _ in range(CLOSE_TRIES):
            try:
                self._walk.close()
                break
            except ValueError:  # another thread is in the middle of a step, which ends soon
                time.sleep(0.05)
        self._session.close()

    def __iter__(self) -> Iterator[Event]:
        return self._walk

    def __next__(self) -> Event:
        return next(self._walk)

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while (event := await asyncio.to_thread(next, self._walk, None)) is not None:
                yield event
        finally:
            self._stop.set()  # a step that still runs in its thread ends by itself

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _events(self) -> Generator[Event]:
        with self._session, closing(self._session.changes(self._stop)) as changes:
            for change in changes:
                if change.kind in self._kinds:
                    yield change.event


def listen(
    *,
    on: Literal["begin", "end", "all"] = "begin",
    config: str | Path | None = None,
    tell: Tell | None = None,
    **options: object,
) -> Events:
    """Listen, and give each event when it begins, when it has ended, or with every change.

        for event in edgecap.listen(device="USB", hop=2.0):
            print(event.text, event.level_dbfs)

    `options` are the keys of the configuration file (`edgecap listen --print-config` shows them), with `model` for
    the model's name and `web` for the address of the page; `config` is such a file, over which they win. What only
    chooses how the command prints (`json`, `updates`, `plain`, `hearing`) has no effect here. `tell` takes what people
    should know, a kind and one line; without it that goes to the logger "edgecap.listen". The device is opened at once,
    so its errors come from this call: DeviceError, AudioError, BundleError, OutputError, ConfigError,
    MissingDependencyError.
    """
    if on not in {"begin", "end", "all"}:
        raise ConfigError(f"on is 'begin', 'end' or 'all', not {on!r}")
    places = sections()
    over: dict[str, dict[str, object]] = {}
    known = sorted({*places, *ALIASES} - {*ALIASES.values()})
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"listen() has no option {name!r}; it has {', '.join(known)}")
        key = ALIASES.get(name, name)
        over.setdefault(places[key], {})[key] = value
    kinds: frozenset[Kind] = frozenset({"begin", "update", "end"}) if on == "all" else frozenset({on})
    return Events(ListenSession(load_config(config, over), tell or _log), kinds)


def _log(kind: str, message: str) -> None:
    LOG.log(logging.WARNING if kind == "warning" else logging.INFO, message)
