"""The sound of each event as a file, for who asks for it; without this sink no sound is stored anywhere.

A file begins a little before its event and ends when that has been over for the time to close, at the latest after
`MOST_SECONDS`. It is written under a hidden name and renamed when it is whole. Only its owner may read it, and after
the time asked for it is deleted, whether anything is heard or not: only files with names that this module gives, so
nothing else in the folder is ever touched.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgecap.errors import OutputError
from edgecap.live.events.event import Change, Event
from edgecap.live.pipeline.status import Status
from edgecap.live.sinks.base import Sink
from edgecap.live.sources.source import Tell
from edgecap.types import Waveform
from edgecap.util.parsing import parse_duration

LEAD_IN = 1.0
"""Seconds kept before an event."""
MOST_SECONDS = 120.0
CLEAN_SECONDS = 600.0
UNFINISHED_SECONDS = 3600.0
"""A file under its hidden name that nobody wrote to for so long was left by a killed listener; a newer one may be that
of another listener."""
NAME = re.compile(r"^\.?\d{8}T\d{6}-\d+-[0-9a-f]{8}\.flac(\.part)?$")


class KeptAudio(Sink):
    """A folder of FLAC files, named by time and event: 20261123T044000-7-1f2e3d4c.flac."""

    recording = True

    def __init__(
        self,
        folder: str,
        keep: str,
        tell: Tell,
        *,
        sample_rate: int,
        window: float,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`window` is the most seconds that an event may begin before it is told.

        Raises OutputError where the folder cannot be used, ConfigError for a length of time that is none.
        """
        self._folder, self._keep, self._tell = Path(folder).expanduser(), parse_duration(keep), tell
        self._rate, self._hold = sample_rate, window + LEAD_IN
        self._wall, self._clock = wall, clock
        self._held: dict[str, deque[tuple[Waveform, float]]] = {}
        self._files: dict[str, _File] = {}
        self._cleaned, self._since = clock(), self._wall()
        self._failing = False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._folder / f".{secrets.token_hex(4)}"
            probe.touch(mode=0o600)
            probe.unlink()
            self._clean()
        except OSError as error:
            raise OutputError(f"no sound can be kept in {folder} ({error.strerror}); choose another folder") from error

    def record(self, source: str, samples: Waveform, heard: float) -> None:
        """See `Sink.record`."""
        held = self._held.setdefault(source, deque())
        held.append((samples, heard))
        while held and held[0][1] < heard - self._hold:
            held.popleft()
        if source in self._files:
            self._attempt(lambda: self._files[source].add(samples))

    def change(self, change: Change) -> None:
        """See `Sink.change`. A full disk is told, and the next event tried again."""
        event = change.event
        if change.kind == "begin":
            self._attempt(lambda: self._begin(event))
        elif change.kind == "end" and event.source in self._files:
            self._attempt(lambda: self._files.pop(event.source).close())

    def tick(self, status: Status) -> None:
        """See `Sink.tick`: every view says that sound is kept, and what is old goes in quiet too."""
        status.audio_kept = str(self._folder)
        if self._clock() - self._cleaned >= CLEAN_SECONDS:
            self._attempt(self._clean)

    def moved(self, seconds: float) -> None:
        """See `Sink.moved`: the files of this run are dated by the new clock, or they would be deleted as old."""
        self._attempt(lambda: self._move(seconds))

    def close(self) -> None:
        """See `Sink.close`."""
        while self._files:
            self._attempt(self._files.popitem()[1].close)

    def _begin(self, event: Event) -> None:
        """Open the file of an event with what was heard since a little before it."""
        if event.source in self._files:
            self._files.pop(event.source).close()
        stamp = datetime.fromtimestamp(event.began).strftime("%Y%m%dT%H%M%S")
        name = f"{stamp}-{event.id}-{secrets.token_hex(4)}.flac"
        file = _File(self._folder, name, self._rate)
        self._files[event.source] = file
        for samples, end in self._held.get(event.source, ()):
            late = event.start - LEAD_IN - (end - samples.size / self._rate)
            file.add(samples[max(0, round(late * self._rate)) :])

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do something with files; a failure is told once."""
        try:
            work()
        except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
            if not self._failing:
                self._tell(
                    "warning",
                    f"no sound can be kept in {self._folder} ({error}); free space, and later events will be kept",
                )
            self._failing = True
        else:
            self._failing = False

    def _clean(self) -> None:
        """Delete what is older than it is kept, and what a killed listener left unfinished."""
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
    """A sound file that grows."""

    def __init__(self, folder: Path, name: str, sample_rate: int) -> None:
        import soundfile

        self.path, self._whole = folder / f".{name}.part", folder / name
        self.path.touch(mode=0o600, exist_ok=False)
        self._sound: Any = soundfile.SoundFile(self.path, "w", sample_rate, 1, format="FLAC", subtype="PCM_16")
        self._left = round(MOST_SECONDS * sample_rate)

    def add(self, samples: Waveform) -> None:
        """Append samples, as long as the file may still grow."""
        samples = samples[: self._left]
        self._left -= samples.size
        if samples.size:
            self._sound.write(np.clip(samples, -1.0, 1.0))

    def close(self) -> None:
        """Finish it and give it its name."""
        self._sound.close()
        self.path.rename(self._whole)
