"""The bank: embeddings of unrelated sounds for one encoder, by which taught sounds are compared and calibrated.

`edgecap_bench.sounds.make_bank` makes it from a folder of sounds; it holds embeddings, no audio, and a list of the
sets and their licences. It belongs to one encoder: the package has those of its models, the user's folder others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle
from edgecap.bundle.models import home
from edgecap.errors import DataError, reason_of
from edgecap.inference.session import Encoded
from edgecap.sounds.archive import read_archive, write_archive
from edgecap.sounds.sound import Frames

FORMAT, VERSION = "edgecap-sound-bank", 1
BANKS = Path(__file__).parent / "banks"
SUFFIX = ".bank"
SCALE = 127.0


@dataclass(frozen=True, eq=False)
class Bank:
    """Statistics and windows of unrelated sounds."""

    model: str
    """Identity of the encoder (`model_identity`)."""
    mean: NDArray[np.float32]
    """Mean frame embedding, shape (embedding,)."""
    projection: NDArray[np.float32]
    """Principal directions, each divided by its deviation: shape (embedding, width)."""
    windows: NDArray[np.int8]
    """Projected frames of unrelated sounds, times 127: shape (windows, frames, width)."""
    seconds_per_frame: float
    sets: tuple[Mapping[str, Any], ...] = ()
    """What the windows came from: set, source, licence, clips."""

    def project(self, frames: Frames) -> Frames:
        """Frame embeddings (n, embedding) as they are compared: (n, width), each row of length 1."""
        return unit(np.asarray((frames - self.mean) @ self.projection, np.float32))

    @cached_property
    def identity(self) -> str:
        """What tells banks of one model apart: scores of another are not comparable."""
        digest = hashlib.sha256()
        for array in (self.mean, self.projection, self.windows):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def window_seconds(self) -> float:
        """Length of a window."""
        return int(self.windows.shape[1]) * self.seconds_per_frame

    def segments(self, length: int) -> Frames:
        """Means over `length` frames at every place of the windows: (windows, places, width), rows of length 1."""
        if length not in self._segments:
            self._segments[length] = segments_of(self.windows.astype(np.float32) / SCALE, length)
        return self._segments[length]

    @cached_property
    def _segments(self) -> dict[int, Frames]:
        return {}


def segments_of(frames: Frames, length: int) -> Frames:
    """Means over `length` frames at every place: (…, frames, width) → (…, places, width), rows of length 1.

    Fewer frames than that are one segment.
    """
    length = min(length, frames.shape[-2])
    sums = np.cumsum(frames, axis=-2)
    sums[..., length:, :] -= sums[..., :-length, :].copy()
    return unit(sums[..., length - 1 :, :])


def unit(vectors: Frames) -> Frames:
    """Vectors along the last axis at length 1; zeros stay zeros."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6), np.float32)


def model_identity(bundle: Bundle) -> str:
    """What tells encoders apart: the SHA-256 of the bundle's encoder graph, whatever the bundle's name."""
    return bundle.manifest.programs[0].sha256


def frame_embeddings(encoded: Encoded) -> Frames:
    """The encoder's frame embeddings of a window, shape (memory frames of the sound, embedding).

    They are the decoder's keys and values for each frame, which the captioner computes in any case.
    """
    parts = [np.moveaxis(part, 2, 0).reshape(part.shape[2], -1) for part in (encoded.cross_keys, encoded.cross_values)]
    return np.concatenate(parts, axis=1)[: encoded.memory_length].astype(np.float32)


def load_bank(bundle: Bundle) -> Bank:
    """The bank for a bundle's encoder. Raises DataError where there is none, or it is damaged."""
    identity = model_identity(bundle)
    for folder in (home() / "banks", BANKS):
        path = folder / f"{identity[:16]}{SUFFIX}"
        if path.is_file():
            bank = read_bank(path)
            if bank.model == identity:
                return bank
    raise DataError(
        f"there is no bank of unrelated sounds for the model {bundle.manifest.name!r} ({identity[:16]}), so no "
        "sound can be taught for it; use the default model, or type: python -m edgecap_bench.sounds.make_bank --help"
    )


def read_bank(path: Path) -> Bank:
    """The bank in a file. Raises DataError."""
    document, arrays = read_archive(path, FORMAT, VERSION, "install edgecap again")
    try:
        return Bank(
            str(document["model"]),
            arrays["mean"].astype(np.float32),
            arrays["projection"].astype(np.float32),
            arrays["windows"],
            float(document["seconds_per_frame"]),
            tuple(document["sets"]),
        )
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise DataError(f"{path} is no bank ({reason_of(error)}); install edgecap again") from error


def write_bank(folder: Path, bank: Bank) -> Path:
    """Write a bank into a folder, under the identity of its model. Raises OutputError."""
    document = {"model": bank.model, "seconds_per_frame": bank.seconds_per_frame, "sets": list(bank.sets)}
    arrays: dict[str, NDArray[Any]] = {
        "mean": bank.mean.astype(np.float16),
        "projection": bank.projection.astype(np.float16),
        "windows": bank.windows,
    }
    path = folder / f"{bank.model[:16]}{SUFFIX}"
    write_archive(path, FORMAT, VERSION, document, arrays)
    return path
