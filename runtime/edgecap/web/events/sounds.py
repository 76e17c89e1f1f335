"""The files of `--keep-audio`, found by their events: to be played, and shown as a spectrogram.

Only files with the names that the listener gives are opened, never a link or anything else in the folder.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from base64 import b64encode
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import IO

import numpy as np

from edgecap.audio.file import decode
from edgecap.audio.frontend import FrontEnd, logarithm, mel_frames
from edgecap.errors import EdgecapError
from edgecap.live.events.event import Event
from edgecap.live.sinks.kept_audio import KEPT, LEAD_IN, MOST_SECONDS, sound_key, sound_name
from edgecap.types import Waveform
from edgecap.web.server import Exchange
from edgecap.web.spectrum import Spectrum

BLOCK = 1 << 16
RANGE = re.compile(r"bytes=(\d{0,12})-(\d{0,12})")
PICTURE_FRAMES = 600
"""Frames of log-mel that are computed at once."""
PICTURE_COLUMNS = 800
"""Most of a picture; longer sounds get wider columns."""
TURN_SECONDS = 10.0
"""Wait for the picture before to be made: they come one at a time."""


class KeptSounds:
    """The sounds in some folders, where each event has at most one."""

    def __init__(self, *folders: Path) -> None:
        """Of a sound that lies in several, the first is taken."""
        self._folders = folders
        self._turn = threading.Lock()

    def name(self, event: Event) -> str:
        """The file of an event with its number of this run; empty where there is none."""
        name = sound_name(event)
        return name if any((folder / name).is_file() for folder in self._folders) else ""

    def names(self, events: Iterable[Event]) -> list[str]:
        """The file of each event, whatever its number; empty where there is none."""
        files = [name for folder in reversed(self._folders) for name in _files(folder)]
        known = {match.groups(): match[0] for file in files if (match := KEPT.fullmatch(file))}
        return [known.get(sound_key(event), "") if known else "" for event in events]

    def open(self, name: str) -> IO[bytes] | None:
        """The file of this name, if it is a sound that is kept."""
        for folder in self._folders if KEPT.fullmatch(name) else ():
            try:
                file = os.fdopen(os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
            except OSError:
                continue
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
        return None

    def send(self, exchange: Exchange, name: str) -> None:
        """Answer with the file of this name."""
        file = self.open(name)
        if file is None:
            exchange.refuse(HTTPStatus.NOT_FOUND, "this sound is not kept, or no longer")
            return
        with file:
            send_range(exchange, file, os.fstat(file.fileno()).st_size, "audio/flac")

    def send_picture(self, exchange: Exchange, name: str, event: Event, front_end: FrontEnd) -> None:
        """Answer with the spectrogram of the file of this name, and where in it the event lies."""
        file = self.open(name)
        if file is None:
            exchange.refuse(HTTPStatus.NOT_FOUND, "this sound is not kept, or no longer")
            return
        with file:
            if not self._turn.acquire(timeout=TURN_SECONDS):
                exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "other sounds are being drawn", Retry_After="5")
                return
            try:
                picture = spectrogram(Path(f"/proc/self/fd/{file.fileno()}"), front_end)
            except EdgecapError as error:
                exchange.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
                return
            finally:
                self._turn.release()
        start = min(LEAD_IN, event.start)
        exchange.reply_json(picture | {"start": start, "end": start + event.end - event.start})


def _files(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def spectrogram(path: Path, front_end: FrontEnd) -> dict[str, object]:
    """A sound's columns as those of the live picture, its bands and its seconds. Raises AudioError."""
    return drawn(decode(path, front_end.sample_rate, MOST_SECONDS), front_end)


def drawn(samples: Waveform, front_end: FrontEnd) -> dict[str, object]:
    """The same of mono samples (n,) at the model's rate."""
    seconds = samples.size / front_end.sample_rate
    if samples.size < front_end.n_fft:
        samples = np.pad(samples, (0, front_end.n_fft - samples.size))
    spectrum, parts, step = Spectrum(front_end), list[bytes](), PICTURE_FRAMES * front_end.hop_length
    for first in range(0, samples.size - front_end.n_fft + 1, step):
        block = samples[first : first + step - front_end.hop_length + front_end.n_fft]
        spectrum.push(logarithm(mel_frames(block, front_end), front_end))
        parts.append(spectrum.take())
    columns = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, spectrum.bands)
    wide = -(-len(columns) // PICTURE_COLUMNS) or 1
    columns = columns[: len(columns) // wide * wide].reshape(-1, wide, spectrum.bands).mean(axis=1).astype(np.uint8)
    return {"columns": b64encode(columns.tobytes()).decode(), "bands": spectrum.bands, "seconds": round(seconds, 3)}


def send_range(exchange: Exchange, file: IO[bytes], size: int, content_type: str) -> None:
    """Send a file of `size` bytes, or the one range of it that was asked for (RFC 9110, section 14)."""
    first, last, status = 0, size - 1, HTTPStatus.OK
    match = RANGE.fullmatch(exchange.headers.get("Range", "").strip())
    if match and (match[1] or match[2]):
        first = int(match[1]) if match[1] else max(0, size - int(match[2]))
        last = min(last, int(match[2])) if match[1] and match[2] else last
        if first > last:
            exchange.begin(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, content_type, Content_Range=f"bytes */{size}",
                Content_Length="0",
            )  # fmt: skip
            return
        status = HTTPStatus.PARTIAL_CONTENT
    partial = {"Content_Range": f"bytes {first}-{last}/{size}"} if status is HTTPStatus.PARTIAL_CONTENT else {}
    exchange.begin(status, content_type, Accept_Ranges="bytes", Content_Length=str(last - first + 1), **partial)
    file.seek(first)
    left = last - first + 1
    while left > 0 and (block := file.read(min(BLOCK, left))):
        exchange.wfile.write(block)
        left -= len(block)
