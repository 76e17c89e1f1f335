"""The file of a taught sound: a NumPy archive (a zip of arrays, no pickle) with a JSON document of what it is.

The document has a SHA-256 over all arrays, so that damage is noticed where the zip's own checks do not see it. Kept
recordings lie in the same file, each as the bytes of a FLAC file, so that a sound is one file to copy.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecap.errors import DataError, reason_of
from edgecap.sounds.sound import Frames, TaughtSound, identifier_of
from edgecap.util.files import write_atomically

SUFFIX = ".sound"
FORMAT, VERSION = "edgecap-sound", 1
DOCUMENT = "document"
LARGEST_FILE = 64 << 20
"""Bytes of a file, and of its arrays together."""
MOST_ARRAYS = 1_000


class _Document(msgspec.Struct, frozen=True):
    """What the JSON says."""

    format: str
    version: int
    name: str
    model: str
    threshold: float
    created: str
    false_alarms: float
    sha256: str


def write_sound(path: Path, sound: TaughtSound, recordings: Sequence[bytes] = ()) -> None:
    """Write a sound atomically; `recordings` are the bytes of FLAC files. Raises OutputError."""
    arrays: dict[str, NDArray[Any]] = {}
    for kind, stretches in (("example", sound.examples), ("counter", sound.counter_examples)):
        arrays |= {f"{kind}-{number:03d}": frames.astype(np.float16) for number, frames in enumerate(stretches)}
    arrays |= {f"recording-{number:03d}": np.frombuffer(data, np.uint8) for number, data in enumerate(recordings)}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": sound.name,
        "model": sound.model,
        "threshold": sound.threshold,
        "created": sound.created,
        "false_alarms": sound.false_alarms,
        "sha256": _digest(arrays),
    }
    buffer = io.BytesIO()
    arrays[DOCUMENT] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    write_atomically(path, buffer.getvalue(), mode=0o600)


def read_sound(path: Path) -> TaughtSound:
    """The sound in a file. Raises DataError for a file that is missing, damaged, or no such file."""
    document, arrays = _read(path)
    return TaughtSound(
        name=document.name,
        identifier=identifier_of(document.name),
        model=document.model,
        threshold=document.threshold,
        examples=_stretches(path, arrays, "example"),
        counter_examples=_stretches(path, arrays, "counter"),
        created=document.created,
        false_alarms=document.false_alarms,
        recordings=sum(name.startswith("recording-") for name in arrays),
    )


def read_recordings(path: Path) -> tuple[bytes, ...]:
    """The bytes of the FLAC files that are kept in a sound's file. Raises DataError."""
    _, arrays = _read(path)
    return tuple(arrays[name].tobytes() for name in sorted(arrays) if name.startswith("recording-"))


def _read(path: Path) -> tuple[_Document, dict[str, NDArray[Any]]]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise _damaged(path, f"it has more than {LARGEST_FILE >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}); type: edgecap sounds") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ARRAYS or sum(entry.file_size for entry in entries) > LARGEST_FILE:
                raise ValueError("too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        document = msgspec.json.decode(arrays.pop(DOCUMENT).tobytes(), type=_Document)
        if document.format != FORMAT or document.version != VERSION:
            raise _damaged(path, f"it is {document.format!r} of version {document.version}")
        identifier_of(document.name)
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds for damaged bytes
        raise _damaged(path, type(error).__name__) from error
    if document.sha256 != _digest(arrays):
        raise _damaged(path, "its SHA-256 is another")
    return document, arrays


def _stretches(path: Path, arrays: dict[str, NDArray[Any]], kind: str) -> tuple[Frames, ...]:
    stretches = [arrays[name] for name in sorted(arrays) if name.startswith(f"{kind}-")]
    if any(frames.ndim != 2 or not frames.size or not np.isfinite(frames).all() for frames in stretches):
        raise _damaged(path, f"an array of {kind}s is no matrix of numbers")
    return tuple(frames.astype(np.float32) for frames in stretches)


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is no sound that edgecap can read ({why}); remove the file, and teach the sound again")
