"""The file of a taught sound: an archive of its embeddings, and of kept recordings as the bytes of FLAC files."""

from __future__ import annotations

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
WIDEST = 1 << 16
"""Values of a frame embedding."""


def write_sound(path: Path, sound: TaughtSound, recordings: Sequence[bytes] = ()) -> None:
    """Write a sound atomically; `recordings` are the bytes of FLAC files. Raises OutputError."""
    arrays: dict[str, NDArray[Any]] = {}
    for kind, stretches in (("example", sound.examples), ("counter", sound.counter_examples)):
        arrays |= {f"{kind}-{number:03d}": frames.astype(np.float16) for number, frames in enumerate(stretches)}
    arrays |= {f"recording-{number:03d}": np.frombuffer(data, np.uint8) for number, data in enumerate(recordings)}
    document = {
        key: getattr(sound, key) for key in ("name", "model", "threshold", "typical", "created", "false_alarms", "bank")
    }
    write_archive(path, FORMAT, VERSION, document, arrays, mode=0o600)


def read_sound(path: Path, advice: str = ADVICE) -> TaughtSound:
    """The sound in a file. Raises DataError, with `advice`, for a file that is missing, damaged, or no such file."""
    document, arrays = read_archive(path, FORMAT, VERSION, advice)
    try:
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
            recordings=sum(name.startswith("recording-") for name in arrays),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise DataError(f"{path} is no sound ({type(error).__name__}); {advice}") from error


def read_recordings(path: Path) -> tuple[bytes, ...]:
    """The bytes of the FLAC files that are kept in a sound's file. Raises DataError."""
    _, arrays = read_archive(path, FORMAT, VERSION, ADVICE)
    return tuple(arrays[name].tobytes() for name in sorted(arrays) if name.startswith("recording-"))


def _stretches(arrays: dict[str, NDArray[Any]], kind: str) -> tuple[Frames, ...]:
    """The embeddings of one kind. Raises ValueError."""
    stretches = [arrays[name].astype(np.float32) for name in sorted(arrays) if name.startswith(f"{kind}-")]
    widths = {frames.shape[-1] for frames in stretches}
    if len(widths) > 1 or any(
        frames.ndim != 2 or not frames.size or frames.shape[1] > WIDEST or not np.isfinite(frames).all()
        for frames in stretches
    ):
        raise ValueError(kind)
    return tuple(stretches)
