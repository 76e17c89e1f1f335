"""The encoder of a stream of overlapping windows: a hop costs what is new in it.

Each convolution of the bundle's graph `stream` keeps the columns that the next call needs, and memory frames that no
further sound can change are kept too. What a window is, and when it is encoded anew, stands in docs/streaming.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.frontend import LEAST_MEAN_POWER, frame_powers, gain_for, normalised, raised
from edgecap.bundle.fields import StreamingSpec
from edgecap.bundle.manifest import Manifest
from edgecap.inference.session import Encoded, StreamGraph
from edgecap.types import LogMel

LEVEL_TOLERANCE_DB = 3.0
"""How far a sliding window's mean power may be from the one at which its earlier frames were encoded."""
LOUDER, HEARD = 8.0, 1e-4
"""A sound for checks, nepers above silence, and what part of the largest value of memory counts as a change."""
Arrays = Mapping[str, NDArray[Any]]


def stream_graph(
    manifest: Manifest, spec: StreamingSpec, run: Callable[[Arrays], dict[str, NDArray[Any]]], states: Arrays
) -> StreamGraph:
    """The graph that `run` runs, with what it makes of silence; `states` are zeros.

    Raises ValueError where the graph is not as the manifest says, and what `run` raises.
    """
    encoder, front_end, step = manifest.encoder, manifest.front_end, manifest.encoder.frames_per_memory
    silence = np.full((1, front_end.n_mels, encoder.window_frames), front_end.silence, np.float32)

    def call(log_mel: LogMel, kept: Arrays, behind: NDArray[np.float32] | None = None, **numbers: int) -> Any:  # noqa: ANN401
        feed = window_feed(manifest, kept) | {"log_mel": log_mel}
        feed |= {name: np.array([value], np.int64) for name, value in {"memory_length": 1, **numbers}.items()}
        return run(feed if behind is None else feed | {"silent": behind})

    silent: NDArray[np.float32] = call(silence, states)["rows"]
    wanted = (1, encoder.memory_frames, encoder.embedding_dim)
    if silent.shape != wanted:
        raise ValueError(f"rows of shape {silent.shape}, not {wanted}")
    # a sound of one memory frame, and silence: how far it is heard, and how much of what came a next call gives again
    sound, blocks = silence.copy(), encoder.window_frames // step
    sound[:, ::2, :step] += LOUDER
    heard = call(sound, states, blocks=blocks)
    differs = np.abs(heard["rows"] - silent).max(axis=(0, 2)) > HEARD * max(float(np.abs(silent).max()), 1e-6)
    last = int(np.flatnonzero(differs).max(initial=0))
    if (last - 1) * step + 1 > spec.lead:
        raise ValueError(f"memory frame {last} depends on the first, and the manifest says lead {spec.lead}")
    if blocks >= spec.lag:
        kept = {name: heard[f"new_{name}"] for name in states}
        again = call(silence[:, :, :step], kept, silent[:, 1:], blocks=1, first=0, until=1)["rows"].shape[1]
        if again != spec.lag + 1:
            raise ValueError(f"{again - 1} memory frames are given again, and the manifest says lag {spec.lag}")
    return StreamGraph(run, states, silent)


def window_feed(manifest: Manifest, states: Arrays) -> dict[str, NDArray[Any]]:
    """The inputs of the graph besides those of `encode`, for a window of full length that is encoded by itself."""
    none = np.zeros((1, 0, manifest.encoder.embedding_dim), np.float32)
    numbers = {"blocks": 0, "first": 1, "until": manifest.encoder.memory_frames}
    calls = {name: np.array([value], np.int64) for name, value in numbers.items()}
    return {"memory": none, "silent": none, **calls, **states}


class WindowEncoder(Protocol):
    """What encodes the windows of one stream."""

    def __call__(self, frames: LogMel, first: int, /, *, sliding: bool) -> Encoded:
        """Encode a window, as `StreamEncoder` says."""
        ...


@dataclass(frozen=True)
class _Kept:
    """What one window leaves for the next."""

    origin: int
    """The stream's number of the first frame of `rows`."""
    blocks: int
    """Memory frames' worth of sound since then that the graph has had for good."""
    power: float
    """Mean mel power at which they were encoded."""
    rows: NDArray[np.float32]
    """Memory frames that no further sound changes, shape (1, n, embedding_dim)."""
    states: Arrays


