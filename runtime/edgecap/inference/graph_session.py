"""A session made of two graphs: everything about running a bundle that is the same in every runtime.

Knows the inputs and outputs of the graphs (`edgecap.inference.signatures`), not what runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.manifest import DecoderSpec, Manifest
from edgecap.errors import BundleError, EdgecapError, reason_of
from edgecap.inference.decoding import DecodeStep, Hypothesis, beam_search, hypotheses
from edgecap.inference.session import Encoded, StreamGraph
from edgecap.inference.signatures import check_outputs, clips_at_once, encoder_feed, signatures
from edgecap.types import LogMel, Waveform

RunGraph = Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
"""Runs a graph once: inputs by name → outputs in the order of its signature."""
Arrays = dict[str, NDArray[Any]]
AGAIN = "export the model again"
BindGraph = Callable[[Arrays, Arrays], Callable[[], None]]
"""Ties a graph to its inputs and to where its outputs go, each by name; what it gives runs the graph on them once."""


class GraphSession:
    """An `InferenceSession` over two functions; the class of a runtime derives from it and makes them."""

    def __init__(self, manifest: Manifest, encode: RunGraph, decode: RunGraph, bind: BindGraph | None = None) -> None:
        """`bind` is the decoder of a runtime that can read and write arrays in place."""
        self._manifest = manifest
        self._encode, self._decode = _checked(manifest, "encode", encode), _checked(manifest, "decode", decode)
        self._bind = bind or _copying(self._decode)

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        """Run the encoder on one window, as `InferenceSession.encode` says."""
        keys, values, embedding = self._encode(encoder_feed(self._manifest, sound, memory_length))
        if not np.isfinite(embedding).all():
            raise BundleError(f"the graph encode of {self._manifest.name} gives no numbers; {AGAIN}")
        return Encoded(keys, values, embedding[0], memory_length)

    def search(self, encoded: Encoded, beam: int) -> list[Hypothesis]:
        """The best captions of one window, as `InferenceSession.search` says."""
        if self._manifest.decoder.search == "in-graph":
            return self.search_several([encoded], beam)[0]
        most, words = self._manifest.decoder.max_tokens, self._manifest.vocabulary
        step = self.decoder(encoded, beam)
        return beam_search(step, beam=beam, max_tokens=most, start=words.start, end=words.end)

    def search_several(self, encoded: Sequence[Encoded], beam: int) -> list[list[Hypothesis]]:
        """As `InferenceSession.search_several` says."""
        spec = self._manifest.decoder
        if not encoded or spec.search == "outside":
            return [self.search(each, beam) for each in encoded]
        _check_beams(spec, beam)
        if clips_at_once(self._manifest) == 1 and len(encoded) > 1:
            return [best for each in encoded for best in self.search_several([each], beam)]
        tokens, scores = self._decode(search_feed(encoded, beam))
        if not len(tokens) == len(scores) == len(encoded) or tokens.shape[1] != scores.shape[1]:
            raise BundleError(
                f"the graph decode of {self._manifest.name} gives tokens of shape {list(tokens.shape)} and scores of "
                f"shape {list(scores.shape)} for {len(encoded)} clips; {AGAIN}"
            )
        words = self._manifest.vocabulary
        return [hypotheses(*clip, words.end, words.size) for clip in zip(tokens, scores, strict=True)]

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """A decoder of one window, as `InferenceSession.decoder` says."""
        if self._manifest.decoder.search == "in-graph":
            raise BundleError(
                f"the search of {self._manifest.name} is inside its graph, which has no single steps; export the model "
                "with --search outside"
            )
        return CachedDecoder(self._bind, self._manifest, encoded, beam)

    def stream_graph(self) -> StreamGraph | None:
        """None, unless a runtime's session has one: `InferenceSession.stream_graph` says what it is."""
        return None


