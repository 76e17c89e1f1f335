"""ExecuTorch as the backend of a session: one `.pte` with the methods `encode` and `decode`, run by XNNPACK.

ExecuTorch's Python package passes inputs and outputs as PyTorch tensors and is linked against PyTorch, so this module
is the one place of the runtime that loads torch, and only when a session is opened: about a second and 200 MB once a
process, whatever the model. Its own C++ runtime, on a phone, needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

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

_ELEMENTS = {6: "float32", 4: "int64"}
"""ExecuTorch's numbers of element types (its `scalar_type.h`)."""
_sessions: WeakSet[ExecuTorchSession] = WeakSet()


class ExecuTorchSession:
    """A bundle's program in ExecuTorch."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load and check the program. Raises BundleError, MissingDependencyError without executorch.

        ExecuTorch has one pool of threads for the whole process, and programs hold on to it: `threads` counts for the
        first session, and for a later one only when all before it are gone.
        """
        path, manifest = bundle.path("program"), bundle.manifest
        self._manifest = manifest
        self._torch, library = import_executorch()
        # a method has one set of buffers, and threads may share a session
        self._lock = Lock()
        with silent_library():
            if not _sessions:
                library._unsafe_reset_threadpool(threads)
            self._program = _load(library, path)
            self._encode = self._method(path, "encode", *encode_signature(manifest))
            self._decode = self._method(path, "decode", *decode_signature(manifest))
        _sessions.add(self)

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        """See `Session.encode`."""
        keys, values, embedding = self._encode(encoder_feed(self._manifest, sound, memory_length))
        return Encoded(keys, values, embedding[0], memory_length)

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """See `Session.decoder`."""

        def run(feed: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
            log_probs, keys, values = self._decode(feed)
            return log_probs, keys, values

        return CachedDecoder(run, self._manifest.decoder, encoded, beam)

    def _method(
        self, path: Path, name: str, inputs: Signature, outputs: Signature
    ) -> Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]:
        """One method of the program, to be called with inputs by name. Raises BundleError."""
        names = {self._program.get_method_name(index) for index in range(self._program.num_methods())}
        if name not in names:
            raise BundleError(f"{path} has no method {name!r}; export the model again")
        try:
            method = self._program.load_method(name)
        except RuntimeError as error:
            raise BundleError(
                f"{path}: ExecuTorch does not take its method {name!r} ({_reason(error)}); export the "
                "model again for this processor"
            ) from error
        meta = method.method_meta()
        given = [meta.input_tensor_meta(index) for index in range(meta.num_inputs())]
        made = [meta.output_tensor_meta(index) for index in range(meta.num_outputs())]
        _check_signature(path, name, "input", given, inputs)
        _check_signature(path, name, "output", made, outputs)
        # not `self`: a session that refers to itself would hold its threads until the garbage is collected
        from_numpy, lock = self._torch.from_numpy, self._lock

        def run(feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
            # tensors share memory with arrays that are whole and may be written to; others are copied first
            tensors = [from_numpy(np.require(feed[key], requirements=("C", "W"))) for key in inputs]
            with lock:
                return [tensor.numpy() for tensor in method.call(tensors)]

        return run


def import_executorch() -> tuple[Any, Any]:
    """The modules torch and ExecuTorch's extension. Raises MissingDependencyError.

    The extension is imported by itself: the package's own wrapper of it pulls in all of the exporter (130 MB more).
    """
    try:
        import torch
        from executorch.extension.pybindings import _portable_lib
    except ImportError as error:
        raise MissingDependencyError.for_extra("running a model made for ExecuTorch", "executorch") from error
    return torch, _portable_lib


def _load(library: Any, path: Path) -> Any:  # noqa: ANN401
    try:
        return library._load_program(str(path), program_verification=library.Verification.InternalConsistency)
    except RuntimeError as error:
        raise BundleError(
            f"{path} does not load in ExecuTorch ({_reason(error)}); export the model again, or type: "
            'pip install --upgrade "edgecap[executorch]"'
        ) from error


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _check_signature(path: Path, method: str, kind: str, found: list[Any], expected: Signature) -> None:
    """Raise BundleError where a method takes or gives something other than its manifest says, in that order."""
    if len(found) != len(expected):
        raise BundleError(
            f"{path}: {method} has {len(found)} {kind}s and the manifest makes it {len(expected)}; "
            "export the model again"
        )
    for tensor, (key, (element, shape)) in zip(found, expected.items(), strict=True):
        given, sizes = _ELEMENTS.get(tensor.dtype(), f"type {tensor.dtype()}"), tuple(tensor.sizes())
        fits = len(sizes) == len(shape) and all(want in (None, size) for size, want in zip(sizes, shape, strict=True))
        if given != element or not fits:
            raise BundleError(
                f"{path}: {kind} {key!r} of {method} is {given} {list(sizes)} and the manifest makes it "
                f"{element} {list(shape)}; export the model again"
            )
