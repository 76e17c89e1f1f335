"""Inputs and outputs of a bundle's two graphs as its manifest implies them, for the sessions of all runtimes.

What they mean is said by `edgecap.bundle.manifest.EncoderSpec` and `DecoderSpec`. Knows no runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.manifest import Manifest
from edgecap.errors import BundleError
from edgecap.types import LogMel, Waveform

Element = Literal["float32", "int64", "uint8"]
Signature = Mapping[str, tuple[Element, tuple[int | None, ...]]]
"""Name → (element type, shape with None where any size is taken)."""


def signatures(manifest: Manifest) -> dict[str, tuple[Signature, Signature]]:
    """Inputs and outputs that the graphs "encode" and "decode" must have."""
    encoder, decoder, front_end = manifest.encoder, manifest.decoder, manifest.front_end
    beams = decoder.beams or None
    cross = (decoder.layers, decoder.heads, encoder.memory_frames, decoder.head_dim)
    cache = (decoder.layers, beams, decoder.heads, decoder.max_tokens, decoder.head_dim)
    memory_length: Signature = {"memory_length": ("int64", (1,))}
    memory: Signature = {"cross_keys": ("float32", cross), "cross_values": ("float32", cross)}
    if encoder.input == "log_mel":
        sound: Signature = {"log_mel": ("float32", (1, front_end.n_mels, encoder.window_frames))}
    else:
        sound = {"waveform": ("float32", (1, encoder.waveform_length(front_end))), "samples": ("int64", (1,))}
    encode = {**sound, **memory_length}, {**memory, "clip_embedding": ("float32", (1, encoder.embedding_dim))}
    if decoder.search == "in-graph":
        clips = clips_at_once(manifest)
        several: Signature = dict.fromkeys(memory, ("float32", (clips, *cross)))
        windows: Signature = {"memory_length": ("int64", (clips,)), "beams": ("int64", (1,)), **several}
        tokens: Signature = {"tokens": ("int64", (clips, beams, decoder.max_tokens))}
        return {"encode": encode, "decode": (windows, {**tokens, "scores": ("float32", (clips, beams))})}
    tokens = {"tokens": ("int64", (beams,)), "position": ("int64", (1,)), **memory_length}
    caches: Signature = {"self_keys": ("float32", cache), "self_values": ("float32", cache)}
    log_probs: Signature = {"log_probs": ("float32", (beams, manifest.vocabulary.size))}
    after = {f"new_{name}": kind for name, kind in caches.items()}
    return {"encode": encode, "decode": ({**tokens, **caches, **memory}, {**log_probs, **after})}


def clips_at_once(manifest: Manifest) -> int | None:
    """Clips of one call of a `decode` that searches by itself: None for any number; one where beams are fixed."""
    return 1 if manifest.decoder.beams else None


def stream_signature(manifest: Manifest, states: Signature) -> tuple[Signature, Signature]:
    """Inputs and outputs that the graph "stream" must have; `states` are what its convolutions keep, by name."""
    inputs, outputs = signatures(manifest)["encode"]
    width = manifest.encoder.embedding_dim
    rows: Signature = dict.fromkeys(("memory", "silent"), ("float32", (1, None, width)))
    calls: Signature = dict.fromkeys(("blocks", "first", "until"), ("int64", (1,)))
    sound: Signature = {**inputs, "log_mel": ("float32", (1, manifest.front_end.n_mels, None))}
    return (
        {**sound, **calls, **rows, **states},
        {**outputs, "rows": rows["memory"], **{f"new_{name}": kind for name, kind in states.items()}},
    )


def check_signature(
    graph: str, kind: str, actual: Mapping[str, tuple[str, tuple[int | None, ...]]], expected: Signature
) -> None:
    """Raise BundleError where a graph takes or gives something other than its manifest implies.

    `graph` is its name in the message, `kind` "input" or "output". A dimension of `actual` that may have any size is
    None; it fits every expected size, and only it fits an expected None.
    """
    for name in sorted(actual.keys() ^ expected.keys()):
        fault = "lacks" if name in expected else "has an unknown"
        raise BundleError(f"{graph} {fault} {kind} {name!r}; export the model again")
    for name, (element, shape) in expected.items():
        actual_element, sizes = actual[name]
        fits = len(sizes) == len(shape) and all(
            size in (wanted, None) for size, wanted in zip(sizes, shape, strict=True)
        )
        if actual_element != element or not fits:
            raise BundleError(
                f"{graph}: {kind} {name!r} is {actual_element} {list(sizes)}, and the manifest requires {element} "
                f"{list(shape)}; export the model again"
            )


def check_outputs(graph: str, outputs: Sequence[NDArray[Any]], expected: Signature) -> None:
    """Raise BundleError where a run of `graph` gave arrays of other shapes than its manifest implies."""
    for output, (name, (_, shape)) in zip(outputs, expected.items(), strict=True):
        sizes = output.shape
        if len(sizes) != len(shape) or any(
            wanted not in (None, size) for size, wanted in zip(sizes, shape, strict=True)
        ):
            raise BundleError(
                f"{graph} gives {name!r} of shape {list(sizes)}, and the manifest requires {list(shape)}; export the "
                "model again"
            )


def encoder_feed(manifest: Manifest, sound: Waveform | LogMel, memory_length: int) -> dict[str, NDArray[Any]]:
    """The inputs of `encode` by name for what `InferenceSession.encode` is given.

    `sound` is a log-mel (n_mels, window_frames); where the manifest's encoder takes a waveform, samples (n,) at most
    as long as the window, which are filled up with zeros behind their end.
    """
    feed: dict[str, NDArray[Any]] = {"memory_length": np.array([memory_length], np.int64)}
    if manifest.encoder.input == "log_mel":
        return feed | {"log_mel": sound[None]}
    waveform = np.zeros((1, manifest.encoder.waveform_length(manifest.front_end)), np.float32)
    waveform[0, : sound.size] = sound
    return feed | {"waveform": waveform, "samples": np.array([sound.size], np.int64)}
