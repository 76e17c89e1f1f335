"""ONNX Runtime as the backend of a session.

The graphs' inputs and outputs are held to the manifest when they are loaded, so that a wrong graph is
told by its name and shape and not by a crash in the middle of a caption.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle
from edgecap.errors import BundleError, MissingDependencyError
from edgecap.inference.cached_decoder import CachedDecoder
from edgecap.inference.decoding import DecodeStep
from edgecap.inference.session import Encoded
from edgecap.inference.signatures import Signature, decode_signature, encode_signature, encoder_feed
from edgecap.types import LogMel, Waveform

_ELEMENTS = {"float32": "tensor(float)", "int64": "tensor(int64)"}
_LOG_ERRORS_ONLY = 3
_NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""The released name (1.29 on) and the one of later sources."""


class OnnxSession:
    """The two graphs of a bundle in ONNX Runtime."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load and check both graphs. Raises BundleError, MissingDependencyError without onnxruntime."""
        manifest = bundle.manifest
        self._manifest = manifest
        self._encode = open_graph(bundle.path("encode"), threads)
        self._decode = open_graph(bundle.path("decode"), threads)
        _check_signature(bundle.path("encode"), self._encode, *encode_signature(manifest))
        _check_signature(bundle.path("decode"), self._decode, *decode_signature(manifest))

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        """See `Session.encode`."""
        feed = encoder_feed(self._manifest, sound, memory_length)
        keys, values, embedding = self._encode.run(["cross_keys", "cross_values", "clip_embedding"], feed)
        return Encoded(keys, values, embedding[0], memory_length)

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """See `Session.decoder`."""

        def run(feed: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
            log_probs, keys, values = self._decode.run(["log_probs", "new_self_keys", "new_self_values"], feed)
            return log_probs, keys, values

        return CachedDecoder(run, self._manifest.decoder, encoded, beam)


def import_onnxruntime() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """The module onnxruntime, told to send nothing home. All of edgecap imports it through here.

    From 1.29 on, the official Linux packages report each process, session and model to Microsoft and keep
    an identifier on disk unless the environment says otherwise before the library starts. Raises
    MissingDependencyError.
    """
    os.environ.update(dict.fromkeys(_NO_TELEMETRY, "1"))
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"running this model needs onnxruntime, which does not load ({error}); type: pip install onnxruntime"
        ) from error
    onnxruntime.disable_telemetry_events()  # for a program that had loaded it before
    return onnxruntime


def open_graph(graph: Path | bytes, threads: int = 1, *, optimise: bool = True, profile: Path | None = None) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """An ONNX graph, a file or its bytes, as an `onnxruntime.InferenceSession` on `threads` processor threads.

    `optimise` off keeps every tensor's name; `profile` is the prefix of the file that ONNX Runtime writes its profile
    to. Raises BundleError for a graph that does not load, MissingDependencyError without onnxruntime.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    # Threads that spin between captions keep a board at 100 % for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    source, name = (graph, "the graph") if isinstance(graph, bytes) else (str(graph), str(graph))
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{name} does not load in ONNX Runtime ({reason}); export the model again") from error


def _check_signature(path: Path, session: Any, inputs: Signature, outputs: Signature) -> None:  # noqa: ANN401
    """Raise BundleError where a graph takes or gives something other than its manifest says."""
    for kind, found, expected in (("input", session.get_inputs(), inputs), ("output", session.get_outputs(), outputs)):
        graph = {node.name: (node.type, tuple(node.shape)) for node in found}
        for name in sorted(graph.keys() ^ expected.keys()):
            fault = "lacks" if name in expected else "has an unknown"
            raise BundleError(f"{path} {fault} {kind} {name!r}; export the model again")
        for name, (element, shape) in expected.items():
            if graph[name][0] != _ELEMENTS[element] or not _fits(graph[name][1], shape):
                raise BundleError(
                    f"{path}: {kind} {name!r} is {graph[name][0]} {list(graph[name][1])} and the "
                    f"manifest makes it {_ELEMENTS[element]} {list(shape)}; export the model again"
                )


def _fits(found: tuple[int | str | None, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a graph's shape can be the expected one; a name or None in the graph is any size."""
    if len(found) != len(expected):
        return False
    pairs = zip(found, expected, strict=True)
    return all(
        not isinstance(size, int) if wanted is None else size in (wanted, None) or isinstance(size, str)
        for size, wanted in pairs
    )
