"""A session made of two graphs: everything about running a bundle that is the same in every runtime.

Knows the inputs and outputs of the graphs (`edgecap.inference.signatures`), not what runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.manifest import DecoderSpec, Manifest
from edgecap.errors import BundleError
from edgecap.inference.decoding import DecodeStep
from edgecap.inference.session import Encoded
from edgecap.inference.signatures import encoder_feed
from edgecap.types import LogMel, Waveform

RunGraph = Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
"""Runs a graph once: inputs by name → outputs in the order of its signature."""


class GraphSession:
    """An `InferenceSession` over two functions; the class of a runtime derives from it and makes them."""

    def __init__(self, manifest: Manifest, encode: RunGraph, decode: RunGraph) -> None:
        self._manifest, self._encode, self._decode = manifest, encode, decode

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        """Run the encoder on one window, as `InferenceSession.encode` says."""
        keys, values, embedding = self._encode(encoder_feed(self._manifest, sound, memory_length))
        return Encoded(keys, values, embedding[0], memory_length)

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """A decoder of one window, as `InferenceSession.decoder` says."""
        return CachedDecoder(self._decode, self._manifest.decoder, encoded, beam)


class CachedDecoder:
    """A `DecodeStep` that keeps the self-attention's keys and values from step to step."""

    def __init__(self, run: RunGraph, spec: DecoderSpec, encoded: Encoded, beam: int) -> None:
        """Raises BundleError where the graph is fixed to fewer than `beam` beams."""
        rows = spec.beams or beam
        if beam > rows:
            raise BundleError(f"this model's decoder takes at most {rows} beams, not {beam}; use a smaller --beam")
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
        """One step, as `DecodeStep` says."""
        if self._idle:  # a graph fixed to more beams than the search has: the last rows are idle copies
            tokens = np.pad(tokens, (0, self._idle), mode="edge")
        if position > 0 and not np.array_equal(parents, self._unmoved):
            order = np.pad(parents, (0, self._idle), mode="edge") if self._idle else parents
            for name in ("self_keys", "self_values"):
                self._feed[name] = np.ascontiguousarray(self._feed[name][:, order])
        self._feed["tokens"] = tokens
        self._feed["position"] = np.array([position], np.int64)
        log_probs, self._feed["self_keys"], self._feed["self_values"] = self._run(self._feed)
        return np.asarray(log_probs[: self._beam])
