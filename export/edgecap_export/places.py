"""Where an export goes: told to be unusable before the work begins, and written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from edgecap.errors import OutputError


def check_writable(target: Path) -> None:
    """Raise OutputError where nothing can be made beside `target`, which need not exist. Leaves nothing behind."""
    folder = next(place for place in (target.absolute().parent, *target.absolute().parents) if place.exists())
    try:
        with TemporaryDirectory(prefix=".edgecap-", dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror or error}); name another place") from error


def write_text(path: Path, text: str) -> None:
    """Write one file, in a temporary one beside it that takes its name at the end. Raises OutputError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); free space or name another "
                          "file") from error
