"""A sound from the browser, dropped on the page or recorded there, captioned while the browser waits.

The sound is held in memory and nowhere else, and released when its captions are sent. It is read by libsndfile
(`edgecap.audio.file`), as any file on the command line; the answer is one JSON object a line, each sent at once.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import IO

from edgecap.audio.file import AudioFile
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, EdgecapError
from edgecap.util.limits import MOST_UPLOAD, MOST_UPLOAD_NAME, MOST_WINDOWS
from edgecap.web.server import LENGTH, Exchange

UPLOAD_SECONDS = 120.0
TURN_SECONDS = 30.0
"""Wait for the sound before to be captioned; after it the browser is asked to try again."""


class Uploads:
    """Captions sounds, one at a time for all browsers."""

    def __init__(self, captioner: Captioner, beam: int | None = None) -> None:
        self._captioner, self._beam = captioner, beam
        self._turn = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        """Answer POST /caption?name=NAME with the sound as body."""
        given = exchange.headers.get("Content-Length", "")
        kind = exchange.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not LENGTH.fullmatch(given) or "Transfer-Encoding" in exchange.headers:
            exchange.refuse(HTTPStatus.LENGTH_REQUIRED, "the request needs a Content-Length")
            return
        length = int(given)
        if not (kind == "application/octet-stream" or kind.startswith("audio/")):
            exchange.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send a sound: audio/* or application/octet-stream")
        elif length > MOST_UPLOAD:
            exchange.refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the sound has more than {MOST_UPLOAD >> 20} MiB; type: edgecap caption FILE",
            )
        elif not self._turn.acquire(timeout=TURN_SECONDS):
            exchange.refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "another sound is being captioned; try again soon", Retry_After="10"
            )
        else:
            try:
                self._caption(exchange, length)
            finally:
                self._turn.release()
            return
        exchange.discard(min(length, MOST_UPLOAD))

    def _caption(self, exchange: Exchange, length: int) -> None:
        name = "".join(c for c in exchange.query.get("name", "") if c.isprintable())[:MOST_UPLOAD_NAME] or "the sound"
        with ExitStack() as stack:
            held = stack.enter_context(hold())
            if not exchange.receive(length, held.write, UPLOAD_SECONDS):
                exchange.refuse(HTTPStatus.REQUEST_TIMEOUT, "the sound was not received in time; try again")
                return
            try:
                lines = self._lines(held, name)
                first = next(lines)
            except EdgecapError as error:
                fault = isinstance(error, AudioError)  # of the sound; else of this machine, such as a missing library
                exchange.refuse(
                    HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.INTERNAL_SERVER_ERROR, str(error)
                )
                return
            exchange.stream("application/x-ndjson")
            exchange.wfile.write(first)
            for line in lines:
                exchange.wfile.write(line)

    def _lines(self, held: IO[bytes], name: str) -> Iterator[bytes]:
        """Captions as lines of JSON; after the first of them an error is a line too. Raises EdgecapError before."""
        count = 0
        try:
            with AudioFile(Path(f"/proc/self/fd/{held.fileno()}"), name=name) as sound:
                captions = self._captioner.caption_file(sound, beam=self._beam)
                began = time.monotonic()
                for count, caption in enumerate(islice(captions, MOST_WINDOWS), start=1):  # noqa: B007 - used below
                    took = time.monotonic() - began
                    yield _line(caption.document(name=name, duration=sound.duration, seconds=round(took, 3)))
                    began = time.monotonic()
                if next(captions, None) is not None:
                    yield _line(
                        {
                            "note": f"only the first {MOST_WINDOWS} captions are made here; for the rest type: "
                            "edgecap caption FILE"
                        }
                    )
        except EdgecapError as error:
            if count == 0:
                raise
            yield _line({"error": str(error)})


def hold() -> IO[bytes]:
    """A file in memory; in the folder for temporary files, without a name, on a system that has none."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgecap", os.MFD_CLOEXEC), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _line(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode() + b"\n"
