"""What an export was measured to be worth: the document behind `report.json`, the console and the HTML page."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from edgecap_export.bundle.bundles import created_by
from edgecap_export.bundle.comparison import StageTime
from edgecap_export.quantisation.layers import LayerError
from edgecap_export.recipes import ExportRecipe

FORMAT = "edgecap-export-report"
BASELINE = "the float32 ONNX bundle"
"""What every export is compared with."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an export did and what it is worth, as `report.json` says it."""

    name: str
    runtime: str
    recipe: ExportRecipe
    front_end: str
    """"outside" or "in-graph"."""
    size_before: int
    """Bytes of the graphs of the float32 ONNX bundle."""
    size_after: int
    """Bytes of the programs of this one."""
    operators: dict[str, int]
    """"graph: operator (precision)" → how many."""
    not_delegated: dict[str, int] = field(default_factory=dict)
    """"graph: operator" → how many run in the runtime's portable kernels."""
    delegated: float | None = None
    """Part of the operators that run in XNNPACK, where the runtime delegates."""
    stages: list[StageTime] = field(default_factory=list)
    same_captions: float | None = None
    """Part of the sounds that this and the float32 ONNX bundle caption with the same words."""
    same_tokens: float | None = None
    """Part of the sounds whose tokens are those that PyTorch gives."""
    compared: int = 0
    """Sounds that were captioned."""
    score_before: float | None = None
    """CIDEr-D of the float32 ONNX bundle on the recordings of --verify."""
    score_after: float | None = None
    score_interval: tuple[float, float] | None = None
    """95 % bootstrap interval of `score_after`."""
    layers: list[LayerError] = field(default_factory=list)
    stays_float: dict[str, str] = field(default_factory=dict)
    """Node → why it is not in int8."""
    differences: dict[str, float] = field(default_factory=dict)
    """Output → largest difference from PyTorch in parts of its largest value."""
    failure: str = ""
    """Why the verification failed, where --force wrote the bundle all the same."""

    def document(self) -> dict[str, object]:
        """The report for JSON."""
        return {"format": FORMAT, "created_by": created_by(), "baseline": BASELINE, **asdict(self)}
