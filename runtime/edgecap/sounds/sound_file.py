"""The file of a taught sound: an archive of its embeddings, and of kept recordings as the bytes of FLAC files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import ConfigError, DataError
from edgecap.sounds.archive import read_archive, write_archive
from edgecap.sounds.names import identifier_of
from edgecap.sounds.sound import Frames, TaughtSound

SUFFIX = ".sound"
FORMAT, VERSION = "edgecap-sound", 1
ADVICE = "remove the file, and teach the sound again"
RECORDING = "recording-"
"""How the names of recordings begin."""
WIDEST = 1 << 16
"""Values of a frame embedding."""
STORED = (np.float16, np.float32)


def write_sound(path: Path, sound: TaughtSound, recordings: Sequence[bytes] = ()) -> None:
    """Write a sound atomically; `recordings` are the bytes of FLAC files. Raises OutputError."""
    arrays: dict[str, NDArray[Any]] = {}
    for kind, stretches in (("example", sound.examples), ("counter", sound.counter_examples)):
        arrays |= {f"{kind}-{number:03d}": frames.astype(np.float16) for number, frames in enumerate(stretches)}
    arrays |= {f"{RECORDING}{number:03d}": np.frombuffer(data, np.uint8) for number, data in enumerate(recordings)}
    document = {
        key: getattr(sound, key) for key in ("name", "model", "threshold", "typical", "created", "false_alarms", "bank")
    }
    write_archive(path, FORMAT, VERSION, document, arrays, mode=0o600)


def read_sound(path: Path, advice: str = ADVICE) -> TaughtSound:
    """The sound in a file. Raises DataError, with `advice`, for a file that is missing, damaged, or no such file."""
    document, arrays = read_archive(path, FORMAT, VERSION, advice, unread=RECORDING)
    try:
        if not all(math.isfinite(document[key]) for key in ("threshold", "typical", "false_alarms")):
            raise ValueError("a number")
        return TaughtSound(
            name=document["name"],
            identifier=identifier_of(document["name"]),
            model=str(document["model"]),
            threshold=float(document["threshold"]),
            typical=float(document["typical"]),
            examples=_stretches(arrays, "example"),
            counter_examples=_stretches(arrays, "counter"),
            created=str(document["created"]),
            false_alarms=float(document["false_alarms"]),
            bank=str(document.get("bank", "")),
            recordings=sum(name.startswith(RECORDING) for name in arrays),
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, ConfigError) as error:
        raise DataError(f"{path} is no sound ({type(error).__name__}); {advice}") from error


def read_recordings(path: Path) -> tuple[bytes, ...]:
    """The bytes of the FLAC files that are kept in a sound's file. Raises DataError."""
    _, arrays = read_archive(path, FORMAT, VERSION, ADVICE)
    return tuple(arrays[name].tobytes() for name in sorted(arrays) if name.startswith(RECORDING))


def _stretches(arrays: dict[str, NDArray[Any]], kind: str) -> tuple[Frames, ...]:
    """The embeddings of one kind. Raises ValueError."""
    stretches = list[Frames]()
    for name in sorted(name for name in arrays if name.startswith(f"{kind}-")):
        stored = arrays.pop(name)  # at most one is in memory twice
        width = stretches[0].shape[1] if stretches else min(WIDEST, stored.shape[-1])
        if stored.dtype not in STORED or stored.ndim != 2 or not stored.size or stored.shape[1] != width:
            raise ValueError(kind)
        if not np.isfinite(stored).all():
            raise ValueError(kind)
        stretches.append(stored.astype(np.float32))
    return tuple(stretches)
