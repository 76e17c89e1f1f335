"""Events to a program (`--exec`) and to a URL (`--webhook`), each in a separate thread."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from signal import SIGKILL
from typing import IO, Literal

from edgecap._version import __version__
from edgecap.live.events.event import Change
from edgecap.live.sinks.base import NotDeliveredError, Outbox, Sink, SinkContext
from edgecap.live.sinks.lines import document_line
from edgecap.types import Notify
from edgecap.util.parsing import host_of

When = Literal["begin", "end", "both"]
EXEC_SECONDS = 30.0
"""A program that runs longer is ended."""
WEB_SECONDS = 10.0
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
    caption is never put into the command itself, so the shell cannot run it.
    """

    def run(change: Change) -> None:
        fields = change.event.document(kind=change.kind, model=model, audio_kept=audio_kept)
        environment = {f"EDGECAP_{key.upper()}": _text(value) for key, value in fields.items()}
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **environment},
                start_new_session=True,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:  # no memory or no process left; later there may be
            raise NotDeliveredError(f"it could not be started ({error.strerror})", again=False) from error
        try:
            child.communicate(document_line(change, model=model, audio_kept=audio_kept) + "\n", timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, SIGKILL)
            child.communicate()
            raise NotDeliveredError(f"it ran for more than {limit:g} s and was ended", again=False) from None
        if child.returncode:
            raise NotDeliveredError(f"it ended with code {child.returncode}", again=False)

    return Hook(Outbox("--exec", run, notify, tries=1), when)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn a POST into a GET, and send events to an address that nobody configured."""

    def redirect_request(  # noqa: PLR0917 - the library's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow nothing."""


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
) -> Hook:
    """Posts each event as JSON to `url`, at most `tries` times. Raises ConfigError for an invalid URL."""
    host = host_of(url)
    opener = urllib.request.build_opener(_NoRedirect)
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"edgecap/{__version__}"}

    def post(change: Change) -> None:
        body = document_line(change, model=model, audio_kept=audio_kept).encode()
        try:
            with opener.open(urllib.request.Request(url, body, headers, method="POST"), timeout=WEB_SECONDS) as answer:
                answer.read(1 << 16)
        except urllib.error.HTTPError as error:
            with error:
                again = error.code >= 500 or error.code in WORTH_ANOTHER_TRY
                raise NotDeliveredError(f"{host} answers {error.code} {error.reason}", again=again) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise NotDeliveredError(f"{host} cannot be reached ({reason})", again=True) from error

    return Hook(Outbox("--webhook", post, notify, tries=tries, first_delay=first_delay, grace=grace), when)


def _text(value: object) -> str:
    """A value for the environment; several are separated by commas."""
    if isinstance(value, list):
        return ",".join(map(str, value))
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
