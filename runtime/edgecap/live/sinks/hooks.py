"""Events to a program (`--exec`) and to a URL (`--webhook`), each in a separate thread."""

from __future__ import annotations

from http.client import HTTPException
from typing import Literal

from edgecap._version import __version__
from edgecap.errors import reason_of
from edgecap.live.events.event import Change
from edgecap.live.sinks.base import NotDeliveredError, Outbox, Sink, SinkContext
from edgecap.live.sinks.lines import document_line
from edgecap.types import Notify
from edgecap.util.child import run_shell
from edgecap.util.http.post import post
from edgecap.util.limits import EXEC_SECONDS, WEBHOOK_SECONDS
from edgecap.util.parsing import host_of
from edgecap.util.text import clean

When = Literal["begin", "end", "both"]
WORTH_ANOTHER_TRY = {408, 425, 429}
"""Status codes that are worth another try, beside those of 500 and more."""


class Hook(Sink):
    """Puts the selected changes into an outbox."""

    def __init__(self, outbox: Outbox[Change], when: When) -> None:
        self.outbox = outbox
        self._kinds = {"begin", "end"} if when == "both" else {when}

    def on_event(self, change: Change) -> None:
        """Queue it, if it is of a selected kind."""
        if change.kind in self._kinds:
            self.outbox.put(change)

    def close(self) -> None:
        """Deliver what waits."""
        self.outbox.close()


def program(
    command: str, when: When, notify: Notify, *, model: str, audio_kept: bool = False, limit: float = EXEC_SECONDS
) -> Hook:
    """Runs `command` with /bin/sh, one event after the other.

    The event is JSON on standard input, and EDGECAP_KIND, _ID, _TEXT, _SCORE, _LEVEL_DBFS, _BEGAN, _ENDED, _SOURCE,
    _RULES and the rest of it in the environment, 1 or 0 for what is true or false, with commas between several. A
    caption is never put into the command itself, so the shell cannot run it. What it prints is dropped; the beginning
    of its standard error is passed on. It is ended after `limit` seconds, and with edgecap.
    """

    def run(change: Change) -> None:
        fields = change.event.document(kind=change.kind, model=model, audio_kept=audio_kept)
        environment = {f"EDGECAP_{key.upper()}": _text(value) for key, value in fields.items()}
        document = document_line(change, model=model, audio_kept=audio_kept) + "\n"
        try:
            outcome = run_shell(command, document.encode(), environment, seconds=limit, stop=outbox.late)
        except (OSError, ValueError) as error:  # no memory or no process left; later there may be
            raise NotDeliveredError(f"it could not be started ({reason_of(error)})", again=False) from error
        for line in outcome.errors:
            notify("note", f"--exec says: {line}")
        if outcome.ended:
            reason = "edgecap ended first" if outbox.late() else f"it ran for more than {limit:g} s and was ended"
            raise NotDeliveredError(reason, again=False)
        if outcome.code:
            raise NotDeliveredError(f"it ended with code {outcome.code}", again=False)

    outbox = Outbox("--exec", run, notify, tries=1)
    return Hook(outbox, when)


def webhook(
    url: str,
    when: When,
    notify: Notify,
    *,
    model: str,
    audio_kept: bool = False,
    tries: int = 5,
    first_delay: float = 1.0,
    grace: float = 5.0,
    limit: float = WEBHOOK_SECONDS,
) -> Hook:
    """Posts each event as JSON to `url`, at most `tries` times of at most `limit` seconds each.

    Raises ConfigError for an invalid URL.
    """
    host = host_of(url)
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"edgecap/{__version__}"}

    def deliver(change: Change) -> None:
        body = document_line(change, model=model, audio_kept=audio_kept).encode()
        try:
            status, words = post(url, body, headers, limit)
        except (OSError, HTTPException) as error:
            reason = clean(reason_of(getattr(error, "reason", None) or error))
            raise NotDeliveredError(f"{host} cannot be reached ({reason})", again=True) from error
        if status // 100 == 3:
            raise NotDeliveredError(f"{host} answers {status}; redirects are not followed: name the place", again=False)
        if status // 100 != 2:
            again = status >= 500 or status in WORTH_ANOTHER_TRY
            raise NotDeliveredError(f"{host} answers {status} {words}", again=again)

    return Hook(Outbox("--webhook", deliver, notify, tries=tries, first_delay=first_delay, grace=grace), when)


def _text(value: object) -> str:
    """A value for the environment; several are separated by commas."""
    if isinstance(value, list):
        return ",".join(str(item["name"] if isinstance(item, dict) else item) for item in value)
    return str(int(value) if isinstance(value, bool) else value)


def open_program(context: SinkContext) -> Sink:
    """As configured by output.exec and output.hook_on."""
    output = context.config.output
    return program(str(output.exec), output.hook_on, context.notify, model=context.model, audio_kept=context.audio_kept)


def open_webhook(context: SinkContext) -> Sink:
    """As configured by output.webhook and output.hook_on. Raises ConfigError."""
    output = context.config.output
    return webhook(
        str(output.webhook), output.hook_on, context.notify, model=context.model, audio_kept=context.audio_kept
    )
