"""A decoder in the middle of a caption: the cache of every runtime's session.

Knows the inputs and outputs of a `decode` graph (`edgecap.bundle.manifest.DecoderSpec`), not what runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.manifest import DecoderSpec
from edgecap.errors import BundleError
from edgecap.inference.session import Encoded

RunDecode = Callable[[Mapping[str, NDArray[Any]]], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
"""Runs a `decode` graph once: inputs by name → log_probs, new_self_keys, new_self_values."""


class CachedDecoder:
    """A `DecodeStep` that keeps the self-attention's keys and values from step to step."""

    def __init__(self, run: RunDecode, spec: DecoderSpec, encoded: Encoded, beam: int) -> None:
        """Raises BundleError where the graph is fixed to fewer than `beam` beams."""
        rows = spec.beams or beam
        if beam > rows:
            raise BundleError(f"this model's decoder takes at most {rows} beams, not {beam}; ask for fewer")
        empty = np.zeros((spec.layers, rows, spec.heads, spec.max_tokens, spec.head_dim), np.float32)
        self._run, self._beam, self._idle = run, beam, rows - beam
        self._unmoved = np.arange(beam)
        self._feed: dict[str, NDArray[Any]] = {
            "memory_length": np.array([encoded.memory_length], np.int64),
            "cross_keys": encoded.cross_keys,
            "cross_values": encoded.cross_values,
            "self_keys": empty,
            "self_values": empty,
        }

    def __call__(self, tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `DecodeStep`."""
        if self._idle:  # a graph fixed to more beams than asked for: the last rows are idle copies
            tokens = np.pad(tokens, (0, self._idle), mode="edge")
        if position > 0 and not np.array_equal(parents, self._unmoved):
            order = np.pad(parents, (0, self._idle), mode="edge") if self._idle else parents
            for name in ("self_keys", "self_values"):
                self._feed[name] = np.ascontiguousarray(self._feed[name][:, order])
        self._feed["tokens"] = tokens
        self._feed["position"] = np.array([position], np.int64)
        log_probs, self._feed["self_keys"], self._feed["self_values"] = self._run(self._feed)
        return np.asarray(log_probs[: self._beam])
