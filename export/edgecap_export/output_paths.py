"""Where an export is written and what it is called; an unusable place is reported before the work begins."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from edgecap.bundle.bundle import MANIFEST_NAME
from edgecap.errors import OutputError

LONGEST_NAME = 128
"""Characters of a model's name, as `edgecap.bundle.manifest.FileName` has it."""


def model_name(text: str) -> str:
    """The name of a file or a folder as a model name that a manifest accepts; "model" where nothing is left of it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:LONGEST_NAME] or "model"


def is_model_name(text: str) -> bool:
    """Whether a manifest accepts a name."""
    return re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}", text) is not None


def check_free(folder: Path, force: bool, kind: str = "bundle", mark: str = MANIFEST_NAME) -> None:
    """Raise OutputError for a folder that exists and is not empty, unless it is of `kind` and `force` is set.

    `mark` is the file by which a folder of that kind is known.
    """
    try:
        occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        known = (folder / mark).is_file()
    except OSError as error:
        raise OutputError(f"{folder} cannot be read ({error.strerror or error}); name another folder") from error
    if occupied and not known:
        raise OutputError(f"{folder} exists and is not a {kind}, so it is not overwritten; name another folder with -o")
    if occupied and not force:
        raise OutputError(f"{folder} exists; name another folder with -o, or add --force to replace the {kind}")


def check_writable(target: Path) -> None:
    """Raise OutputError where `target`, or folders that it lies in, could not be made. Leaves nothing behind."""
    try:
        folder = next(parent for parent in target.absolute().parents if parent.exists())
        with TemporaryDirectory(prefix=".edgecap-", dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror or error}); name another place") from error
