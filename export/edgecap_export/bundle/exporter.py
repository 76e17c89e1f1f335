"""Exports of one model from beginning to end: lowered, verified, compared, written with their reports.

What several exports share (float graphs, ranges, the captions of PyTorch and of the float32 bundle) is made once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecap.bundle.bundle import Bundle, BundleContent, write_bundle
from edgecap.bundle.confidence import FILE_NAME
from edgecap.bundle.manifest import EncoderInput, Manifest, Precision, Search
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, ConfigError, VerificationError
from edgecap.inference.session import open_session
from edgecap.types import Waveform
from edgecap_export.bundle.bundles import (
    bundle_contents,
    difference_details,
    manifest_of,
    trial,
    window_frames,
    with_details,
)
from edgecap_export.bundle.comparison import SoundCaption, captions_of, compare_stages, same
from edgecap_export.bundle.report import Report
from edgecap_export.bundle.sources import ExportSource
from edgecap_export.calibration import GAINS_DB, read_calibration, window_of
from edgecap_export.graphs.onnx_export import OnnxGraphs, onnx_graphs
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.graphs.verify import TOLERANCES, Difference, sounds, verify_session, verify_stream
from edgecap_export.onnx.streaming import with_streaming
from edgecap_export.quantisation.channel_equalisation import equalised
from edgecap_export.quantisation.layers import LayerError, rank_halves, rank_layers
from edgecap_export.quantisation.quantise import simplified
from edgecap_export.quantisation.ranges import student_ranges
from edgecap_export.recipes import render_recipe
from edgecap_export.runtimes import Calibration, Lowered, LoweringRequest, open_lowering, search_place
from edgecap_train.evaluation.evaluated import readable_windows
from edgecap_train.evaluation.held_out import Reference, cider_d, read_scored_references
from edgecap_train.evaluation.metrics import LEAST_CLIPS
from edgecap_train.models.student import Student

ROUNDS = 20
Notify = Callable[[str], None]


class Exporter:
    """Exports of one source into any runtime and precision."""

    def __init__(
        self,
        source: ExportSource,
        references: Path | None = None,
        encoder_input: EncoderInput = "log_mel",
        search: Search | None = None,
        *,
        rounds: int = ROUNDS,
        notify: Notify = lambda step: None,
    ) -> None:
        """`references` is a CSV of recordings with captions, `search` as `search_place` takes it, `rounds` the
        repetitions of each timing.

        `notify` gets the name of each step as it begins. The recordings are read at once, which may raise EdgecapError;
        `skipped` has the reasons for those that cannot be read.
        """
        self.source, self.encoder_input, self.rounds, self.notify = source, encoder_input, rounds, notify
        self.search, self.window = search, window_frames(source.student)
        self._equalised: tuple[Student, OnnxGraphs] | None = None
        front_end = source.student.config.front_end
        seconds = (self.window - 1) * front_end.hop_length / front_end.sample_rate
        self.made_sounds: tuple[Waveform, ...] = tuple(sounds(front_end.sample_rate, seconds))
        """Three generated sounds of a whole window."""
        self._references: list[Reference] = []
        self._clips, self.skipped = self.made_sounds, tuple[str, ...]()
        if references is not None:
            self._references, clips, skipped = readable_windows(
                read_scored_references(references), front_end.sample_rate, seconds=seconds, least=LEAST_CLIPS
            )
            self._clips, self.skipped = tuple(clips), tuple(one.reason for one in skipped)

    @cached_property
    def float_graphs(self) -> OnnxGraphs:
        """The float32 ONNX graphs, the reference of every export."""
        self.notify("exporting the float32 graphs")
        return onnx_graphs(self.source.student, self.window)

    @cached_property
    def calibration(self) -> Calibration:
        """What int8 calibrates on without a folder: the ranges stored with the weights, and generated sounds.

        Raises ConfigError where no ranges are stored.
        """
        if self.source.ranges is None:
            raise ConfigError(
                "int8 needs the ranges of this model's activations and none are stored with its weights; "
                "add --calibration FOLDER with 200 or more recordings"
            )
        scaled = [sound * np.float32(10 ** (gain / 20)) for sound in self.made_sounds for gain in GAINS_DB]
        front_end = self.source.student.config.front_end
        return Calibration(tuple(window_of(sound, front_end, self.window) for sound in scaled), self.source.ranges)

    def calibrate(self, folder: Path) -> tuple[str, ...]:
        """Calibrate on the recordings in `folder` instead; returns warnings about them. Raises AudioError.

        Where that improves int8, its channels are equalised (`edgecap_export.quantisation.channel_equalisation`).
        """
        self.notify(f"calibrating on {folder}")
        recordings = read_calibration(folder, self.source.student.config.front_end, self.window)
        student, graphs = equalised(self.source.student, recordings.log_mels), self.float_graphs
        if student is not self.source.student:
            graphs = onnx_graphs(student, self.window)
            self._equalised = student, graphs
        self.calibration = Calibration(recordings.log_mels, student_ranges(student, graphs.encode, recordings))
        return recordings.warnings

    def request(self, runtime: str, precision: Precision) -> LoweringRequest:
        """What a lowering needs. Raises ConfigError where int8 has nothing to calibrate on, and as `search_place`."""
        student, graphs = self.source.student, self.float_graphs
        if precision == "int8" and self._equalised is not None:
            student, graphs = self._equalised
        return LoweringRequest(
            student=student,
            window=self.window,
            encoder_input=self.encoder_input,
            search=search_place(runtime, self.search),
            float_graphs=graphs,
            recipe=open_lowering(runtime).recipe(precision, student.config.encoder),
            calibration=self.calibration if precision == "int8" else Calibration(()),
        )

    def explained(self, runtime: str) -> tuple[list[LayerError], dict[str, str]]:
        """The ranking of int8, and what stays in float for a runtime and why."""
        request = self.request(runtime, "int8")
        return self.ranking("int8"), dict(open_lowering(runtime).lower(request).stays_float)

    def ranking(self, precision: Precision) -> list[LayerError]:
        """Convolutions by what a precision does to them alone, worst first; empty for fp32, which rounds nothing.

        Measured in ONNX Runtime's kernels; other runtimes round weights and activations alike.
        """
        if precision == "fp32":
            return []
        return self._float16_ranking if precision == "fp16" else self._int8_ranking

    @cached_property
    def _float16_ranking(self) -> list[LayerError]:
        self.notify("ranking the layers in float16")
        return list(rank_halves(_simplified(self.float_graphs), self._ranked_on))

    @cached_property
    def _int8_ranking(self) -> list[LayerError]:
        request = self.request("onnx", "int8")
        if request.calibration.ranges is None:
            return []
        self.notify("ranking the layers in int8")
        ranges = request.calibration.ranges.of(request.recipe)
        return list(rank_layers(_simplified(request.float_graphs), ranges, request.recipe, self._ranked_on))

    @cached_property
    def _ranked_on(self) -> list[NDArray[np.float32]]:
        return [window_of(self.made_sounds[0], self.source.student.config.front_end, self.window)]

    def export(self, runtime: str, precision: Precision, folder: Path, *, force: bool = False) -> tuple[Bundle, Report]:
        """Lower, verify, compare and write the bundle `folder`, its report inside.

        Raises VerificationError and its children where the result is wrong, unless `force` writes it nevertheless;
        OutputError; MissingDependencyError.
        """
        request = self.request(runtime, precision)
        self.notify(f"lowering for {runtime} in {precision}")
        lowered = open_lowering(runtime).lower(request)
        manifest = self._manifest(request, runtime, lowered.beams)
        contents = bundle_contents(runtime, lowered.graphs, self.source.vocabulary, self.source.card)
        manifest, contents = with_streaming(manifest, contents)
        contents += self.source.floats
        if self.source.confidence is not None:
            contents.append(BundleContent(FILE_NAME, "confidence", self.source.confidence))
        report, failures = self._tried(manifest, contents, lowered, request, force)
        failures += report.faults()
        if failures and not force:
            raise VerificationError(f"{failures[0]}; nothing was written (--force writes it nevertheless)")
        differences = [Difference(name, largest) for name, largest in report.differences.items()]
        details = {"recipe": render_recipe(request.recipe), **difference_details(differences)}
        if failures:
            report = replace(report, failure="; ".join(failures))
            details["verification failed"] = report.failure
        scores = {}
        if report.score_before is not None and report.score_after is not None:
            scores = {"cider_d": report.score_after, "cider_d_fp32": report.score_before}
        manifest = replace(manifest, provenance=with_details(self.source.provenance, details), metrics=scores)
        text = json.dumps(report.document(), indent=1, allow_nan=False) + "\n"
        return write_bundle(folder, manifest, [*contents, BundleContent("report.json", "other", text.encode())]), report

    def _tried(
        self,
        manifest: Manifest,
        contents: Sequence[BundleContent],
        lowered: Lowered,
        request: LoweringRequest,
        force: bool,
    ) -> tuple[Report, list[str]]:
        """The report of a bundle in a temporary folder, and how it failed its comparison with PyTorch."""
        failures: list[str] = []
        precision = request.recipe.precision
        differences: tuple[Difference, ...] = ()
        with trial(manifest, contents) as bundle, self._baseline() as before:
            self.notify("comparing with PyTorch")
            try:
                session = open_session(bundle, 1)
                waveform = self.encoder_input == "waveform"
                given = request.student, session, self.window, TOLERANCES[precision]
                differences = verify_session(*given, waveform=waveform, steps=request.search == "outside")
                verify_stream(bundle, session)
            except BundleError as error:
                raise VerificationError(f"the exported bundle does not run ({error}); nothing was written") from error
            except VerificationError as error:
                if not force:
                    raise
                failures.append(str(error).removesuffix("; nothing was written"))
            layers = self.ranking(precision)
            self.notify(f"captioning {len(self._clips)} sounds")
            captions = captions_of(Captioner(bundle, session), self._clips)
            self.notify("measuring times")
            report = Report(
                name=manifest.name,
                runtime=manifest.runtime,
                recipe=request.recipe,
                size_before=_size(before),
                front_end="in-graph" if waveform else "outside",
                size_after=_size(bundle),
                operators=dict(lowered.operators),
                not_delegated=dict(lowered.not_delegated),
                delegated=lowered.delegated,
                stays_float=dict(lowered.stays_float),
                layers=layers,
                differences={item.output: item.largest for item in differences},
                stages=list(compare_stages(before, bundle, self.made_sounds, self.rounds)),
                compared=len(self._clips),
                same_captions=same([caption.text for caption in self._baseline_captions], [c.text for c in captions]),
                same_tokens=same([c.tokens for c in self._torch_captions], [c.tokens for c in captions]),
            )
        if self._references:
            references = [row.captions for row in self._references]
            score = cider_d([caption.text for caption in captions], references)
            before_score = cider_d([caption.text for caption in self._baseline_captions], references).mean
            report = replace(
                report, score_before=before_score, score_after=score.mean, score_interval=(score.low, score.high)
            )
        return report, failures

    def _manifest(self, request: LoweringRequest | None = None, runtime: str = "onnx", beams: int = 0) -> Manifest:
        """Of what was asked for, by default the baseline."""
        source = self.source
        return manifest_of(
            source.student,
            name=source.name,
            window=self.window,
            precision=request.recipe.precision if request else "fp32",
            licence=source.licence,
            provenance=source.provenance,
            silence=source.silence,
            runtime=runtime,
            encoder_input=request.encoder_input if request else "log_mel",
            beams=beams,
            search=request.search if request else "outside",
        )

    def _baseline(self) -> AbstractContextManager[Bundle]:
        """The float32 ONNX bundle, in a temporary folder."""
        return trial(self._manifest(), bundle_contents("onnx", self.float_graphs.by_role(), self.source.vocabulary))

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
