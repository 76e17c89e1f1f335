"""Sessions in LiteRT (TensorFlow Lite): one program with the signatures `encode` and `decode`.

Either of two packages runs it, both with XNNPACK: `ai-edge-litert`, or the older `tflite_runtime` (2.14) where a board
has that one. The older one has no int8 products with weights per channel, so int8 bundles are refused there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgecap.bundle.bundle import Bundle
from edgecap.bundle.manifest import Manifest
from edgecap.errors import BundleError, reason_of
from edgecap.inference.graph_session import GraphSession, RunGraph
from edgecap.inference.signatures import check_signature, signatures
from edgecap.runtimes import RUNTIMES
from edgecap.util.stderr import silent_library

Untyped = Any
"""What comes from a package without types."""
_ELEMENTS = {"int32": "int64"}
"""LiteRT's programs take int32 where the manifest says int64; the session converts."""


class LiteRtSession(GraphSession):
    """A bundle's program in LiteRT."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load and check the program. Raises BundleError, MissingDependencyError without a LiteRT."""
        path, manifest = bundle.path("program"), bundle.manifest
        if manifest.precision == "int8" and import_interpreter().__module__.startswith("tflite_runtime"):
            # 2.14 loads it and takes the products' per-channel scales for zeros, so that every word is equally likely
            raise BundleError(
                f"{bundle.folder} is int8, which tflite_runtime calculates wrongly; type: "
                f"{RUNTIMES['litert'].install_command}, or export the model with --fp16"
            )
        interpreter = _load(path, threads)
        # one interpreter has one set of buffers, and threads may share a session
        lock = Lock()
        encode, decode = (_runner(interpreter, path, manifest, name, lock) for name in ("encode", "decode"))
        super().__init__(manifest, encode, decode)


def import_interpreter() -> Untyped:
    """The class `Interpreter` of ai-edge-litert, else of tflite_runtime. Raises MissingDependencyError."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as error:
            raise RUNTIMES["litert"].missing(error) from error
    return Interpreter


def _load(path: Path, threads: int) -> Untyped:
    interpreter_class = import_interpreter()
    try:
        with silent_library():  # "INFO: Created TensorFlow Lite XNNPACK delegate for CPU"
            interpreter = interpreter_class(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(
            f"{path} does not load in LiteRT ({reason_of(error)}); export the model again, or type: pip install "
            "--upgrade ai-edge-litert"
        ) from error
    return interpreter


def _runner(interpreter: Untyped, path: Path, manifest: Manifest, name: str, lock: Lock) -> RunGraph:
    """One signature of the program, held to its manifest. Raises BundleError."""
    inputs, outputs = signatures(manifest)[name]
    try:
        runner = interpreter.get_signature_runner(name)
    except ValueError as error:
        raise BundleError(f"{path} has no signature {name!r}; export the model again") from error
    details = runner.get_input_details()
    for kind, tensors, expected in (("input", details, inputs), ("output", runner.get_output_details(), outputs)):
        actual = {
            key: (_element(tensor["dtype"]), _sizes(tensor["shape_signature"])) for key, tensor in tensors.items()
        }
        check_signature(f"{path} ({name})", kind, actual, expected)
    types = {key: tensor["dtype"] for key, tensor in details.items()}

    def run(feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        arrays = {key: np.asarray(feed[key], types[key]) for key in types}
        with lock:
            results = runner(**arrays)
        return [results[key] for key in outputs]

    return run


def _element(dtype: DTypeLike) -> str:
    return _ELEMENTS.get(np.dtype(dtype).name, np.dtype(dtype).name)


def _sizes(shape: NDArray[np.int32]) -> tuple[int | None, ...]:
    """A tensor's shape; LiteRT writes -1 for any size."""
    return tuple(None if size < 0 else int(size) for size in shape)
