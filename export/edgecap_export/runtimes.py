"""The table of lowerings: how a student in PyTorch becomes the graphs of a bundle for each runtime.

To export for a further runtime of `edgecap.runtimes.RUNTIMES`, write a module with a class that is a `Lowering` and add
its entry to `LOWERINGS`; the command line, checks and reports read the table. Everything else is the same for all
runtimes: `edgecap_export.bundle.exporter` writes the graphs into a temporary bundle, opens it as a device does,
compares it with PyTorch (`edgecap_export.graphs.verify`), captions and measures with it, and only then writes the
bundle. Loads without torch, so that a command can refuse early.

The contract of `Lowering.lower`:

- It starts from `LoweringRequest.student` (float32, eval mode, on the CPU; copy it to change it) through `EncodeGraph`
  and `DecodeGraph` of `edgecap_export.graphs.onnx_export`, the one definition of both graphs in torch, with the names
  and shapes that `EncoderSpec` and `DecoderSpec` of `edgecap.bundle.manifest` give. Shapes are fixed except for the
  beams, which may be free (`Lowered.beams` 0) or fixed (`EXPORT_BEAMS`); a session idles the rows it does not need.
- Inputs and outputs stay float32 and int64 in every precision; a session that needs other types converts them itself.
- No path, name or time of the exporting machine is in a graph. Nothing is printed.
- A toolchain that refuses a model is an `EdgecapError` of one line. The caller looks for wrong results.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

from edgecap.errors import ConfigError, MissingDependencyError, install_extra
from edgecap_export.recipes import ExportRecipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgecap.bundle.manifest import EncoderInput, Precision, Search
    from edgecap.runtimes import GraphRole
    from edgecap_export.graphs.onnx_export import OnnxGraphs
    from edgecap_export.quantisation.ranges import Ranges
    from edgecap_train.models.student import Student


@dataclass(frozen=True)
class LoweringSpec:
    """One entry of the table."""

    implementation: str
    """Its `Lowering` as "module:Class"; imported when it is used."""
    extra: str
    """The extra of edgecap that installs what it needs; running a bundle needs less (`RuntimeSpec.extra`)."""
    packages: Mapping[str, str]
    """Package that it needs → version that edgecap was tested with, as much of it as matters ("2.13", "1")."""
    searches: bool = False
    """Whether it can put the search into the graph."""


LOWERINGS: dict[str, LoweringSpec] = {
    "onnx": LoweringSpec(
        "edgecap_export.onnx.lowering:OnnxLowering",
        "export",
        {"torch": "2.13", "onnx": "1.23", "onnxscript": "0.7", "onnxruntime": "1"},
        searches=True,
    ),
    "executorch": LoweringSpec(
        "edgecap_export.executorch.lowering:ExecuTorchLowering",
        "export-executorch",
        {"torch": "2.13", "executorch": "1.4", "torchao": "0.18"},
        searches=True,
    ),
    "litert": LoweringSpec(
        "edgecap_export.litert.lowering:LiteRtLowering",
        "export-litert",
        {"torch": "2.13", "litert-torch": "0.10", "ai-edge-quantizer": "0.10", "ai-edge-litert": "2"},
        searches=True,
    ),
}
"""Runtime, as `edgecap.runtimes.RUNTIMES` names it → its lowering."""


@dataclass(frozen=True)
class Calibration:
    """What int8 knows of a model's activations."""

    log_mels: tuple[NDArray[np.float32], ...]
    """Each (1, n_mels, window): sounds of every loudness. Never empty for int8."""
    ranges: Ranges | None = None
    """Ranges by tensor of the float ONNX encoder graph; another lowering finds its own tensors among them by value."""


@dataclass(frozen=True, kw_only=True)
class LoweringRequest:
    """What to lower, and how."""

    student: Student
    window: int
    """Log-mel frames of a window."""
    recipe: ExportRecipe
    """One of `Lowering.recipe`; it goes into the manifest unchanged."""
    calibration: Calibration = Calibration(())
    encoder_input: EncoderInput = "log_mel"
    """"waveform" for --front-end in-graph: `encode` is `edgecap_export.graphs.waveform.WaveformEncodeGraph`."""
    search: Search = "outside"
    """"in-graph": `decode` gives captions, as `DecoderSpec.search` says; only where `LoweringSpec.searches`."""
    float_graphs: OnnxGraphs
    """The student's float32 ONNX graphs over log-mels, exported once: the reference, and where ONNX starts."""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """What a lowering gives."""

    graphs: Mapping[GraphRole, bytes]
    """The roles of the runtime's `RuntimeSpec.graphs` → content of the file."""
    operators: Mapping[str, int]
    """"graph: operator (precision)" → how many, as the runtime will run them."""
    not_delegated: Mapping[str, int] = field(default_factory=dict)
    """"graph: operator" → how many the runtime's slow portable kernels run; empty where it has no delegate."""
    delegated: float | None = None
    """Share of the operators that a delegate (XNNPACK) takes; None where the runtime has no delegate."""
    stays_float: Mapping[str, str] = field(default_factory=dict)
    """Node → why it is not in int8."""
    beams: int = 0
    """Beams that `decode` is fixed to; 0 for any number."""


class Lowering(Protocol):
    """Lowers students for one runtime."""

    def recipe(self, precision: Precision, architecture: str) -> ExportRecipe:
        """The best measured recipe of a precision for an encoder ("yamnet", "efficientnet-b2")."""
        ...

    def lower(self, request: LoweringRequest) -> Lowered:
        """Make the graphs of a bundle, as this module's docstring says. Raises EdgecapError."""
        ...


def untested_packages(runtime: str) -> tuple[str, ...]:
    """Sentences about packages of a version that edgecap was not tested with; empty where all are as tested.

    Raises MissingDependencyError, naming the package and the extra, where one is not installed.
    """
    spec, untested = LOWERINGS[runtime], []
    for package, tested in spec.packages.items():
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingDependencyError(
                f"exporting for {runtime} needs the package {package}, which is not installed; "
                f"type: {install_extra(spec.extra)}"
            ) from error
        if not f"{version}.".startswith(f"{tested}."):
            untested.append(f"{package} is {version} and edgecap was tested with {tested}")
    return tuple(untested)


def search_place(runtime: str, wanted: Search | None) -> Search:
    """Where a bundle for a runtime searches: as `wanted`; for None in its graph if it can.

    Raises ConfigError where it cannot and must.
    """
    searches = LOWERINGS[runtime].searches
    if wanted == "in-graph" and not searches:
        able = [name for name, spec in LOWERINGS.items() if spec.searches]
        raise ConfigError(
            f"a search in the graph is there for {' and '.join(able)}, not yet for {runtime}; "
            f"leave --search out, or type {' or '.join(f'--runtime {name}' for name in able)}"
        )
    return wanted or ("in-graph" if searches else "outside")


def open_lowering(runtime: str) -> Lowering:
    """The lowering of a runtime. Raises MissingDependencyError as `untested_packages` does."""
    untested_packages(runtime)
    lowering: Lowering = resolve_name(LOWERINGS[runtime].implementation)()
    return lowering
