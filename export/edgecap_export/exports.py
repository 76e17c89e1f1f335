"""One export from beginning to end: float graphs, ranges, recipe, verification, comparison, bundle, report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from edgecap.bundle import Bundle, BundleContent, write_bundle
from edgecap.errors import EdgecapError, VerificationError
from edgecap.frontend import Samples
from edgecap.manifest import Manifest
from edgecap_export.apply import apply_recipe
from edgecap_export.bundles import (
    created_by,
    difference_details,
    graph_contents,
    manifest_of,
    window_frames,
    with_details,
)
from edgecap_export.calibration import read_calibration, window_of
from edgecap_export.comparison import Stage, compare_captions, compare_stages
from edgecap_export.graphs import OnnxGraphs, onnx_graphs
from edgecap_export.layers import LayerError, rank_layers
from edgecap_export.quantise import plan, simplified
from edgecap_export.ranges import Ranges, measure_ranges, weights_digest
from edgecap_export.recipes import INT8, Recipe, render_recipe
from edgecap_export.sources import Source
from edgecap_export.verify import Difference, Tolerances, onnx_runner, sounds, verify_graphs
from edgecap_train.evaluation import cider_d, read_references
from edgecap_train.pool import decode_clip
from edgecap_train.student import Student

TOLERANCES = {
    "fp32": Tolerances(),
    "fp16": Tolerances(encode=2e-2, decode=2e-2),
    "int8": Tolerances(encode=0.8, decode=0.3),
}
"""Of the largest value of each output. In int8 the trained tiny model's cross values came out 0.55 away at the worst
place on the made sounds of `verify.sounds` (0.13 in the root mean square on recordings), its decoder 0.024; an output
that is dead is 1 away. So these catch broken graphs and ranges; whether captions are still right, --verify says."""
LEAST_SCORE = 0.97
"""CIDEr-D that an export keeps of its float32 original's at least, where --verify says what is right."""
ROUNDS = 20
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an export did and what it is worth, as `report.json` says it."""

    name: str
    runtime: str
    recipe: Recipe
    size_before: int
    """Bytes of the two float32 graphs."""
    size_after: int
    operators: dict[str, int]
    """"graph kind precision" → how many."""
    stages: list[Stage] = field(default_factory=list)
    same_captions: float | None = None
    """Part of the sounds that both caption with the same words."""
    compared: int = 0
    """Sounds that were captioned by both."""
    score_before: float | None = None
    """CIDEr-D of the float32 graphs on the recordings of --verify."""
    score_after: float | None = None
    score_interval: tuple[float, float] | None = None
    """95 % bootstrap interval of `score_after`."""
    layers: list[LayerError] = field(default_factory=list)
    stays_float: dict[str, str] = field(default_factory=dict)
    """Convolution → why it is not in int8."""
    differences: dict[str, float] = field(default_factory=dict)
    """Output → largest difference from PyTorch in parts of its largest value."""
    failure: str = ""
    """Why the verification failed, where --force wrote the bundle all the same."""

    def document(self) -> dict[str, object]:
        """The report for JSON."""
        return {"format": "edgecap-export-report", "created_by": created_by(), **asdict(self)}


def calibrated(student: Student, graphs: OnnxGraphs, folder: Path) -> tuple[Ranges, tuple[str, ...]]:
    """Ranges measured on the recordings in `folder`, and what is wrong with those. Raises AudioError."""
    found = read_calibration(folder, student.config.front_end, window_frames(student))
    ranges = measure_ranges(
        simplified(onnx.load_from_string(graphs.encode)), found.log_mels, clips=found.clips,
        weights=weights_digest(student.state_dict()), percentile=INT8.percentile,
    )  # fmt: skip
    return ranges, found.warnings


@dataclass
class Export:
    """A student on its way into one precision. Graphs are made once and kept."""

    source: Source
    recipe: Recipe
    progress: Progress = lambda step: None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.progress("exporting the float32 graphs")
        self.window = window_frames(self.source.student)
        self.float_graphs = onnx_graphs(self.source.student, self.window)
        self.ranges: Ranges | None = self.source.ranges

    def calibrate(self, folder: Path | None) -> None:
        """Measure ranges on `folder`, or take those stored with the weights. Raises AudioError, EdgecapError."""
        if not self.recipe.convolutions:
            return
        if folder is not None:
            self.progress(f"measuring ranges on {folder}")
            self.ranges, self.warnings = calibrated(self.source.student, self.float_graphs, folder)
        elif self.ranges is None:
            raise EdgecapError("int8 needs the ranges of this model's activations and none are stored with its weights;"
                               " give --calibration FOLDER with 200 or more recordings")

    def ranking(self) -> list[LayerError]:
        """Convolutions by what int8 does to them alone, worst first; empty for other precisions."""
        if self.ranges is None or not self.recipe.convolutions:
            return []
        self.progress("ranking the layers")
        model = simplified(onnx.load_from_string(self.float_graphs.encode))
        front_end = self.source.student.config.front_end
        log_mels = [window_of(sound, front_end, self.window) for sound in self.made_sounds()]
        return list(rank_layers(model, self.ranges.of(self.recipe), self.recipe, log_mels[:1]))

    def stays_float(self) -> dict[str, str]:
        """Convolutions that the recipe leaves in float, and why."""
        if not self.recipe.convolutions:
            return {}
        return plan(simplified(onnx.load_from_string(self.float_graphs.encode)), self.recipe).stays

    def made_sounds(self) -> list[Samples]:
        """The three sounds of a whole window that need no recordings."""
        front_end = self.source.student.config.front_end
        return list(sounds(front_end.sample_rate, (self.window - 1) * front_end.hop_length / front_end.sample_rate))

    def run(self, folder: Path, *, references: Path | None, force: bool, rounds: int = ROUNDS) -> tuple[Bundle, Report]:
        """Apply the recipe, verify, compare and write the bundle `folder`, its report inside.

        `references` is a CSV of recordings with captions. Raises VerificationError and its children where the result
        is not what it should be and `force` does not say to write it all the same; OutputError.
        """
        ranges = self.ranges.of(self.recipe) if self.ranges is not None and self.recipe.convolutions else None
        graphs = apply_recipe(self.recipe, self.float_graphs, ranges)
        failures: list[str] = []
        differences: tuple[Difference, ...] = ()
        self.progress("comparing with PyTorch")
        try:
            differences = verify_graphs(self.source.student, onnx_runner(graphs.encode), onnx_runner(graphs.decode),
                                        self.window, TOLERANCES[self.recipe.precision])  # fmt: skip
        except VerificationError as error:
            if not force:
                raise
            failures.append(str(error).removesuffix("; nothing was written"))
        source = self.source
        details = {"recipe": render_recipe(self.recipe), **difference_details(differences)}
        manifest = manifest_of(
            source.student, name=source.name, window=self.window, precision=self.recipe.precision,
            licence=source.licence, provenance=with_details(source.provenance, details), silence=source.silence,
        )  # fmt: skip
        report = Report(
            name=source.name, runtime="onnx", recipe=self.recipe, size_before=_size(self.float_graphs),
            size_after=_size(graphs), operators=count_operators(graphs), layers=self.ranking(),
            stays_float=self.stays_float(), differences={found.output: found.largest for found in differences},
        )  # fmt: skip
        report = self._compared(report, graphs, manifest, references, rounds)
        scores = {}
        if report.score_before is not None and report.score_after is not None:
            scores = {"cider_d": report.score_after, "cider_d_fp32": report.score_before}
            if report.score_after < LEAST_SCORE * report.score_before:
                failures.append(f"CIDEr-D is {report.score_after:.3f} on {report.compared} recordings, less than "
                                f"{LEAST_SCORE:.0%} of float32's {report.score_before:.3f}")  # fmt: skip
                if not force:
                    raise VerificationError(f"{failures[-1]}; nothing was written (--force writes it all the same)")
        if failures:
            report = replace(report, failure="; ".join(failures))
            details["verification failed"] = report.failure
        manifest = replace(manifest, provenance=with_details(source.provenance, details), metrics=scores)
        text = json.dumps(report.document(), indent=1, allow_nan=False) + "\n"
        contents = [*graph_contents(graphs, source.vocabulary, source.card),
                    BundleContent("report.json", "other", text.encode())]  # fmt: skip
        return write_bundle(folder, manifest, contents), report

    def _compared(
        self, report: Report, graphs: OnnxGraphs, manifest: Manifest, references: Path | None, rounds: int
    ) -> Report:
        """The report with captions, scores and times of both, which run as bundles in a temporary folder."""
        rate, made = self.source.student.config.front_end.sample_rate, self.made_sounds()
        rows = read_references(references) if references is not None else []
        clips = [decode_clip(row.file, rate)[: made[0].size] for row in rows] or made
        with TemporaryDirectory(prefix="edgecap-export-") as room:
            before, after = Path(room) / "before", Path(room) / "after"
            for where, found in ((before, self.float_graphs), (after, graphs)):
                write_bundle(where, manifest, graph_contents(found, self.source.vocabulary, None))
            self.progress(f"captioning {len(clips)} sounds with both")
            agreement = compare_captions(before, after, clips)
            self.progress("taking times")
            stages = compare_stages(before, after, made, rounds)
        report = replace(report, stages=list(stages), same_captions=agreement.same, compared=len(clips))
        if not rows:
            return report
        said = [row.captions for row in rows]
        score = cider_d(agreement.after, said)
        return replace(report, score_before=cider_d(agreement.before, said).mean, score_after=score.mean,
                       score_interval=(score.low, score.high))  # fmt: skip


def count_operators(graphs: OnnxGraphs) -> dict[str, int]:
    """"graph: operator (precision)" → how many; int8 is what works on bytes."""
    counts: Counter[str] = Counter()
    for name, graph in (("encode", graphs.encode), ("decode", graphs.decode)):
        for node in onnx.load_from_string(graph).graph.node:
            counts[f"{name}: {node.op_type} ({'int8' if _is_int8(node.op_type) else 'float'})"] += 1
    return dict(sorted(counts.items()))


def _is_int8(kind: str) -> bool:
    return kind.startswith("QLinear") or kind in {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}


def _size(graphs: OnnxGraphs) -> int:
    return len(graphs.encode) + len(graphs.decode)
