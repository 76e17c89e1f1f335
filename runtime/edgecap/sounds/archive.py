"""A document and arrays in one file: a NumPy archive (a zip of arrays, no pickle) with JSON in it.

The document has a SHA-256 over all arrays, so that damage is noticed where the zip's own checks do not see it.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import DataError, reason_of
from edgecap.util.files import write_atomically

Arrays = Mapping[str, NDArray[Any]]
DOCUMENT = "document"
LARGEST_FILE = 64 << 20
"""Bytes of a file, and of its arrays together."""
MOST_ARRAYS = 1_000


def write_archive(
    path: Path, kind: str, version: int, document: Mapping[str, Any], arrays: Arrays, *, mode: int = 0o644
) -> None:
    """Write a file atomically. Raises OutputError."""
    text = json.dumps({"format": kind, "version": version, "sha256": _digest(document, arrays), **document})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {DOCUMENT: np.frombuffer(text.encode(), np.uint8), **arrays}.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    write_atomically(path, buffer.getvalue(), mode=mode)


def read_archive(path: Path, kind: str, version: int, advice: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Document and arrays of a file. Raises DataError, with `advice` on what to type, for one that is not right."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for, and a device has no end
            raise DataError(f"{path} is not a regular file; {advice}")
        data = path.read_bytes() if about.st_size <= LARGEST_FILE else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}); {advice}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
        if len(entries) > MOST_ARRAYS or sum(entry.file_size for entry in entries) > LARGEST_FILE:
            raise ValueError("it is too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        document = json.loads(arrays.pop(DOCUMENT).tobytes())
        written, numbers, digest = (document.pop(key) for key in ("format", "version", "sha256"))
    except Exception as error:  # zipfile and NumPy raise many kinds for damaged bytes
        raise DataError(f"{path} is damaged ({type(error).__name__}); {advice}") from error
    if (written, numbers) != (kind, version):
        raise DataError(f"{path} is {written!r} of version {numbers!r}, not {kind} of version {version}; {advice}")
    if digest != _digest(document, arrays):
        raise DataError(f"{path} is damaged (its SHA-256 is another); {advice}")
    return document, arrays


def _digest(document: Mapping[str, Any], arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
