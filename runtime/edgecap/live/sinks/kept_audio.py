"""The sound of each event as a file, for users who enable it; without this sink no sound is stored anywhere.

A file begins a little before its event and ends with it, at the latest after `MOST_SECONDS`. It is written under a
hidden name and renamed when it is complete. Only its owner may read it, and after the configured time it is deleted.
Only files with names that this module gives are deleted; nothing else in the folder is touched.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgecap.errors import OutputError
from edgecap.live.events.event import Change, Event
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Attempts, Sink, SinkContext
from edgecap.types import Notify, Waveform
from edgecap.util.parsing import parse_duration

LEAD_IN = 1.0
"""Seconds kept before an event."""
MOST_SECONDS = 120.0
CLEAN_SECONDS = 600.0
UNFINISHED_SECONDS = 3600.0
"""A hidden file without writes for this long was left by a killed listener; a newer one may be another listener's."""
KEPT = re.compile(r"(\d{8}T\d{6})-\d{1,12}-([0-9a-f]{8})\.flac")
"""The name of a finished file, with the groups of `sound_key`."""
NAME = re.compile(r"^\.?\d{8}T\d{6}-\d+-[0-9a-f]{8}\.flac(\.part)?$")


def sound_name(event: Event) -> str:
    """The file of an event: its time, its number and its key, as in 20261123T044000-7-1f2e3d4c.flac."""
    stamp, key = sound_key(event)
    return f"{stamp}-{event.id}-{key}.flac"


def sound_key(event: Event) -> tuple[str, str]:
    """What of the name depends on the event alone: a journal gives it another number."""
    return sound_key_of(event.began, event.start, event.source)


def sound_key_of(began: float, start: float, source: str) -> tuple[str, str]:
    """The same from the fields of an event."""
    key = hashlib.blake2s(f"{start:.3f} {source}".encode(errors="replace"), digest_size=4).hexdigest()
    return datetime.fromtimestamp(began).strftime("%Y%m%dT%H%M%S"), key


