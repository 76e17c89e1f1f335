"""Sessions in ONNX Runtime.

The graphs' inputs and outputs are held to the manifest when they are loaded, so that a wrong graph is
reported by its name and shape and not by a crash in the middle of a caption.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from edgecap.bundle.bundle import Bundle
from edgecap.errors import BundleError, reason_of
from edgecap.inference.graph_session import Arrays, GraphSession, RunGraph
from edgecap.inference.onnx_file import names_other_files
from edgecap.inference.signatures import Signature, check_signature, signatures
from edgecap.runtimes import RUNTIMES
from edgecap.util.stderr import silent_descriptor

_ELEMENTS = {"tensor(float)": "float32", "tensor(int64)": "int64"}
_LOG_ERRORS_ONLY = 3
_NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""The released name (1.29 on) and the one of later sources."""


class OnnxSession(GraphSession):
    """The two graphs of a bundle in ONNX Runtime."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load and check both graphs. Raises BundleError, MissingDependencyError without onnxruntime."""
        (_, encode), (session, decode) = (
            _graph(bundle.path(role), threads, *signatures(bundle.manifest)[role]) for role in ("encode", "decode")
        )
        super().__init__(bundle.manifest, encode, decode, partial(_bind, session))


def import_onnxruntime() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """The module onnxruntime, without its telemetry and its warnings at start. All of edgecap imports it through here.

    From 1.29 on, the official Linux packages report each process, session and model to Microsoft and keep an identifier
    on disk unless the environment forbids it before the library starts. Raises MissingDependencyError.
    """
    os.environ.update(dict.fromkeys(_NO_TELEMETRY, "1"))
    try:
        # 1.23 to 1.28 look for a GPU when they are imported, and write a warning on boards without one
        with silent_descriptor() if "onnxruntime" not in sys.modules else nullcontext():
            import onnxruntime
    except ImportError as error:
        raise RUNTIMES["onnx"].missing(error) from error
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
        raise BundleError(
            f"{name} does not load in ONNX Runtime ({reason_of(error)}); export the model again"
        ) from error


def _graph(path: Path, threads: int, inputs: Signature, outputs: Signature) -> tuple[Any, RunGraph]:
    """One graph, held to its manifest: its session, and what runs it. Raises BundleError."""
    try:
        refused = names_other_files(path)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({reason_of(error)}); copy or export the model again") from error
    if refused:
        raise BundleError(
            f"{path} keeps data in another file, which no hash of the bundle covers, so it is not used; "
            "export the model again, in one file"
        )
    session = open_graph(path, threads)
    for kind, nodes, expected in (("input", session.get_inputs(), inputs), ("output", session.get_outputs(), outputs)):
        actual = {
            node.name: (
                _ELEMENTS.get(node.type, node.type),
                tuple(size if isinstance(size, int) else None for size in node.shape),
            )
            for node in nodes
        }
        check_signature(str(path), kind, actual, expected)
    return session, partial(session.run, list(outputs))


def _bind(session: Any, inputs: Arrays, outputs: Arrays) -> Callable[[], None]:  # noqa: ANN401 - onnxruntime has no types
    """Tie a session to arrays that it reads and writes in place, as `BindGraph` says."""
    from_numpy, binding = import_onnxruntime().OrtValue.ortvalue_from_numpy, session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, from_numpy(array))
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, from_numpy(array))
    return partial(session.run_with_iobinding, binding)
