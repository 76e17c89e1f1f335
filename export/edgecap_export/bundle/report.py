"""What an export was measured to be worth: the document behind `report.json` and the console; its page is
`report_page`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from edgecap.bundle.manifest import Precision
from edgecap.cli.console import table
from edgecap.runtimes import RUNTIMES
from edgecap_export.bundle.bundles import created_by
from edgecap_export.bundle.comparison import StageTime
from edgecap_export.quantisation.layers import LayerError
from edgecap_export.recipes import ExportRecipe

FORMAT = "edgecap-export-report"
BASELINE = "the float32 ONNX bundle"
"""What every export is compared with."""
LEAST_SCORE = 0.97
"""Share of float32's CIDEr-D that an export must keep on the recordings of --verify."""
LEAST_SAME_TOKENS: dict[Precision, float] = {"fp32": 1.0, "fp16": 0.98, "int8": 0.0}
"""Share of the recordings of --verify for which the tokens must be PyTorch's."""
SHOWN_LAYERS = 10


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
    """Share of the operators that run in XNNPACK, where the runtime delegates."""
    stages: list[StageTime] = field(default_factory=list)
    same_captions: float | None = None
    """Share of the sounds that this and the float32 ONNX bundle caption with the same words."""
    same_tokens: float | None = None
    """Share of the sounds whose tokens are those of PyTorch."""
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
    """Output → largest difference from PyTorch relative to its largest value."""
    failure: str = ""
    """Why the verification failed, where --force wrote the bundle nevertheless."""

    def document(self) -> dict[str, object]:
        """The report for JSON."""
        return {"format": FORMAT, "created_by": created_by(), "baseline": BASELINE, **asdict(self)}

    def faults(self) -> list[str]:
        """What the recordings of --verify say against a self."""
        if self.score_before is None or self.score_after is None or self.same_tokens is None:
            return []
        faults, least = [], LEAST_SAME_TOKENS[self.recipe.precision]
        if self.same_tokens < least:
            faults.append(
                f"{self.same_tokens:.1%} of {self.compared} captions have PyTorch's tokens, and "
                f"{self.recipe.precision} needs {least:.0%}"
            )
        if self.score_after < LEAST_SCORE * self.score_before:
            faults.append(
                f"CIDEr-D is {self.score_after:.3f} on {self.compared} recordings, less than "
                f"{LEAST_SCORE:.0%} of float32's {self.score_before:.3f}"
            )
        return faults

    def caption_lines(self) -> list[str]:
        """How captions compare, in counts, and what to do for a verdict."""
        if self.same_captions is None or self.same_tokens is None:
            return []
        lines = [
            f"{round(self.same_captions * self.compared)} of {self.compared} sounds get the same caption as from "
            f"{BASELINE}, {round(self.same_tokens * self.compared)} the same tokens as from PyTorch"
        ]
        if self.score_before is None or self.score_after is None or self.score_interval is None:
            lines += [
                f"The {self.compared} generated sounds test that the bundle works, not how good its captions are.",
                "To measure that, add --verify CSV with 50 or more recordings and their captions.",
            ]
        else:
            low, high = self.score_interval
            lines.append(
                f"CIDEr-D {self.score_after:.3f} (95 % interval {low:.3f} to {high:.3f}), "
                f"float32 {self.score_before:.3f}"
            )
        return lines

    def lines(self) -> list[str]:
        """The report for the console."""
        times = [f", {stage.ratio:.2f} of the time for a caption" for stage in self.stages if stage.name == "caption"]
        lines = [
            f"{self.name} in {self.recipe.precision} for {RUNTIMES[self.runtime].title}: "
            f"{self.size_after / 1e6:.1f} MB where float32 has {self.size_before / 1e6:.1f} MB{''.join(times)}",
            f"recipe: {self.recipe.name}",
            "",
        ]
        lines += table(
            ["stage (processor time)", "float32 ONNX", "this", "ratio"],
            [
                [stage.name, f"{stage.before:.2f} ms", f"{stage.after:.2f} ms", f"{stage.ratio:.2f}"]
                for stage in self.stages
            ],
        )
        kinds = [[kind, str(count)] for kind, count in self.operators.items() if "(int8)" in kind or "onv" in kind]
        if kinds:
            lines += ["", *table(["operators", "number"], kinds)]
        lines.append("")
        if self.delegated is not None:
            lines.append(f"{self.delegated:.1%} of the operators run in the delegate")
        if self.layers:
            lines += [*layer_lines(self.layers, self.recipe.precision), ""]
        return lines + self.caption_lines()


def layer_lines(layers: list[LayerError], precision: str, most: int = SHOWN_LAYERS) -> list[str]:
    """The worst layers, as a table."""
    rows = [[layer.node, f"{layer.error:.2g}"] for layer in layers[:most]]
    shown = f"worst of {len(layers)} {precision} layers" if most < len(layers) else f"{precision} layer"
    return table([shown, f"change of the decoder's keys with only this layer in {precision}"], rows)
