"""The interface of sessions, and how the one for a bundle is opened.

An `InferenceSession` runs the two graphs of a bundle; `edgecap.runtimes` names the class for `manifest.runtime`.
Search, text, windows and silence lie above it and know no runtime.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle
from edgecap.inference.decoding import DecodeStep, Hypothesis
from edgecap.runtimes import RUNTIMES
from edgecap.types import LogMel, Waveform

DEFAULT_THREADS = 1
"""Where the caller does not say; docs/benchmarks.md, "Why one thread". Many sounds go faster in several processes."""
WHY_ONE_THREAD = "a second made a caption cost 1.8 to 3.3 times the processor time"


@dataclass(frozen=True)
class StreamGraph:
    """The graph `stream`, loaded; all streams share it (`edgecap.inference.streaming`)."""

    run: Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]
    """Inputs by name → outputs by name."""
    states: Mapping[str, NDArray[Any]]
    """What each convolution keeps, before the first call: zeros."""
    silent: NDArray[np.float32]
    """Memory frames of a window of the front end's silence, shape (1, memory_frames, embedding_dim)."""


@dataclass(frozen=True)
class Encoded:
    """One window as the decoder needs it."""

    cross_keys: NDArray[np.float32]
    """Shape (layers, heads, memory_frames, head_dim)."""
    cross_values: NDArray[np.float32]
    """Same shape."""
    clip_embedding: NDArray[np.float32]
    """Shape (embedding_dim,)."""
    memory_length: int
    """Memory frames that belong to the sound; the rest is padding and masked."""


class InferenceSession(Protocol):
    """A loaded model."""

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        """Run the encoder on one window.

        `sound` is a log-mel spectrogram (n_mels, window_frames) float32; where `manifest.encoder.input` is
        "waveform", a clip's samples (n,) float32 at the model's rate, n at most `waveform_length`.
        """
        ...

    def search(self, encoded: Encoded, beam: int) -> list[Hypothesis]:
        """The best captions of that window, best first: at least one, and mostly `beam` of them.

        Raises BundleError where the graph is fixed to fewer beams, and for log-probabilities that are not numbers.
        """
        ...

    def search_several(self, encoded: Sequence[Encoded], beam: int) -> list[list[Hypothesis]]:
        """`search` of several windows, in one call where the graph can do that."""
        ...

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """A decoder of that window with `beam` rows and an empty cache.

        Raises BundleError where the graph is fixed to fewer beams, or searches by itself and so has no steps.
        """
        ...

    def stream_graph(self) -> StreamGraph | None:
        """The encoder of streams, loaded at the first call; None where the bundle or the runtime has none.

        Raises BundleError for a graph that does not load or does not match its manifest.
        """
        ...


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(bundle: Bundle, threads: int | None = None, *, streams: bool = False) -> InferenceSession:
    """Load the graphs of a bundle into the runtime that its manifest names, on so many processor threads.

    For `streams`, the encoder of streams is loaded instead of the one of whole windows, where there is one; `encode`
    gives the same by it.

    Raises BundleError for a graph that does not load or does not match its manifest, MissingDependencyError naming
    what to install where the runtime is not there, ValueError for fewer than 1 thread.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"a session needs at least 1 thread, not {threads}")
    # A device has one runtime; the others' modules are not even read.
    runtime = RUNTIMES[bundle.manifest.runtime]
    session_class = resolve_name(runtime.session)
    more = {"streams": True} if streams and runtime.stream else {}
    session: InferenceSession = session_class(bundle, threads or DEFAULT_THREADS, **more)
    return session
