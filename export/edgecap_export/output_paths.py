"""Where an export goes and what it is called; what is unusable is told before the work begins."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from edgecap.bundle.bundle import MANIFEST_NAME
from edgecap.errors import OutputError

LONGEST_NAME = 128
"""Characters of a model's name, as `edgecap.bundle.manifest.FileName` has it."""


def model_name(text: str) -> str:
    """A file's or a folder's name as one that a manifest takes; "model" where nothing is left of it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:LONGEST_NAME] or "model"


def check_free(folder: Path, force: bool) -> None:
    """Raise OutputError for a folder that is there and not empty, unless it holds a bundle and `force` is given."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        bundle = (folder / MANIFEST_NAME).is_file()
    except OSError as error:
        raise OutputError(f"{folder} cannot be looked at ({error.strerror or error}); name another folder") from error
    if taken and not bundle:
        raise OutputError(f"{folder} exists and is not a bundle, so it is not overwritten; name another folder with -o")
    if taken and not force:
        raise OutputError(f"{folder} exists; name another folder with -o, or add --force to replace a bundle")


def check_writable(target: Path) -> None:
    """Raise OutputError where nothing can be made beside `target`, which need not exist. Leaves nothing behind."""
    try:
        folder = next(place for place in target.absolute().parents if place.exists())
        with TemporaryDirectory(prefix=".edgecap-", dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror or error}); name another place") from error
