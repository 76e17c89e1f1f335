"""A short random id that lasts over restarts, and that no two processes of a machine have at the same time.

Each id is a file in the state folder, locked by the process that uses it; the next process takes the next file. A
file also names what its process was about, so that of several processes each gets its own id back in whatever order
they start.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edgecap.util.documents import from_json
from edgecap.util.files import read_at_most
from edgecap.util.limits import MOST_NOTES

MACHINE_ID = Path("/etc/machine-id")
BYTES = 3
"""Of an id, each two characters: 16 million ids."""
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def state_folder() -> Path:
    """Where a service (systemd's STATE_DIRECTORY) or a user (XDG_STATE_HOME) keeps what must last."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local/state") / "edgecap"


class LastingId:
    """An id of this process until `close`, or until the process ends however it ends."""

    def __init__(self, kind: str, names: Sequence[str], *, folder: Path | None = None) -> None:
        """`kind` begins the names of its files; `names` say what the process is about.

        Without a folder that can be written the id is made from that of the machine (machine-id(5)), so it lasts but
        is that of every process; without that either, `lasts` is False.
        """
        self._file = -1
        self.lasts = True
        self.text = ""
        try:
            self._take(folder or state_folder(), kind, sorted(names))
        except (OSError, RuntimeError):  # RuntimeError: there is no home folder
            self._derive(kind)

    def close(self) -> None:
        """Let another process have it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self, folder: Path, kind: str, names: list[str]) -> None:
        """Lock the id that was last used for these names, else any that is free, else a new one."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / f".{kind}.lock").open("w", encoding="utf-8") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)  # held for moments only, by whoever is choosing
            best: tuple[bool, int, Path] | None = None
            for path in sorted(folder.glob(f"{kind}-*"), key=lambda each: (each.stat().st_ctime_ns, each.name)):
                previous = _names(path) if ID.fullmatch(path.name.removeprefix(f"{kind}-")) else None
                if previous is None:
                    continue
                score = (previous == names, len(set(previous) & set(names)), path)
                if best is None or score[:2] > best[:2]:
                    best = score
            path = best[2] if best else folder / f"{kind}-{secrets.token_hex(BYTES)}"
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not (best and best[0]):
                    os.ftruncate(file, 0)
                    os.pwrite(file, json.dumps(names).encode(), 0)
            except OSError:
                os.close(file)
                raise
        self._file, self.text = file, path.name.removeprefix(f"{kind}-")

    def _derive(self, kind: str) -> None:
        """From the machine's id, which must not be shown as it is."""
        try:
            machine = read_at_most(MACHINE_ID, MOST_NOTES).decode("ascii").strip()
        except (OSError, ValueError):
            machine = ""
        self.lasts = bool(machine)
        digest = hashlib.sha256(f"edgecap {kind} {machine}".encode()).hexdigest()
        self.text = digest[: 2 * BYTES] if machine else secrets.token_hex(BYTES)


def _names(path: Path) -> list[str] | None:
    """What the last process with this id was about; None while a process has it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        with suppress(ValueError):
            names = from_json(file.read(MOST_NOTES))
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return names
        return []
