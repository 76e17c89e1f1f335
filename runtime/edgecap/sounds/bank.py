"""The bank: statistics of unrelated sounds for one encoder, by which taught sounds are compared and calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle
from edgecap.inference.session import Encoded
from edgecap.sounds.sound import Frames


@dataclass(frozen=True, eq=False)
class Bank:
    """Statistics of unrelated sounds."""

    model: str
    """Identity of the encoder (`model_identity`)."""
    mean: NDArray[np.float32] | None = None
    """Mean frame embedding, shape (width,)."""

    def project(self, frames: Frames) -> Frames:
        """Frame embeddings as they are compared: each row of length 1."""
        centred = frames if self.mean is None else frames - self.mean
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6), np.float32)


def model_identity(bundle: Bundle) -> str:
    """What tells encoders apart: the SHA-256 of the bundle's encoder graph, whatever the bundle's name."""
    return bundle.manifest.programs[0].sha256


def frame_embeddings(encoded: Encoded) -> Frames:
    """The encoder's frame embeddings of a window, shape (memory frames of the sound, width).

    They are the decoder's keys and values for each frame, which the captioner computes in any case.
    """
    parts = [np.moveaxis(part, 2, 0).reshape(part.shape[2], -1) for part in (encoded.cross_keys, encoded.cross_values)]
    return np.concatenate(parts, axis=1)[: encoded.memory_length].astype(np.float32)


def load_bank(bundle: Bundle) -> Bank:
    """The bank for a bundle's encoder."""
    return Bank(model_identity(bundle))
