"""Sessions in ONNX Runtime.

The graphs' inputs and outputs are held to the manifest when they are loaded, so that a wrong graph is
reported by its name and shape and not by a crash in the middle of a caption.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle, check_file
from edgecap.errors import BundleError, OperatorError, reason_of
from edgecap.inference.graph_session import AGAIN, Arrays, GraphSession, RunGraph, running
from edgecap.inference.onnx_file import names_other_files
from edgecap.inference.session import StreamGraph
from edgecap.inference.signatures import (
    Element,
    Signature,
    check_outputs,
    check_signature,
    signatures,
    stream_signature,
)
from edgecap.inference.streaming import stream_graph, window_feed
from edgecap.runtimes import RUNTIMES
from edgecap.util.limits import MOST_VALUES
from edgecap.util.stderr import silent_descriptor

_ELEMENTS: dict[str, Element] = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}
_UNKNOWN = (
    "not a registered function/op",
    "No Op registered for",
    "Could not find an implementation for",
    "Unsupported model IR version",
    "only *guarantees* support for models stamped with",
)
"""Parts of what ONNX Runtime says where it lacks an operator, or is older than the graph's version of ONNX."""
_LOG_ERRORS_ONLY = 3
_NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""The released name (1.29 on) and the one of later sources."""


class OnnxSession(GraphSession):
    """The graphs of a bundle in ONNX Runtime."""

    def __init__(self, bundle: Bundle, threads: int, *, streams: bool = False) -> None:
        """Load and check the graphs `encode` and `decode`; for `streams`, `stream` in place of `encode`.

        Raises BundleError, IntegrityError, MissingDependencyError without onnxruntime.
        """
        self._bundle, self._threads, self._lean = bundle, threads, streams
        needed = signatures(bundle.manifest)
        session, decode = self._graph(bundle.path("decode"), *needed["decode"])
        encode: RunGraph
        if streams and self._can_stream:
            encode = self._encode_by_stream
        else:
            _, encode = self._graph(bundle.path("encode"), *needed["encode"])
        super().__init__(bundle.manifest, encode, decode, partial(_bind, session))

    @property
    def _can_stream(self) -> bool:
        """False too where the runtime lacks something: the caller of `stream_graph` learns why."""
        try:
            return self._stream is not None
        except OperatorError:
            return False

    @cached_property
    def _stream(self) -> StreamGraph | None:
        manifest = self._bundle.manifest
        spec = manifest.encoder.streaming
        if spec is None:
            return None
        check_file(self._bundle.folder, manifest.file("stream"))
        path = self._bundle.path("stream")
        session = _open(path, self._threads, lean=self._lean)
        states: dict[str, tuple[Element, tuple[int | None, ...]]] = {}
        total = 0
        for name, (element, sizes) in _nodes(session.get_inputs()).items():
            if name.startswith("state_") and element in ("float32", "uint8") and None not in sizes:
                values = math.prod(size or 0 for size in sizes)
                if (total := total + values) > MOST_VALUES:
                    raise BundleError(
                        f"{path}: {name} has {values} numbers, and the states of a stream may have {MOST_VALUES} in "
                        f"all; {AGAIN}"
                    )
                states[name] = (element, sizes)  # type: ignore[assignment]
        inputs, outputs = stream_signature(manifest, states)
        _check(path, session, inputs, outputs)
        names = list(outputs)
        answers = {name: kind for name, kind in outputs.items() if not name.startswith("new_state_")}

        def run(feed: Mapping[str, NDArray[Any]]) -> Arrays:
            with running("stream", manifest.name):
                results = session.run(names, dict(feed))
            made = dict(zip(names, results, strict=True))
            # states are of use after enough sound alone (BUNDLE.md), and may be shorter before
            check_outputs(f"the graph stream of {manifest.name}", [made[name] for name in answers], answers)
            return made

        zeros = {name: np.zeros([size or 0 for size in sizes], element) for name, (element, sizes) in states.items()}
        try:
            return stream_graph(manifest, spec, run, zeros)
        except ValueError as error:
            raise BundleError(f"{path} cannot serve a stream ({error}); export the model again") from error

    def _graph(self, path: Path, inputs: Signature, outputs: Signature) -> tuple[Any, RunGraph]:
        """One graph, held to its manifest: its session, and what runs it. Raises BundleError."""
        session = _open(path, self._threads, lean=self._lean)
        _check(path, session, inputs, outputs)
        return session, partial(session.run, list(outputs))

    def stream_graph(self) -> StreamGraph | None:
        """The encoder of streams, as `InferenceSession.stream_graph` says."""
        return self._stream

    def _encode_by_stream(self, feed: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """What `encode` gives, bit for bit, from the graph that a listener holds anyway."""
        manifest, graph = self._bundle.manifest, self._stream
        assert graph is not None
        outputs = graph.run({**window_feed(manifest, graph.states), **feed})
        return [outputs[name] for name in signatures(manifest)["encode"][1]]


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


def open_graph(
    graph: Path | bytes, threads: int = 1, *, optimise: bool = True, lean: bool = False, profile: Path | None = None
) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """An ONNX graph, a file or its bytes, as an `onnxruntime.InferenceSession` on `threads` processor threads.

    `optimise` off keeps every tensor's name, `lean` keeps no memory between two runs; `profile` is the prefix of
    the file that ONNX Runtime writes its profile to. Raises BundleError for a graph that does not load, OperatorError
    where this ONNX Runtime lacks something for it, MissingDependencyError without onnxruntime.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    # Threads that spin between captions keep a board at 100 % for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if lean:  # 7 MB less for `tiny`, in the same time: a listener runs for some milliseconds of each hop
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    source, name = (graph, "the graph") if isinstance(graph, bytes) else (str(graph), str(graph))
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        if any(sign in str(error) for sign in _UNKNOWN):
            raise OperatorError(
                f"{name} needs what ONNX Runtime {onnxruntime.__version__} does not have ({reason_of(error)}); type: "
                "pip install --upgrade onnxruntime"
            ) from error
        raise BundleError(
            f"{name} does not load in ONNX Runtime ({reason_of(error)}); export the model again"
        ) from error


def _open(path: Path, threads: int, *, lean: bool) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """A graph of a bundle, in one file. Raises BundleError."""
    try:
        refused = names_other_files(path)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({reason_of(error)}); copy or export the model again") from error
    if refused:
        raise BundleError(
            f"{path} keeps data in another file, which no hash of the bundle covers, so it is not used; "
            "export the model again, in one file"
        )
    return open_graph(path, threads, lean=lean)


def _check(path: Path, session: Any, inputs: Signature, outputs: Signature) -> None:  # noqa: ANN401 - onnxruntime has no types
    """Hold a graph to what its manifest implies. Raises BundleError."""
    check_signature(str(path), "input", _nodes(session.get_inputs()), inputs)
    check_signature(str(path), "output", _nodes(session.get_outputs()), outputs)


def _nodes(nodes: Sequence[Any]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Inputs or outputs of a session: name → element type and shape, None for a size that is not fixed."""
    return {
        node.name: (
            _ELEMENTS.get(node.type, node.type),
            tuple(size if isinstance(size, int) else None for size in node.shape),
        )
        for node in nodes
    }


def _bind(session: Any, inputs: Arrays, outputs: Arrays) -> Callable[[], None]:  # noqa: ANN401 - onnxruntime has no types
    """Tie a session to arrays that it reads and writes in place, as `BindGraph` says."""
    from_numpy, binding = import_onnxruntime().OrtValue.ortvalue_from_numpy, session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, from_numpy(array))
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, from_numpy(array))
    return partial(session.run_with_iobinding, binding)