class CachedDecoder:
    """A `DecodeStep` that keeps the self-attention's keys and values from step to step, in the same arrays."""

    def __init__(self, bind: BindGraph, manifest: Manifest, encoded: Encoded, beam: int) -> None:
        """Raises BundleError where the graph is fixed to fewer than `beam` beams."""
        spec = manifest.decoder
        rows = spec.beams or beam
        _check_beams(spec, beam)
        cache = (spec.layers, rows, spec.heads, spec.max_tokens, spec.head_dim)
        self._tokens, self._position = np.zeros(rows, np.int64), np.zeros(1, np.int64)
        self._parents, self._beam = np.zeros(rows, np.int64), beam
        before, after = ([np.zeros(cache, np.float32) for _ in range(2)] for _ in range(2))
        self._caches = tuple(zip(after, before, strict=True))
        self._log_probs = np.empty((rows, manifest.vocabulary.size), np.float32)
        self._name = manifest.name
        self._run = bind(
            {
                "tokens": self._tokens,
                "position": self._position,
                "memory_length": np.array([encoded.memory_length], np.int64),
                "self_keys": before[0],
                "self_values": before[1],
                "cross_keys": np.ascontiguousarray(encoded.cross_keys),
                "cross_values": np.ascontiguousarray(encoded.cross_values),
            },
            {"log_probs": self._log_probs, "new_self_keys": after[0], "new_self_values": after[1]},
        )

    def __call__(self, tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """One step, as `DecodeStep` says."""
        beam = self._beam
        self._tokens[:beam], self._parents[:beam], self._position[0] = tokens, parents, position
        # a graph fixed to more beams than the search has: the last rows are idle copies
        self._tokens[beam:], self._parents[beam:] = tokens[-1], parents[-1]
        if position > 0:
            for after, before in self._caches:
                np.take(after, self._parents, axis=1, out=before, mode="clip")  # the default mode makes a copy first
        with running("decode", self._name):
            self._run()
        return self._log_probs[:beam]


def _check_beams(spec: DecoderSpec, beam: int) -> None:
    """Raise BundleError where the graph is fixed to fewer beams."""
    if spec.beams and beam > spec.beams:
        raise BundleError(f"this model's decoder takes at most {spec.beams} beams, not {beam}; use a smaller --beam")


def search_feed(encoded: Sequence[Encoded], beam: int) -> Arrays:
    """The inputs by name of a `decode` that searches by itself, for clips, at least one."""
    keys, values = [each.cross_keys for each in encoded], [each.cross_values for each in encoded]
    return {
        "memory_length": np.array([each.memory_length for each in encoded]),
        "beams": np.array([beam]),
        "cross_keys": keys[0][None] if len(keys) == 1 else np.stack(keys),  # one clip is not copied
        "cross_values": values[0][None] if len(values) == 1 else np.stack(values),
    }


@contextmanager
def running(graph: str, name: str) -> Iterator[None]:
    """Around a run of a graph of the model `name`: what a runtime raises is a BundleError.

    A graph that loads can fail all the same, by sizes that only a run shows. Runtimes' own exceptions share no base.
    """
    try:
        yield
    except (EdgecapError, MemoryError):
        raise
    except Exception as error:
        raise BundleError(f"the graph {graph} of {name} fails when it is run ({reason_of(error)}); {AGAIN}") from error


def _checked(manifest: Manifest, graph: str, run: RunGraph) -> RunGraph:
    """A graph whose outputs are held to the manifest: a size that the graph leaves free is known only then."""
    _, expected = signatures(manifest)[graph]
    place = f"the graph {graph} of {manifest.name}"

    def checked(feed: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        with running(graph, manifest.name):
            results = run(feed)
        check_outputs(place, results, expected)
        return results

    return checked


def _copying(run: RunGraph) -> BindGraph:
    """A graph that gives its outputs in arrays of its own, which are copied."""

    def bind(inputs: Arrays, outputs: Arrays) -> Callable[[], None]:
        def step() -> None:
            for output, result in zip(outputs.values(), run(inputs), strict=True):
                output[...] = result

        return step

    return bind
