"""Sessions in ExecuTorch: one `.pte` with the methods `encode` and `decode`, run by XNNPACK.

ExecuTorch's Python package passes inputs and outputs as PyTorch tensors and is linked against PyTorch, so this module
is the one place of the runtime that loads torch, and only when a session is opened: about a second and 200 MB once a
process, for every model. Its C++ runtime, on a phone, needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle
from edgecap.bundle.manifest import Manifest
from edgecap.errors import BundleError, reason_of
from edgecap.inference.graph_session import GraphSession, RunGraph
from edgecap.inference.signatures import Signature, check_signature, signatures
from edgecap.runtimes import RUNTIMES
from edgecap.util.stderr import silent_library

Untyped = Any
"""What comes from a package without types."""
_ELEMENTS = {6: "float32", 4: "int64"}
"""ExecuTorch's numbers of element types (its `scalar_type.h`)."""
_sessions: WeakSet[ExecuTorchSession] = WeakSet()


class ExecuTorchSession(GraphSession):
    """A bundle's program in ExecuTorch."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load and check the program. Raises BundleError, MissingDependencyError without executorch.

        ExecuTorch has one pool of threads for the whole process, and programs hold on to it: `threads` counts for the
        first session, and for a later one only when all before it are gone.
        """
        path, manifest = bundle.path("program"), bundle.manifest
        _, library = import_executorch()
        with silent_library():
            if not _sessions:
                library._unsafe_reset_threadpool(threads)
            encode, decode = open_methods(path, manifest)
        # neither function refers to the session: in a cycle it would hold its threads until the garbage is collected
        super().__init__(manifest, encode, decode)
        _sessions.add(self)


def open_methods(path: Path, manifest: Manifest) -> tuple[RunGraph, RunGraph]:
    """What runs a program's methods `encode` and `decode`, which are held to the manifest. Raises BundleError."""
    _, library = import_executorch()
    program, lock = _load(library, path), Lock()  # a method has one set of buffers, and threads may share a session
    encode, decode = (_method(program, path, manifest, name, lock) for name in ("encode", "decode"))
    return encode, decode


def import_executorch() -> tuple[Any, Any]:
    """The modules torch and ExecuTorch's extension. Raises MissingDependencyError.

    The extension is imported by itself: the package's own wrapper of it pulls in all of the exporter (130 MB more).
    """
    try:
        import torch
        from executorch.extension.pybindings import _portable_lib
    except ImportError as error:
        raise RUNTIMES["executorch"].missing(error) from error
    return torch, _portable_lib


def _load(library: Untyped, path: Path) -> Untyped:
    try:
        return library._load_program(str(path), program_verification=library.Verification.InternalConsistency)
    except RuntimeError as error:
        raise BundleError(
            f"{path} does not load in ExecuTorch ({reason_of(error)}); export the model again, or type: "
            f"pip with --upgrade: {RUNTIMES['executorch'].install_command}"
        ) from error


def _method(program: Untyped, path: Path, manifest: Manifest, name: str, lock: Lock) -> RunGraph:
    """One method of the program, held to its manifest. Raises BundleError."""
    inputs, outputs = signatures(manifest)[name]
    if name not in {program.get_method_name(index) for index in range(program.num_methods())}:
        raise BundleError(f"{path} has no method {name!r}; export the model again")
    try:
        method = program.load_method(name)
    except RuntimeError as error:
        raise BundleError(
            f"{path}: ExecuTorch does not take its method {name!r} ({reason_of(error)}); export the "
            "model again for this processor"
        ) from error
    meta = method.method_meta()
    _check(path, name, "input", [meta.input_tensor_meta(index) for index in range(meta.num_inputs())], inputs)
    _check(path, name, "output", [meta.output_tensor_meta(index) for index in range(meta.num_outputs())], outputs)

    torch, _ = import_executorch()

    def run(feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        # tensors share memory with arrays that are contiguous and may be written to; others are copied first
        tensors = [torch.from_numpy(np.require(feed[key], requirements=("C", "W"))) for key in inputs]
        with lock:
            return [tensor.numpy() for tensor in method.call(tensors)]

    return run


def _check(path: Path, method: str, kind: str, tensors: list[Any], expected: Signature) -> None:
    """Hold a method's tensors, which have an order and no names, to the manifest. Raises BundleError."""
    if len(tensors) != len(expected):
        raise BundleError(
            f"{path}: {method} has {len(tensors)} {kind}s, and the manifest requires {len(expected)}; "
            "export the model again"
        )
    actual = {
        name: (_ELEMENTS.get(tensor.dtype(), f"type {tensor.dtype()}"), tuple(tensor.sizes()))
        for name, tensor in zip(expected, tensors, strict=True)
    }
    check_signature(f"{path} ({method})", kind, actual, expected)
