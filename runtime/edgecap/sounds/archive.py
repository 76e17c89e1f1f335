"""A document and arrays in one file: a NumPy archive (a zip of arrays, no pickle) with JSON in it.

The document has a SHA-256 over all arrays, so that damage is noticed where the zip's own checks do not see it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import DataError, reason_of
from edgecap.util.documents import from_json
from edgecap.util.files import write_atomically
from edgecap.util.limits import MOST_TAUGHT, MOST_TAUGHT_ARRAYS, MOST_TAUGHT_DOCUMENT
from edgecap.util.zips import opened_zip

Arrays = Mapping[str, NDArray[Any]]
DOCUMENT = "document"
SHOWN = 60
"""Characters of a value that a message repeats."""


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


def read_archive(
    path: Path, kind: str, version: int, advice: str, *, unread: str = " "
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Document and arrays of a file; those whose names begin with `unread` are checked only, and empty here.

    Raises DataError, with `advice` on what to type, for a file that is not right.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, and a device has no end
            raise DataError(f"{path} is not a regular file; {advice}")
        with path.open("rb") as file:
            return _read(file, kind, version, unread)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}); {advice}") from error
    except _UnsuitableError as error:
        raise DataError(f"{path} is {error}; {advice}") from error
    except Exception as error:  # zipfile and NumPy raise many kinds for damaged bytes
        raise DataError(f"{path} is damaged ({type(error).__name__}); {advice}") from error


class _UnsuitableError(Exception):
    """What a file is instead of what is wanted."""


def _read(file: IO[bytes], kind: str, version: int, unread: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Raises many kinds of errors."""
    if os.fstat(file.fileno()).st_size > MOST_TAUGHT:
        raise ValueError("it is too large")
    with opened_zip(file) as archive:
        entries = archive.infolist()
    if len(entries) > MOST_TAUGHT_ARRAYS or sum(entry.file_size for entry in entries) > MOST_TAUGHT:
        raise ValueError("it is too large")
    documents = [entry for entry in entries if entry.filename.removesuffix(".npy") == DOCUMENT]
    if any(entry.file_size > MOST_TAUGHT_DOCUMENT for entry in documents):
        raise ValueError("its document is too large")
    file.seek(0)
    arrays: dict[str, NDArray[Any]] = {}
    with warnings.catch_warnings(), np.load(file, allow_pickle=False) as loaded:  # arrays are read when asked for
        warnings.simplefilter("error")  # NumPy would tell the user of headers as Python 2 wrote them
        document = from_json(loaded[DOCUMENT].tobytes())
        written, number, stated = (document.pop(key) for key in ("format", "version", "sha256"))
        if (written, number) != (kind, version):
            raise _UnsuitableError(
                f"{str(written)[:SHOWN]!r} of version {str(number)[:SHOWN]}, not {kind} of version {version}"
            )
        digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
        for name in sorted(set(loaded.files) - {DOCUMENT}):
            _add(digest, name, array := loaded[name])
            arrays[name] = np.empty(0, np.uint8) if name.startswith(unread) else array
    if stated != digest.hexdigest():
        raise _UnsuitableError("damaged (its SHA-256 is another)")
    return document, arrays


def _digest(document: Mapping[str, Any], arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        _add(digest, name, arrays[name])
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, array: NDArray[Any]) -> None:
    digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
