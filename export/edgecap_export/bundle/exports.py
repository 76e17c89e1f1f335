"""Exports of one model from beginning to end: lowered, verified, compared, written with their reports.

What several exports share (float graphs, ranges, the captions of PyTorch and of the float32 bundle) is made once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecap.audio.file import decode
from edgecap.bundle.bundle import Bundle, BundleContent, write_bundle
from edgecap.bundle.manifest import EncoderInput, Manifest
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, EdgecapError, VerificationError
from edgecap.inference.session import open_session
from edgecap.types import Waveform
from edgecap_export.bundle.bundles import (
    common_contents,
    difference_details,
    manifest_of,
    trial,
    window_frames,
    with_details,
)
from edgecap_export.bundle.comparison import SoundCaption, captions_of, compare_stages, same
from edgecap_export.bundle.reports import Report
from edgecap_export.bundle.sources import ExportSource
from edgecap_export.calibration import GAINS_DB, read_calibration, window_of
from edgecap_export.graphs.onnx_export import OnnxGraphs, onnx_graphs
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.graphs.verify import TOLERANCES, Difference, sounds, verify_session
from edgecap_export.onnx.runtime import graph_files
from edgecap_export.quantisation.channel_equalisation import equalised
from edgecap_export.quantisation.layers import LayerError, rank_halves, rank_layers
from edgecap_export.quantisation.quantise import simplified
from edgecap_export.quantisation.ranges import ranges_of
from edgecap_export.recipes import render_recipe
from edgecap_export.runtimes import Calibration, Lowered, Precision, RuntimeName, Work, open_runtime
from edgecap_train.evaluation.held_out import Reference, cider_d, read_references
from edgecap_train.models.student import Student

LEAST_SCORE = 0.97
"""CIDEr-D that an export keeps of its float32 original's at least, where --verify says what is right."""
LEAST_SAME_TOKENS: dict[Precision, float] = {"fp32": 1.0, "fp16": 0.98, "int8": 0.0}
"""Part of the recordings of --verify for which the tokens must be PyTorch's."""
ROUNDS = 20
Progress = Callable[[str], None]


