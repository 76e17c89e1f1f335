"""The folder of taught sounds: one file a sound.

It is `EDGECAP_SOUNDS`, else `sounds` in the user's edgecap folder (`edgecap.bundle.models.home`). A change writes one
file whole or not at all, so whatever fails, what was learnt before stays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecap.bundle.models import home
from edgecap.errors import ConfigError, DataError, OutputError, reason_of
from edgecap.sounds.names import identifier_of, shown_name
from edgecap.sounds.sound import TaughtSound
from edgecap.sounds.sound_file import SUFFIX, read_recordings, read_sound, write_sound
from edgecap.util.files import read_at_most, sync_folder, write_atomically
from edgecap.util.limits import MOST_TAUGHT

IMPORT_ADVICE = "name one that edgecap sounds export wrote"


@dataclass(frozen=True)
class StoredSounds:
    """What lies in a store."""

    sounds: tuple[TaughtSound, ...]
    """By name."""
    faults: tuple[str, ...]
    """One line for each file that cannot be read; the others are not affected."""


def sounds_folder() -> Path:
    """The folder of taught sounds where none is named, whether it exists or not."""
    named = os.environ.get("EDGECAP_SOUNDS")
    return Path(named).expanduser() if named else home() / "sounds"


class SoundStore:
    """The taught sounds in one folder. It keeps nothing in memory; each call reads or writes files."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` None is `sounds_folder()`."""
        self.folder = sounds_folder() if folder is None else folder
        """Where the sounds lie; made when the first is saved."""

    def load(self) -> StoredSounds:
        """All sounds, and what is wrong with those that cannot be read. Raises DataError for an unreadable folder."""
        sounds, faults = list[TaughtSound](), list[str]()
        try:
            paths = sorted(path for path in self.folder.iterdir() if path.suffix == SUFFIX and path.name[0] != ".")
        except FileNotFoundError:
            paths = []
        except OSError as error:
            raise DataError(
                f"the folder of sounds {self.folder} cannot be read ({reason_of(error)}); name another with --sounds"
            ) from error
        for path in paths:
            try:
                sounds.append(read_sound(path))
            except DataError as error:
                faults.append(str(error))
        return StoredSounds(tuple(sorted(sounds, key=lambda sound: sound.name.casefold())), tuple(faults))

    def holds(self, name: str) -> bool:
        """Whether there is a sound with that name or identifier, damaged or not. Raises ConfigError."""
        return self._path(name).exists()

    def find(self, name: str) -> TaughtSound | None:
        """The sound with that name or identifier; None where there is none. Raises DataError for a damaged file."""
        path = self._path(name)
        return read_sound(path) if path.exists() else None

    def get(self, name: str) -> TaughtSound:
        """The sound with that name or identifier. Raises DataError where there is none, naming those that there are."""
        sound = self.find(name)
        if sound is None:
            known = ", ".join(repr(sound.name) for sound in self.load().sounds) or "none"
            raise DataError(f"there is no sound called {name!r} in {self.folder}; known: {known}")
        return sound

    def recordings(self, name: str) -> tuple[bytes, ...]:
        """Kept examples of a sound, each the bytes of a FLAC file. Raises DataError."""
        self.get(name)
        return read_recordings(self._path(name))

    def save(self, sound: TaughtSound, recordings: Sequence[bytes] = (), *, replace_old: bool = False) -> Path:
        """Write a sound; `recordings` are FLAC files to keep in it.

        Raises ConfigError where the name is taken and the old one is not to be replaced, OutputError.
        """
        path = self._path(sound.name)
        if path.exists() and not replace_old:
            raise taken(sound.name)
        write_sound(path, sound, recordings)
        return path

    def rename(self, name: str, new: str) -> TaughtSound:
        """Give a sound another name. Raises DataError, ConfigError where that is taken, OutputError."""
        sound = self.get(name)
        renamed = replace(sound, name=shown_name(new), identifier=identifier_of(new))
        same_place = renamed.identifier == sound.identifier
        self.save(renamed, self.recordings(name), replace_old=same_place)
        if not same_place:
            self._unlink(self._path(name))
        return renamed

    def remove(self, name: str) -> Path:
        """Delete a sound, damaged or not. Raises DataError where there is none, OutputError."""
        path = self._path(name)
        if not path.exists():
            self.get(name)
        self._unlink(path)
        return path

    def export(self, name: str, target: Path) -> Path:
        """Copy a sound to one file (in a folder: under its own name). Raises DataError, OutputError."""
        sound = self.get(name)
        path = target / f"{sound.identifier}{SUFFIX}" if target.is_dir() else target
        write_atomically(path, read_at_most(self._path(name), MOST_TAUGHT))
        return path

    def import_file(self, source: Path, *, name: str = "", replace_old: bool = False) -> TaughtSound:
        """Take over a sound that was exported, under another name if one is given.

        Raises DataError for a damaged file, ConfigError for a taken name, OutputError.
        """
        if not source.exists():
            raise DataError(f"there is no file {source}; {IMPORT_ADVICE}")
        sound = read_sound(source, IMPORT_ADVICE)
        if name:
            sound = replace(sound, name=shown_name(name), identifier=identifier_of(name))
        self.save(sound, read_recordings(source), replace_old=replace_old)
        return sound

    def _path(self, name: str) -> Path:
        return self.folder / f"{identifier_of(name)}{SUFFIX}"

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink()
            sync_folder(path.parent)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be removed ({reason_of(error)}); change the folder's permissions"
            ) from error


def taken(name: str) -> ConfigError:
    """The error for a name that a sound has already."""
    return ConfigError(
        f"there is a sound called {name!r} already; add examples to it with --more, replace it with --force, "
        "or take another name"
    )
