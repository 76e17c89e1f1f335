"""What a runtime's lowering must do, and the list of runtimes. Loads without torch, so that a command can say no early.

One module for each runtime, `edgecap_export.<name>_runtime`, holds a `RUNTIME` that is a `Runtime`: it turns a student
in PyTorch into the files of a bundle. All else is the same code for every runtime: `edgecap_export.bundle.exports`
writes those files into a temporary bundle, opens it with `edgecap.inference.session.open_session`, compares the
session with PyTorch (`edgecap_export.graphs.verify`), captions and takes times with it, and only then writes the
bundle.

The contract of `Runtime.lower`:

- It starts from `Work.student` (float32, eval mode, on the CPU; not to be changed, copy it to change it) through
  `edgecap_export.graphs.onnx_export.EncodeGraph` and `DecodeGraph`, the one torch definition of both graphs, with the
  names and shapes that `edgecap.bundle.manifest.EncoderSpec` and `DecoderSpec` give. Shapes are fixed but for the
  beams, which may be free (`Lowered.beams` 0) or fixed (`EXPORT_BEAMS`); a session with more rows than a search asks
  for idles the rest.
- `Work.recipe` is what `Runtime.recipe` answered; it goes into the manifest as it is.
- For int8, `Work.calibration.log_mels` holds at least one log-mel (1, n_mels, window) of a sound to calibrate on.
- The files have the roles "encode" and "decode" (two programs) or "program" (one that holds both, as methods or
  signatures named "encode" and "decode"), and plain names with the runtime's ending. Vocabulary, card, manifest and
  report are added by the caller.
- Inputs and outputs stay float32 and int64 in every precision; a session that needs other types converts itself.
- No path, name or time of the exporting machine is in a file. Nothing is printed.
- A toolchain that refuses is an `EdgecapError` of one line; a wrong result need not be looked for, the caller does.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, cast

from edgecap.errors import MissingDependencyError
from edgecap_export.recipes import ExportRecipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgecap.bundle.bundle import BundleContent
    from edgecap.bundle.manifest import EncoderInput
    from edgecap_export.graphs.onnx_export import OnnxGraphs
    from edgecap_export.quantisation.ranges import Ranges
    from edgecap_train.models.student import Student

RuntimeName = Literal["onnx", "executorch", "litert"]
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Tool:
    """A package that a lowering needs."""

    package: str
    tested: str
    """The version that edgecap was tested with, as much of it as matters ("2.13")."""


@dataclass(frozen=True)
class Toolchain:
    """What a runtime's lowering and its session need."""

    extra: str
    """The extra of edgecap that installs it; a session alone needs less."""
    tools: tuple[Tool, ...]


_TORCH = Tool("torch", "2.13")
TOOLCHAINS: dict[RuntimeName, Toolchain] = {
    "onnx": Toolchain("export", (_TORCH, Tool("onnx", "1.23"), Tool("onnxscript", "0.7"), Tool("onnxruntime", "1."))),
    "executorch": Toolchain("export-executorch", (_TORCH, Tool("executorch", "1.4"), Tool("torchao", "0.18"))),
    "litert": Toolchain(
        "export-litert",
        (_TORCH, Tool("litert-torch", "0.10"), Tool("ai-edge-quantizer", "0.10"), Tool("ai-edge-litert", "2.")),
    ),
}


@dataclass(frozen=True)
class Calibration:
    """What int8 knows of a model's activations."""

    log_mels: tuple[NDArray[np.float32], ...]
    """Each (1, n_mels, window): sounds of every loudness. Never empty for int8."""
    ranges: Ranges | None = None
    """Ranges by tensor of the float ONNX encoder graph; another lowering finds its own tensors among them by value."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be lowered."""

    student: Student
    window: int
    """Log-mel frames of a window."""
    recipe: ExportRecipe
    calibration: Calibration = Calibration(())
    encoder_input: EncoderInput = "log_mel"
    """"waveform" for --front-end in-graph: `encode` is `edgecap_export.graphs.waveform.WaveformEncodeGraph`."""
    float_graphs: OnnxGraphs
    """The float32 ONNX graphs of the student over log-mels, made once for all: the yardstick, and where ONNX starts."""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """What a lowering gives."""

    files: tuple[BundleContent, ...]
    operators: Mapping[str, int]
    """"graph: operator (precision)" → how many, as the runtime will run them."""
    not_delegated: Mapping[str, int] = field(default_factory=dict)
    """"graph: operator" → how many are left to the runtime's slow portable kernels; empty where it delegates none."""
    delegated: float | None = None
    """Part of the operators that a delegate (XNNPACK) took; None where the runtime has no delegates."""
    stays_float: Mapping[str, str] = field(default_factory=dict)
    """Node → why it is not in int8."""
    beams: int = 0
    """Beams that `decode` is fixed to; 0 for any number."""


class Runtime(Protocol):
    """Lowers students for one runtime."""

    def recipe(self, precision: Precision, architecture: str) -> ExportRecipe:
        """The best measured recipe of a precision for an encoder ("yamnet", "efficientnet-b2")."""
        ...

    def lower(self, work: Work) -> Lowered:
        """Make the files of a bundle, as this module's docstring says."""
        ...


def check_toolchain(name: RuntimeName) -> tuple[str, ...]:
    """Sentences about packages of a version that edgecap was not tested with; empty where all is as tested.

    Raises MissingDependencyError, naming the package and the extra, where one is not installed.
    """
    chain, untested = TOOLCHAINS[name], []
    for tool in chain.tools:
        try:
            found = importlib.metadata.version(tool.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingDependencyError(
                f"exporting for {name} needs the package {tool.package}, which is not "
                f'installed; type: pip install "edgecap[{chain.extra}]"'
            ) from error
        if not f"{found}.".startswith(tool.tested if tool.tested.endswith(".") else f"{tool.tested}."):
            untested.append(f"{tool.package} is {found} and edgecap was tested with {tool.tested.rstrip('.')}")
    return tuple(untested)


def open_runtime(name: RuntimeName) -> Runtime:
    """The lowering of a runtime. Raises MissingDependencyError as `check_toolchain` does."""
    check_toolchain(name)
    return cast(Runtime, importlib.import_module(f"edgecap_export.{name}.runtime").RUNTIME)
