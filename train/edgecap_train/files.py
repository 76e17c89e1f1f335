"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from edgecap.errors import OutputError


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file beside its place, sync it, and give it its name. Raises OutputError; nothing half-written stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); free space or name another "
                          "place") from error
