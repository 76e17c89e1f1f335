"""The taught sounds of a folder while edgecap listens: what is taught, renamed or removed there counts from then on.

The thread that listens only looks whether the folder's list of files is another; they are read, and a sound of another
model is learnt again, in a thread of its own. What is recognised is exchanged as a whole.
"""

from __future__ import annotations

import os
import threading

from edgecap.caption import SoundMatch
from edgecap.captioner import Captioner
from edgecap.errors import EdgecapError, reason_of
from edgecap.sounds.matcher import SoundMatcher
from edgecap.sounds.sound import Frames, TaughtSound
from edgecap.sounds.sound_file import SUFFIX
from edgecap.sounds.store import SoundStore
from edgecap.teaching.ready import taught_sounds
from edgecap.types import Notify

CLOSE_SECONDS = 5.0
"""Longest wait at the end for sounds that are being read."""
_Files = frozenset[tuple[str, int, int, int]]


class WatchedSounds:
    """A matcher whose sounds follow a folder. `look` is called by one thread, `match` by any."""

    def __init__(self, captioner: Captioner, store: SoundStore, notify: Notify) -> None:
        """Read the folder now; what cannot be used is told as a warning, once."""
        self._captioner, self._store, self._notify = captioner, store, notify
        self._warned = set[str]()
        self._seen = _files(store)
        self._matcher: SoundMatcher | None = None
        self._reading: threading.Thread | None = None
        self._read()
        self._given: SoundMatcher | None = self._matcher

    @property
    def sounds(self) -> tuple[TaughtSound, ...]:
        """What it recognises now."""
        matcher = self._matcher
        return () if matcher is None else matcher.sounds

    def match(self, frames: Frames) -> tuple[SoundMatch, ...]:
        """As `SoundMatcher.match`."""
        matcher = self._matcher
        return () if matcher is None else matcher.match(frames)

    def look(self) -> bool:
        """Whether `sounds` are others than at the last call; where the folder is another, it begins to read it."""
        if self._reading is None or not self._reading.is_alive():
            files = _files(self._store)
            if files != self._seen:
                self._seen = files
                self._reading = threading.Thread(target=self._read_anew, name="edgecap sounds", daemon=True)
                self._reading.start()
        before, self._given = self._given, self._matcher
        return self._given is not before

    def close(self) -> None:
        """Wait a moment for what is being read."""
        if self._reading is not None:
            self._reading.join(CLOSE_SECONDS)

    def _read(self) -> None:
        before, self._warned = self._warned, set[str]()

        def notify(kind: str, message: str) -> None:
            """Tell what was not told of the same files before."""
            self._warned.add(message)
            if message not in before:
                self._notify("warning" if kind == "warning" else "note", message)

        try:
            self._matcher = taught_sounds(self._captioner, self._store, notify)
        except EdgecapError as error:
            notify("warning", f"taught sounds are not recognised: {error}")
        except Exception as error:  # nothing that lies in a folder ends the listener
            notify("warning", f"taught sounds were not read ({type(error).__name__}: {reason_of(error)})")

    def _read_anew(self) -> None:
        before = {sound.name: sound for sound in self.sounds}
        self._read()
        after = {sound.name: sound for sound in self.sounds}
        changed = [name for name in after.keys() & before.keys() if not after[name].is_learnt_as(before[name])]
        parts = {
            "recognised from now on": after.keys() - before.keys(),
            "learnt anew": changed,
            "no longer recognised": before.keys() - after.keys(),
        }
        said = [f"{what}: {', '.join(map(repr, sorted(names)))}" for what, names in parts.items() if names]
        if said:
            self._notify("note", "; ".join(said))


def _files(store: SoundStore) -> _Files:
    """What tells one state of the folder from another, at the cost of a look at each file's entry."""
    files = list[tuple[str, int, int, int]]()
    try:
        with os.scandir(store.folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                    state = entry.stat()
                    files.append((entry.name, state.st_ino, state.st_mtime_ns, state.st_size))
    except FileNotFoundError:
        pass  # there is no such folder yet, or a file has gone meanwhile: then the next look differs
    except OSError as error:
        return frozenset({(reason_of(error), 0, 0, 0)})
    return frozenset(files)