class StreamEncoder:
    """Encodes the windows of one stream, one after the other. Holds a fifth of a megabyte for the shipped model."""

    def __init__(self, manifest: Manifest, spec: StreamingSpec, graph: StreamGraph) -> None:
        self._manifest, self._spec, self._graph = manifest, spec, graph
        self.windows, self.anew = 0, 0
        """Windows so far, and those of them that were encoded from their beginning."""
        self._kept: _Kept | None = None
        self._powers: NDArray[np.float32] = np.empty(0, np.float32)
        self._end = 0

    def __call__(self, frames: LogMel, first: int, /, *, sliding: bool) -> Encoded:
        """Encode a window.

        `frames` (n, n_mels) are log-mel without the window's level, at most `window_frames`; the first one is the
        stream's frame number `first`, and numbers leave a gap where sound is missing. A window that is not `sliding`
        begins where its sound does, and is encoded exactly as `Captioner.encode` encodes it. A sliding one is cut off
        somewhere in the sound: it may begin up to one memory frame later, at the place of an earlier memory frame.
        """
        encoder, front_end = self._manifest.encoder, self._manifest.front_end
        end, step = first + len(frames), encoder.frames_per_memory
        powers = self._frame_powers(frames, first)
        before = self._usable(first, end, powers, sliding=sliding)
        self.windows += 1
        self._kept = None
        if before is None:
            self.anew += 1
            none = np.zeros((1, 0, encoder.embedding_dim), np.float32)
            position, new = first, normalised(frames, front_end)
            before, started = _Kept(first, 0, float(np.mean(powers)), none, self._graph.states), True
        else:
            position, started = before.origin + before.blocks * step, False
            new = raised(frames[position - first :], front_end, gain_for(before.power, front_end))
        length = encoder.memory_length(end - before.origin)
        until = self._until(end - before.origin, length)
        wanted = max(end, before.origin + min(encoder.window_frames, until * step + self._spec.reach))
        log_mel = np.full((1, front_end.n_mels, wanted - position), front_end.silence, np.float32)
        log_mel[0, :, : len(new)] = new.T
        come = (end - position) // step
        numbers = {"memory_length": length, "blocks": come, "first": int(started), "until": until}
        outputs = self._graph.run(
            {
                "log_mel": log_mel,
                "memory": before.rows,
                "silent": self._graph.silent[:, until:],
                **{name: np.array([value], np.int64) for name, value in numbers.items()},
                **before.states,
            }
        )
        self._keep(before, before.blocks + come, outputs)
        return Encoded(outputs["cross_keys"], outputs["cross_values"], outputs["clip_embedding"][0], length)

    def _usable(self, first: int, end: int, powers: NDArray[np.float32], *, sliding: bool) -> _Kept | None:
        """What was kept, from where this window begins; None where it has to be encoded anew."""
        kept, step, front_end = self._kept, self._manifest.encoder.frames_per_memory, self._manifest.front_end
        if kept is None:
            return None
        skipped = max(0, -(-(first - kept.origin) // step))
        begin, position = kept.origin + skipped * step, kept.origin + kept.blocks * step
        if not (first <= position <= end and 0 <= begin - first < (step if sliding else 1)):
            return None
        if skipped > kept.rows.shape[1]:
            return None
        if front_end.clip_level is not None:
            power = float(np.mean(powers[begin - first :]))
            off = abs(10.0 * math.log10(max(power, LEAST_MEAN_POWER) / max(kept.power, LEAST_MEAN_POWER)))
            if not sliding or off > LEVEL_TOLERANCE_DB:
                return None
        return replace(kept, origin=begin, blocks=kept.blocks - skipped, rows=kept.rows[:, skipped:])

    def _frame_powers(self, frames: LogMel, first: int) -> NDArray[np.float32]:
        """Powers of the frames; those that the window before had are not computed again."""
        end, known = first + len(frames), self._powers[:0]
        if 0 < self._end - first <= len(self._powers) and self._end <= end:
            known = self._powers[len(self._powers) - (self._end - first) :]
        self._powers = np.concatenate((known, frame_powers(frames[len(known) :], self._manifest.front_end)))
        self._end = end
        return self._powers

    def _until(self, frames: int, length: int) -> int:
        """Memory frames that cannot be taken from silence.

        In int8 all of them share one scale, so those behind the sound count too, as far as the sound reaches.
        """
        encoder = self._manifest.encoder
        if self._manifest.precision != "int8":
            return length
        return min(encoder.memory_frames, -(-(frames + self._spec.lead) // encoder.frames_per_memory))

    def _keep(self, before: _Kept, blocks: int, outputs: Arrays) -> None:
        """Keep what the next window can use, which is nothing where this one was shorter than the graph looks back."""
        final = blocks - self._spec.lag
        if final >= 0:
            rows = np.concatenate((before.rows, outputs["rows"][:, : final - before.rows.shape[1]]), axis=1)
            states = {name: outputs[f"new_{name}"] for name in before.states}
            self._kept = replace(before, blocks=blocks, rows=rows, states=states)
