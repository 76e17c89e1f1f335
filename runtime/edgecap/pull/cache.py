"""The cache: a folder for each place, with the file, what has come of it so far, and what the server said of it.

`EDGECAP_CACHE`, else `$XDG_CACHE_HOME/edgecap`, else `~/.cache/edgecap`. A folder is locked while a process works on
it; another one waits, and then takes what the first one got.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from edgecap.errors import OutputError, reason_of
from edgecap.types import Notify
from edgecap.util.files import read_at_most, to_json, write_atomically
from edgecap.util.limits import MOST_NOTES


def cache_root() -> Path:
    """The cache's folder, whether it exists or not."""
    if os.environ.get("EDGECAP_CACHE"):
        return Path(os.environ["EDGECAP_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecap"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What is known of a file that has come, or of the part of it that has."""

    etag: str = ""
    last_modified: str = ""
    declared: str = ""
    """The SHA-256 that the hub declares; empty where the server declares none."""
    revision: str = ""
    """The hub's commit."""
    sha256: str = ""
    """Of the complete file; empty for a part."""
    size: int = 0

    @property
    def validator(self) -> str:
        """What tells whether the rest still belongs to the part (If-Range); empty where nothing does."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True)
class CacheSlot:
    """The place in the cache of one file."""

    place: str
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        key = hashlib.sha256(self.place.encode()).hexdigest()[:32]
        object.__setattr__(self, "folder", cache_root() / key)

    @property
    def data(self) -> Path:
        """The complete file."""
        return self.folder / "data"

    @property
    def part(self) -> Path:
        """What has come of it."""
        return self.folder / "part"

    def said(self, path: Path) -> Said:
        """What was noted of `data` or `part`; nothing where the note is missing or damaged."""
        try:
            document = json.loads(read_at_most(_note(path), MOST_NOTES))
            return msgspec.convert(document["said"], Said)
        except (OSError, ValueError, RecursionError, KeyError, TypeError, msgspec.ValidationError):
            return Said()

    def note(self, path: Path, said: Said) -> None:
        """Keep what is known of `data` or `part`. Raises OutputError."""
        write_atomically(_note(path), to_json({"place": self.place, "said": asdict(said)}))

    def clear(self) -> None:
        """Remove all of it. The folder stays for whoever waits for its lock."""
        for path in (self.data, self.part):
            path.unlink(missing_ok=True)
            _note(path).unlink(missing_ok=True)

    def kept(self) -> Said | None:
        """What is known of the complete file, which is hashed again for it; None where there is none or it changed."""
        said = self.said(self.data)
        if not said.sha256 or not self.data.is_file():
            return None
        return said if digest_of(self.data) == said.sha256 else None

    @contextmanager
    def locked(self, notify: Notify) -> Iterator[None]:
        """Hold the folder for this process; tells so where another one has it. Raises OutputError."""
        with locked(self.folder / "lock", notify, f"another edgecap is getting {self.place}; waiting for it"):
            yield

    def check_space(self, needed: int) -> None:
        """Raise OutputError where the disk has fewer free bytes than `needed`."""
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OutputError(
                f"{needed / 1e6:.1f} MB are needed in {cache_root()} and {free / 1e6:.1f} MB are free; free space, or "
                "name another folder by EDGECAP_CACHE"
            )


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


@contextmanager
def locked(path: Path, notify: Notify, message: str) -> Iterator[None]:
    """An exclusive lock between processes; the system releases it however a process ends. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({reason_of(error)}); free space or name another place by "
            "EDGECAP_CACHE or EDGECAP_HOME"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify("note", message)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