class KeptAudio(Sink):
    """A folder of FLAC files, named by `sound_name`."""

    wants_audio = True

    def __init__(
        self,
        folder: str,
        keep: str,
        notify: Notify,
        *,
        sample_rate: int,
        window: float,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`window` is the most seconds between the start of an event and its report; `keep` is a duration as "7d".

        Raises OutputError where the folder cannot be used, ConfigError for an invalid duration.
        """
        self._folder, self._keep = Path(folder).expanduser(), parse_duration(keep)
        self._rate, self._hold = sample_rate, window + LEAD_IN
        self._wall, self._clock = wall, clock
        self._held: dict[str, deque[tuple[Waveform, float]]] = {}
        self._files: dict[tuple[str, int], _File] = {}
        """Source and number of an open event to its file."""
        self._cleaned, self._since = clock(), self._wall()
        self._attempt = Attempts(
            notify,
            (OSError, RuntimeError),
            lambda error: f"no sound can be kept in {folder} ({error}); free space, and later events will be kept",
        )
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._folder / f".{secrets.token_hex(4)}"
            probe.touch(mode=0o600)
            probe.unlink()
            self._clean()
        except OSError as error:
            raise OutputError(f"no sound can be kept in {folder} ({error.strerror}); choose another folder") from error

    def on_audio(self, source: str, samples: Waveform, end: float) -> None:
        """Hold the newest sound, and add it to the file of an open event."""
        held = self._held.setdefault(source, deque())
        held.append((samples, end))
        while held and held[0][1] < end - self._hold:
            held.popleft()
        for key in [key for key in self._files if key[0] == source]:
            self._attempt(lambda key=key: self._add(key, samples))  # type: ignore[misc]

    def on_event(self, change: Change) -> None:
        """Begin or finish a file. A full disk is reported, and the next event tried again."""
        event = change.event
        if change.kind == "begin":
            self._attempt(lambda: self._begin(event))
        elif change.kind == "end" and (event.source, event.id) in self._files:
            self._attempt(lambda: self._files.pop((event.source, event.id)).close())

    def on_status(self, status: StatusSnapshot) -> None:
        """Delete what is too old, in quiet too."""
        if self._clock() - self._cleaned >= CLEAN_SECONDS:
            self._attempt(self._clean)

    def on_clock_set(self, seconds: float) -> None:
        """Date the files of this run by the new clock, or they would be deleted as old."""
        self._attempt(lambda: self._move(seconds))

    def close(self) -> None:
        """Finish open files."""
        while self._files:
            self._attempt(self._files.popitem()[1].close)

    def _add(self, key: tuple[str, int], samples: Waveform) -> None:
        """Append to a file; one that cannot be written further is given up."""
        try:
            self._files[key].add(samples)
        except BaseException:
            self._files.pop(key).discard()
            raise

    def _begin(self, event: Event) -> None:
        """Open the file of an event with the sound from a little before it on."""
        key = event.source, event.id
        self._files[key] = _File(self._folder, sound_name(event), self._rate)
        for samples, end in self._held.get(event.source, ()):
            late = event.start - LEAD_IN - (end - samples.size / self._rate)
            self._add(key, samples[max(0, round(late * self._rate)) :])

    def _clean(self) -> None:
        """Delete what is too old, and what a killed listener left unfinished."""
        self._cleaned = self._clock()
        own = {file.path for file in self._files.values()}
        for path in self._folder.iterdir():
            if not NAME.match(path.name) or path in own:
                continue
            keep = min(self._keep, UNFINISHED_SECONDS) if path.suffix == ".part" else self._keep
            if self._wall() - path.stat().st_mtime > keep:
                path.unlink(missing_ok=True)

    def _move(self, seconds: float) -> None:
        for path in self._folder.iterdir():
            written = path.stat().st_mtime
            if NAME.match(path.name) and written >= self._since - 1.0:  # files are dated by a coarser clock
                os.utime(path, (written + seconds, written + seconds))
        self._since += seconds


class _File:
    """A sound file that grows. It gets its name only if everything was written; else it is removed."""

    def __init__(self, folder: Path, name: str, sample_rate: int) -> None:
        import soundfile

        self.path, self._complete = folder / f".{name}.part", folder / name
        self.path.touch(mode=0o600, exist_ok=False)
        self._disk = _Disk(self.path)
        try:
            self._sound: Any = soundfile.SoundFile(self._disk, "w", sample_rate, 1, format="FLAC", subtype="PCM_16")
            self._disk.check()
        except BaseException:
            self._disk.close()
            self.path.unlink(missing_ok=True)
            raise
        self._left = round(MOST_SECONDS * sample_rate)

    def add(self, samples: Waveform) -> None:
        """Append samples, as long as the file may still grow. Raises OSError."""
        samples = samples[: self._left]
        self._left -= samples.size
        if samples.size:
            with self._disk.checked():
                self._sound.write(np.clip(samples, -1.0, 1.0))

    def close(self) -> None:
        """Finish it and give it its name. Raises OSError; then it is removed."""
        try:
            with self._disk.checked():
                self._sound.close()
                self._disk.sync()
            self._disk.close()
            self.path.rename(self._complete)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Close and remove it."""
        with suppress(Exception):  # the disk refuses the rest too
            self._sound.close()
        self._disk.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class _Disk:
    """A file for libsndfile, which has no word for the system's reason of a failure: it is kept here."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b", buffering=0)
        self._error: OSError | None = None
        self.tell = self._file.tell

    def write(self, data: bytes) -> int:
        """Write all of it; 0 after a failure, since an exception cannot pass through the library."""
        left = memoryview(data)
        try:
            while left and self._error is None:
                left = left[self._file.write(left) or 0 :]
        except OSError as error:
            self._error = error
        return len(data) - len(left)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def read(self, count: int) -> bytes:
        """As of any file."""
        return self._file.read(count) or b""

    def check(self) -> None:
        """Raise the OSError of a write that failed."""
        if self._error is not None:
            raise self._error

    @contextmanager
    def checked(self) -> Iterator[None]:
        """A block of calls to the library, whose own error (an AssertionError of soundfile) is the disk's."""
        try:
            yield
        except (AssertionError, RuntimeError):
            self.check()
            raise
        self.check()

    def sync(self) -> None:
        """Keep what was written through a power cut: a file with its final name is complete. Raises OSError."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it."""
        self._file.close()


def open_kept_audio(context: SinkContext) -> Sink:
    """As configured by output.keep_audio and output.keep_audio_for; says so. Raises OutputError, ConfigError."""
    output, captioner = context.config.output, context.captioner
    context.notify("warning", f"the sound of each event is kept in {output.keep_audio} for {output.keep_audio_for}")
    return KeptAudio(
        str(output.keep_audio),
        output.keep_audio_for,
        context.notify,
        sample_rate=captioner.manifest.front_end.sample_rate,
        window=captioner.window,
    )
