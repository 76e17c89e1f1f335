"""`edgecap robustness`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import say, table, write
from edgecap.errors import ConfigError
from edgecap.util.files import to_json
from edgecap.util.progress import progress_bar
from edgecap.util.text import clean
from edgecap_train.cli.options import need

if TYPE_CHECKING:
    from edgecap_train.evaluation.robustness import RobustnessReport


def robustness(
    model: Annotated[str, typer.Argument(metavar="BUNDLE_OR_CHECKPOINT", help="As for edgecap evaluate.")],
    *,
    data: Annotated[Path, typer.Option("--data", help="Recordings with captions, as for edgecap evaluate.")],
    pool: Annotated[
        list[Path] | None, typer.Option("--pool", help="A folder of sounds with a manifest.csv (repeatable).")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", metavar="SET", help="A set of the pools that no training has heard (repeatable)."),
    ] = None,
    tagger: Annotated[
        Path | None, typer.Option("--tagger", help="Folder of mn04_as_mAP_432.pt; needed for --pool.")
    ] = None,
    most: Annotated[int, typer.Option(min=5, help="Clips taken of each set of a pool.")] = 60,
    beam: Annotated[int | None, typer.Option(min=1, max=32, help="1 is greedy. [default: the model's, 3]")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Of a published checkpoint without one.")] = None,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Score a model by source, degraded, and against a tagger.

    The tagger's part needs no captions.

    Each source of the recordings (columns dataset and split) is scored for itself. Then all are captioned as a
    telephone, an mp3 of 32 kbit/s, a noisy or distant place and a later window would give them: the CIDEr-D, and how
    many captions change. With --pool, --held-out and --tagger also whether captions of the held-out sets name what the
    tagger hears, and how well the tagger's scores can be read from the encoder's embeddings (a linear probe). A bundle
    with a confidence is told how true it is; recordings that it was fitted to flatter it.

    \b
    Examples:
      edgecap robustness tiny --data dev.csv
      edgecap robustness ./run --data dev.csv --pool pool --held-out street --tagger efficientat
    """
    need("robustness", "aac_metrics", extra="evaluate")
    from edgecap_train.evaluation.calibration import confidence_worth
    from edgecap_train.evaluation.evaluated import EvaluatedBundle, first_windows, open_model
    from edgecap_train.evaluation.held_out import read_scored_references
    from edgecap_train.evaluation.robustness import RobustnessReport, evaluate_robustness
    from edgecap_train.evaluation.tag_agreement import tag_agreement

    if bool(pool) != bool(held_out) or (pool and tagger is None):
        raise ConfigError("--pool goes with --held-out and --tagger; name all three, or none")
    evaluated = open_model(model, threads=threads, vocabulary=vocabulary, tagger=tagger)
    readable, sounds = first_windows(read_scored_references(data), evaluated.front_end.sample_rate, least=2)
    with progress_bar() as progress:

        def shown(done: float, total: float | None, label: str = "") -> None:
            progress(done, total, clean(label))

        agreement = None
        if pool and held_out and tagger is not None:  # first, so that an unknown set is told at once
            agreement = tag_agreement(evaluated, pool, held_out, tagger, beam=beam, progress=shown, most=most)
        sides, conditions = evaluate_robustness(evaluated, readable, sounds, beam=beam, progress=shown)
        worth = None
        if isinstance(evaluated, EvaluatedBundle) and evaluated.is_calibrated:
            worth = confidence_worth(evaluated, readable, sounds, beam=beam, progress=shown)
    report = RobustnessReport(evaluated.name, beam, sides, conditions, agreement, worth)
    if json:
        write(to_json(report.document()))
        return
    for line in _lines(report):
        write(line)
    if agreement is None:
        say("note", "no sounds without captions were asked for; add --pool, --held-out and --tagger")


def _lines(report: RobustnessReport) -> list[str]:
    from edgecap_train.evaluation.metrics import TITLES
    from edgecap_train.evaluation.robustness import SIDE_METRICS

    header = ["SOURCE", "CLIPS", *(TITLES[name] for name in SIDE_METRICS), "words"]
    sides = [
        [side.name, str(side.clips), *(str(side.scores[name]) for name in SIDE_METRICS), f"{side.words:.1f}"]
        for side in report.sides
    ]
    conditions = [[one.condition, str(one.cider_d), f"{one.changed:.0%}"] for one in report.conditions]
    lines = [*table(header, sides), f"mean CIDEr-D of the sources: {report.mean_of_sides:.3f}", ""]
    lines += table(["CONDITION", "CIDEr-D", "captions changed"], conditions)
    if report.tags is not None:
        rows = [
            [one.name, str(one.clips), f"{one.top_1:.0%}", f"{one.top_3:.0%}", f"{one.unsupported:.0%}"]
            for one in report.tags.sets
        ]
        probe = report.tags.probe
        lines += ["", *table(["HELD-OUT SET", "CLIPS", "names the tagger's first", "of three", "unsupported"], rows)]
        lines.append(
            f"linear probe of the encoder: mean average precision {probe.mean_average_precision:.3f} over "
            f"{probe.classes} classes, learnt from {probe.learnt_from} other clips"
        )
    if (worth := report.confidence) is not None:
        lines.append("")
        if (one := worth.recordings) is not None:
            lines.append(
                f"confidence {one.confidence:.0%} where {one.right:.0%} are right: calibration error {one.error:.1%}, "
                f"ranking {one.ranking:.2f}, {one.right_claims:.0%} right above 0.5"
            )
        lines.append(f"CIDEr-D of the surer half over that of all: {worth.half_coverage:.2f}")
        lines.append(f"noise and faults with a confidence above 0.5: {worth.signal_claims} of {worth.signals}")
    return lines
