"""Events to syslog, one line for the beginning and one for the end of each.

By UDP a line has the header of RFC 5424. To a local socket it has the short form of the C library's syslog(3), which
is what local daemons parse. The text is never a format and holds no control characters.
"""

from __future__ import annotations

import logging
import os
import socket
from logging.handlers import SysLogHandler

from edgecap.live.events.event import Change, iso
from edgecap.live.sinks.base import NotDeliveredError, Outbox, Sink, SinkContext
from edgecap.types import Notify
from edgecap.util.parsing import parse_address
from edgecap.util.text import clean

TRIES = 3
SEND_SECONDS = 5.0
"""Longest wait for a daemon that reads nothing."""


class Syslog(Sink):
    """Sends lines from an outbox, since a name server may take its time; a failure is reported and survived."""

    def __init__(self, address: str, notify: Notify, *, first_delay: float = 1.0, grace: float = 5.0) -> None:
        """`address` is "HOST:PORT" or the path of a socket. Raises ConfigError."""
        self._address = address if address.startswith("/") else parse_address(address)
        self._handler: _Handler | None = None
        self._outbox: Outbox[Change] = Outbox(
            "--syslog", self._send, notify, tries=TRIES, first_delay=first_delay, grace=grace
        )

    def on_event(self, change: Change) -> None:
        """Queue the beginning or the end of an event."""
        if change.kind != "update":
            self._outbox.put(change)

    def close(self) -> None:
        """Deliver what waits."""
        self._outbox.close()
        if self._handler is not None:
            self._handler.close()

    def _send(self, change: Change) -> None:
        """In the outbox's thread."""
        try:
            if self._handler is None:
                self._handler = _Handler(self._address, SysLogHandler.LOG_DAEMON)
            text = line(change, local=isinstance(self._address, str))
            self._handler.emit(logging.makeLogRecord({"msg": text, "levelname": "INFO"}))
        except OSError as error:
            raise NotDeliveredError(f"{self._address} cannot be reached ({error})", again=True) from error


class _Handler(SysLogHandler):
    """The standard library's, which prints its errors, made to raise them."""

    append_nul = False
    socket: socket.socket | None

    def createSocket(self) -> None:  # noqa: N802 - the library's name
        """Open it, with a time limit: a daemon that reads nothing would hold up all later events."""
        super().createSocket()
        self._limit()

    def _connect_unixsocket(self, address: str) -> None:
        """The same where it is opened again."""
        super()._connect_unixsocket(address)  # type: ignore[misc]
        self._limit()

    def _limit(self) -> None:
        if self.socket is not None:
            self.socket.settimeout(SEND_SECONDS)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Raise what went wrong."""
        raise  # noqa: PLE0704 - called while the exception is handled


def line(change: Change, *, local: bool) -> str:
    """A change as a line, without the priority that the handler puts in front."""
    event = change.event
    length = "" if change.kind == "begin" else f", {event.end - event.start:.0f} s"
    text = clean(f"{change.kind}: {event.text} ({event.source}, {event.level_dbfs:.0f} dBFS{length})")
    if local:
        return f"edgecap[{os.getpid()}]: {text}"
    when = iso(event.began if change.kind == "begin" else event.ended)
    return f"1 {when} {socket.gethostname() or '-'} edgecap {os.getpid()} {change.kind} - {text}"


def open_syslog(context: SinkContext) -> Sink:
    """As configured by output.syslog. Raises ConfigError."""
    return Syslog(str(context.config.output.syslog), context.notify)
