"""LiteRT (TensorFlow Lite) as the backend of a session: one program with the signatures `encode` and `decode`.

Either of two packages runs it, both with XNNPACK: `ai-edge-litert`, or the older `tflite_runtime` (2.14) where a board
has that one. The older one has no int8 products with weights per channel, so int8 bundles are refused there. Like
`edgecap.inference.onnx_session` it holds the program to the manifest when it is loaded. LiteRT's programs take int32
where the manifest says int64; the session converts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle
from edgecap.errors import BundleError, MissingDependencyError
from edgecap.inference.cached_decoder import CachedDecoder
from edgecap.inference.decoding import DecodeStep
from edgecap.inference.session import Encoded
from edgecap.inference.signatures import Signature, decode_signature, encode_signature, encoder_feed
from edgecap.types import LogMel, Waveform
from edgecap.util.stderr import silent_library

Arrays = dict[str, NDArray[Any]]


class LiteRtSession:
    """A bundle's program in LiteRT."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load and check the program. Raises BundleError, MissingDependencyError without a LiteRT."""
        path, manifest = bundle.path("program"), bundle.manifest
        self._manifest = manifest
        if manifest.precision == "int8" and import_interpreter().__module__.startswith("tflite_runtime"):
            # 2.14 loads it and takes the per-channel scales of the products for zeros: every word as likely as the next
            raise BundleError(
                f"{bundle.folder} is int8, which tflite_runtime calculates wrongly; type: pip install "
                '"edgecap[litert]", or export the model with --fp16'
            )
        self._interpreter = _load(path, threads)
        # one interpreter has one set of buffers, and threads may share a session
        self._lock = Lock()
        self._encode = self._signature(path, "encode", *encode_signature(manifest))
        self._decode = self._signature(path, "decode", *decode_signature(manifest))

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        """See `Session.encode`."""
        outputs = self._encode(encoder_feed(self._manifest, sound, memory_length))
        embedding = outputs["clip_embedding"][0]
        return Encoded(outputs["cross_keys"], outputs["cross_values"], embedding, memory_length)

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """See `Session.decoder`."""

        def run(feed: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
            outputs = self._decode(feed)
            return outputs["log_probs"], outputs["new_self_keys"], outputs["new_self_values"]

        return CachedDecoder(run, self._manifest.decoder, encoded, beam)

    def _signature(
        self, path: Path, name: str, inputs: Signature, outputs: Signature
    ) -> Callable[[Mapping[str, NDArray[Any]]], Arrays]:
        """One signature of the program, to be called with inputs by name. Raises BundleError."""
        try:
            runner = self._interpreter.get_signature_runner(name)
        except ValueError as error:
            raise BundleError(f"{path} has no signature {name!r}; export the model again") from error
        given, made = runner.get_input_details(), runner.get_output_details()
        _check_signature(path, name, "input", given, inputs)
        _check_signature(path, name, "output", made, outputs)
        types = {key: details["dtype"] for key, details in given.items()}

        def run(feed: Mapping[str, NDArray[Any]]) -> Arrays:
            arrays = {key: np.asarray(feed[key], types[key]) for key in types}
            with self._lock:
                outputs: Arrays = runner(**arrays)
            return outputs

        return run


def import_interpreter() -> Any:  # noqa: ANN401 - neither package has types
    """The class `Interpreter` of ai-edge-litert, else of tflite_runtime. Raises MissingDependencyError."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as error:
            raise MissingDependencyError.for_extra("running a model made for LiteRT", "litert") from error
    return Interpreter


def _load(path: Path, threads: int) -> Any:  # noqa: ANN401
    interpreter_class = import_interpreter()
    try:
        with silent_library():  # "INFO: Created TensorFlow Lite XNNPACK delegate for CPU"
            interpreter = interpreter_class(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"{path} does not load in LiteRT ({reason}); export the model again, or type: pip install "
            "--upgrade ai-edge-litert"
        ) from error
    return interpreter


def _check_signature(
    path: Path, name: str, kind: str, found: Mapping[str, Mapping[str, Any]], expected: Signature
) -> None:
    """Raise BundleError where a signature takes or gives something other than its manifest says."""
    for key in sorted(found.keys() ^ expected.keys()):
        fault = "lacks" if key in expected else "has an unknown"
        raise BundleError(f"{path}: {name} {fault} {kind} {key!r}; export the model again")
    for key, (element, shape) in expected.items():
        given = np.dtype(found[key]["dtype"])
        sizes = tuple(int(size) for size in found[key]["shape"])
        fits = len(sizes) == len(shape) and all(want in (None, size) for size, want in zip(sizes, shape, strict=True))
        if given.kind != np.dtype(element).kind or not fits:
            raise BundleError(
                f"{path}: {kind} {key!r} of {name} is {given} {list(sizes)} and the manifest makes it "
                f"{element} {list(shape)}; export the model again"
            )
