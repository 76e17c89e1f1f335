"""`edgecap.listen`: events as a Python iterator, plain or asynchronous."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, Self

from edgecap.errors import ConfigError
from edgecap.live.config.config_file import LISTED, load_config, sections
from edgecap.live.events.event import Event, Kind
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.session import ListenSession
from edgecap.types import Notify

LOG = logging.getLogger("edgecap.listen")
CLOSE_SECONDS = 10.0
"""More than a listener takes to end (`edgecap.live.loop.DRAIN_SECONDS`)."""
ALIASES = {"model": "name", "web": "address"}


class Events:
    """Events of an open listener, for `for` and `async for`. Closes itself at the end of either."""

    def __init__(self, session: ListenSession, kinds: frozenset[Kind]) -> None:
        self._session, self._kinds = session, kinds
        self._stop = threading.Event()
        self._stepping = threading.Lock()
        """Held while the generator runs."""
        self._events = self._generate()

    @property
    def status(self) -> StatusSnapshot:
        """Level, gate, counts and last caption as of the last step; of the first microphone where there are several."""
        return self._session.status

    @property
    def statuses(self) -> list[StatusSnapshot]:
        """The same for each microphone."""
        return self._session.statuses

    def stop(self) -> None:
        """Ask the listener to end, from any thread or a signal handler; the open event still ends and is given."""
        self._stop.set()

    def close(self) -> None:
        """End the listener and release the device and the sinks; from any thread.

        A step that another thread is in the middle of may take `CLOSE_SECONDS` to end.
        """
        self._stop.set()
        if self._stepping.acquire(timeout=CLOSE_SECONDS):
            try:
                self._events.close()
            finally:
                self._stepping.release()
        self._session.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        with self._stepping:
            return next(self._events)

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while (event := await asyncio.to_thread(next, self, None)) is not None:
                yield event
        finally:
            self._stop.set()  # a step that still runs in its thread ends by itself

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _generate(self) -> Generator[Event]:
        with self._session, closing(self._session.changes(self._stop)) as changes:
            for change in changes:
                if change.kind in self._kinds:
                    yield change.event


def listen(
    *,
    on: Literal["begin", "end", "all"] = "begin",
    config: str | Path | None = None,
    tell: Notify | None = None,
    **options: object,
) -> Events:
    """Listen, and yield each event when it begins, when it has ended, or at every change.

        for event in edgecap.listen(device="USB", hop=2.0):
            print(event.text, event.level_dbfs)

    `options` are the keys of the configuration file (`edgecap listen --print-config` shows them), with `model` for
    the model's name, `web` for the address of the page, and lists of dicts for `microphones` and `rules`; they
    override those of the file `config`. The keys that only choose how the command prints (`json`, `updates`, `plain`,
    `hearing`) have no effect here. Rules choose what outputs get; the iterator gets every event, with the names of its
    `rules`. `tell` takes messages for the user, a kind and one line; without it they go to the logger "edgecap.listen".
    The device is opened at once, so this call raises its errors: DeviceError, AudioError, BundleError, OutputError,
    ConfigError, MissingDependencyError.
    """
    if on not in {"begin", "end", "all"}:
        raise ConfigError(f"on is 'begin', 'end' or 'all', not {on!r}")
    section_of = sections()
    over: dict[str, dict[str, object]] = {}
    known = sorted({*section_of, *ALIASES, *LISTED} - {*ALIASES.values()})
    tables = {name: options.pop(name) for name in LISTED if name in options}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"listen() has no option {name!r}; it has {', '.join(known)}")
        key = ALIASES.get(name, name)
        over.setdefault(section_of[key], {})[key] = value
    kinds: frozenset[Kind] = frozenset({"begin", "update", "end"}) if on == "all" else frozenset({on})
    return Events(ListenSession(load_config(config, over, tables), tell or _log), kinds)


def _log(kind: str, message: str) -> None:
    LOG.log(logging.WARNING if kind == "warning" else logging.INFO, message)