class Exporter:
    """Exports of one source into any runtime and precision."""

    def __init__(
        self,
        source: ExportSource,
        *,
        references: Path | None = None,
        encoder_input: EncoderInput = "log_mel",
        rounds: int = ROUNDS,
        progress: Progress = lambda step: None,
    ) -> None:
        """`references` is a CSV of recordings with captions; it is read at once, which may raise EdgecapError."""
        self.source, self.encoder_input, self.rounds, self.progress = source, encoder_input, rounds, progress
        self.window = window_frames(source.student)
        self._equalised: Student | None = None
        self._equalised_graphs: OnnxGraphs | None = None
        self._references: list[Reference] = read_references(references) if references is not None else []

    @cached_property
    def float_graphs(self) -> OnnxGraphs:
        """The float32 ONNX graphs, the yardstick of every export."""
        self.progress("exporting the float32 graphs")
        return onnx_graphs(self.source.student, self.window)

    @cached_property
    def made_sounds(self) -> tuple[Waveform, ...]:
        """The three sounds of a whole window that need no recordings."""
        front_end = self.source.student.config.front_end
        return tuple(sounds(front_end.sample_rate, (self.window - 1) * front_end.hop_length / front_end.sample_rate))

    @cached_property
    def calibration(self) -> Calibration:
        """What int8 calibrates on without a folder: the ranges stored with the weights, and made sounds.

        Raises EdgecapError where no ranges are stored.
        """
        if self.source.ranges is None:
            raise EdgecapError(
                "int8 needs the ranges of this model's activations and none are stored with its weights;"
                " give --calibration FOLDER with 200 or more recordings"
            )
        front_end = self.source.student.config.front_end
        return Calibration(
            tuple(
                window_of(sound * 10 ** (gain / 20), front_end, self.window)
                for sound in self.made_sounds
                for gain in GAINS_DB
            ),
            self.source.ranges,
        )

    def calibrate(self, folder: Path) -> tuple[str, ...]:
        """Calibrate on the recordings in `folder` instead; what is wrong with them. Raises AudioError.

        Where that helps int8, channels are made equal (`edgecap_export.quantisation.channel_equalisation`) in what
        int8 is made of.
        """
        self.progress(f"calibrating on {folder}")
        found = read_calibration(folder, self.source.student.config.front_end, self.window)
        student = equalised(self.source.student, found.log_mels)
        if student is not self.source.student:
            self._equalised, self._equalised_graphs = student, onnx_graphs(student, self.window)
        graphs = self._equalised_graphs or self.float_graphs
        self.calibration = Calibration(found.log_mels, ranges_of(student, graphs, found))
        return found.warnings

    def work(self, runtime: RuntimeName, precision: Precision) -> Work:
        """What a lowering is given. Raises EdgecapError where int8 has nothing to calibrate on."""
        student, graphs = self.source.student, self.float_graphs
        recipe = open_runtime(runtime).recipe(precision, student.config.encoder)
        if precision == "int8" and self._equalised is not None and self._equalised_graphs is not None:
            student, graphs = self._equalised, self._equalised_graphs
        return Work(
            student=student,
            window=self.window,
            encoder_input=self.encoder_input,
            float_graphs=graphs,
            recipe=recipe,
            calibration=self.calibration if precision == "int8" else Calibration(()),
        )

    def explained(self, runtime: RuntimeName) -> tuple[list[LayerError], dict[str, str]]:
        """The ranking of int8, and what stays in float for a runtime and why."""
        work = self.work(runtime, "int8")
        return self.ranking("int8"), dict(open_runtime(runtime).lower(work).stays_float)

    def ranking(self, precision: Precision) -> list[LayerError]:
        """Convolutions by what a precision does to them alone, worst first; empty for fp32, which rounds nothing.

        It is told for ONNX Runtime's kernels; other runtimes round weights and activations alike.
        """
        return self._rankings[precision]()

    @cached_property
    def _rankings(self) -> dict[Precision, Callable[[], list[LayerError]]]:
        return {"fp32": list, "fp16": cache(self._rank_halves), "int8": cache(self._rank_bytes)}

    def _rank_halves(self) -> list[LayerError]:
        self.progress("ranking the layers in float16")
        return list(rank_halves(_simplified(self.float_graphs), self._ranked_on))

    def _rank_bytes(self) -> list[LayerError]:
        work = self.work("onnx", "int8")
        if work.calibration.ranges is None:
            return []
        self.progress("ranking the layers in int8")
        return list(
            rank_layers(
                _simplified(work.float_graphs), work.calibration.ranges.of(work.recipe), work.recipe, self._ranked_on
            )
        )

    @cached_property
    def _ranked_on(self) -> list[NDArray[np.float32]]:
        return [window_of(self.made_sounds[0], self.source.student.config.front_end, self.window)]

    def export(
        self, runtime: RuntimeName, precision: Precision, folder: Path, *, force: bool = False
    ) -> tuple[Bundle, Report]:
        """Lower, verify, compare and write the bundle `folder`, its report inside.

        Raises VerificationError and its children where the result is not what it should be and `force` does not say
        to write it all the same; OutputError; MissingDependencyError.
        """
        lowering, work = open_runtime(runtime), self.work(runtime, precision)
        self.progress(f"lowering for {runtime} in {precision}")
        lowered = lowering.lower(work)
        source, recipe = self.source, work.recipe
        manifest = manifest_of(
            source.student,
            name=source.name,
            window=self.window,
            precision=precision,
            licence=source.licence,
            provenance=source.provenance,
            silence=source.silence,
            runtime=runtime,
            encoder_input=self.encoder_input,
            beams=lowered.beams,
        )
        contents = [*lowered.files, *common_contents(source.vocabulary, source.card)]
        report, failures = self._tried(manifest, contents, lowered, work, force)
        failures += self._faults(report)
        if failures and not force:
            raise VerificationError(f"{failures[0]}; nothing was written (--force writes it all the same)")
        details = {
            "recipe": render_recipe(recipe),
            **difference_details([Difference(name, largest) for name, largest in report.differences.items()]),
        }
        if failures:
            report = replace(report, failure="; ".join(failures))
            details["verification failed"] = report.failure
        scores = {}
        if report.score_before is not None and report.score_after is not None:
            scores = {"cider_d": report.score_after, "cider_d_fp32": report.score_before}
        manifest = replace(manifest, provenance=with_details(source.provenance, details), metrics=scores)
        text = json.dumps(report.document(), indent=1, allow_nan=False) + "\n"
        return write_bundle(folder, manifest, [*contents, BundleContent("report.json", "other", text.encode())]), report

    def _tried(
        self, manifest: Manifest, contents: Sequence[BundleContent], lowered: Lowered, work: Work, force: bool
    ) -> tuple[Report, list[str]]:
        """The report of a bundle in a temporary folder, and how it failed its comparison with PyTorch."""
        failures: list[str] = []
        recipe, student = work.recipe, work.student
        differences: tuple[Difference, ...] = ()
        with trial(manifest, contents) as bundle, self._baseline() as before:
            self.progress("comparing with PyTorch")
            try:
                session = open_session(bundle, 1)
                differences = verify_session(
                    student,
                    session,
                    self.window,
                    TOLERANCES[recipe.precision],
                    waveform=self.encoder_input == "waveform",
                )
            except BundleError as error:
                raise VerificationError(f"the exported bundle does not run ({error}); nothing was written") from error
            except VerificationError as error:
                if not force:
                    raise
                failures.append(str(error).removesuffix("; nothing was written"))
            report = Report(
                name=manifest.name,
                runtime=manifest.runtime,
                recipe=recipe,
                size_before=_size(before),
                front_end="outside" if self.encoder_input == "log_mel" else "in-graph",
                size_after=_size(bundle),
                operators=dict(lowered.operators),
                not_delegated=dict(lowered.not_delegated),
                delegated=lowered.delegated,
                stays_float=dict(lowered.stays_float),
                layers=self.ranking(recipe.precision),
                differences={found.output: found.largest for found in differences},
            )
            self.progress(f"captioning {len(self._clips)} sounds")
            said = captions_of(Captioner(bundle, session), self._clips)
            self.progress("taking times")
            stages = compare_stages(before, bundle, self.made_sounds, self.rounds)
        report = replace(
            report,
            stages=list(stages),
            compared=len(self._clips),
            same_captions=same([caption.text for caption in self._baseline_captions], [c.text for c in said]),
            same_tokens=same([c.tokens for c in self._torch_captions], [c.tokens for c in said]),
        )
        if self._references:
            references = [row.captions for row in self._references]
            score = cider_d([caption.text for caption in said], references)
            before_score = cider_d([caption.text for caption in self._baseline_captions], references).mean
            report = replace(
                report, score_before=before_score, score_after=score.mean, score_interval=(score.low, score.high)
            )
        return report, failures

    def _faults(self, report: Report) -> list[str]:
        """What the recordings of --verify say against a report."""
        if report.score_before is None or report.score_after is None or report.same_tokens is None:
            return []
        faults, precision = [], report.recipe.precision
        if report.same_tokens < LEAST_SAME_TOKENS[precision]:
            faults.append(
                f"the tokens of {report.same_tokens:.1%} of {report.compared} captions are PyTorch's, where "
                f"{precision} must have {LEAST_SAME_TOKENS[precision]:.0%}"
            )
        if report.score_after < LEAST_SCORE * report.score_before:
            faults.append(
                f"CIDEr-D is {report.score_after:.3f} on {report.compared} recordings, less than "
                f"{LEAST_SCORE:.0%} of float32's {report.score_before:.3f}"
            )
        return faults

    @cached_property
    def _clips(self) -> tuple[Waveform, ...]:
        """The recordings of --verify, at most a window of each; made sounds where there are none."""
        rate, most = self.source.student.config.front_end.sample_rate, self.made_sounds[0].size
        return tuple(decode(row.file, rate, most / rate) for row in self._references) or self.made_sounds

    def _baseline(self) -> AbstractContextManager[Bundle]:
        """The float32 ONNX bundle, in a temporary folder."""
        source = self.source
        manifest = manifest_of(
            source.student,
            name=source.name,
            window=self.window,
            precision="fp32",
            licence=source.licence,
            provenance=source.provenance,
            silence=source.silence,
        )
        return trial(manifest, [*graph_files(self.float_graphs), *common_contents(source.vocabulary, None)])

    @cached_property
    def _baseline_captions(self) -> tuple[SoundCaption, ...]:
        with self._baseline() as bundle:
            return captions_of(Captioner(bundle, open_session(bundle, 1)), self._clips)

    @cached_property
    def _torch_captions(self) -> tuple[SoundCaption, ...]:
        with self._baseline() as bundle:
            return captions_of(Captioner(bundle, TorchSession(self.source.student)), self._clips)


def _size(bundle: Bundle) -> int:
    """Bytes of a bundle's programs."""
    return sum(entry.size for entry in bundle.manifest.programs)


def _simplified(graphs: OnnxGraphs) -> onnx.ModelProto:
    """The encoder that ranges are measured and layers are ranked on."""
    return simplified(onnx.load_from_string(graphs.encode))
