"""`edgecap train confidence`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import table, write
from edgecap.util.text import clean
from edgecap_train.cli.options import Threads, need

if TYPE_CHECKING:
    from edgecap_train.confidence.report import ConfidenceReport

TEST_SEED, TEST_EACH = 1, 13
"""Of the generated faults that the fit has not heard: 208 in all."""


def confidence(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle's name or folder; it is written anew.")],
    *,
    data: Annotated[Path, typer.Option("--data", help="Held-out recordings with captions, as for edgecap evaluate.")],
    pool: Annotated[list[Path], typer.Option("--pool", help="A folder of sounds with a manifest.csv (repeatable).")],
    held_out: Annotated[
        list[str], typer.Option("--held-out", metavar="SET", help="A set of the pools for this fit (repeatable).")
    ],
    tagger: Annotated[Path, typer.Option("--tagger", help="Folder of mn04_as_mAP_432.pt.")],
    most: Annotated[int, typer.Option(min=5, help="Clips taken of each set of a pool.")] = 40,
    threads: Threads = 1,
) -> None:
    """Fit the probability that a caption is right, and store it in the bundle.

    The bundle captions recordings and held-out sets, as they are and degraded, and generated noise and faults. People's
    captions, the tagger, and the faults themselves tell which captions are right. Neither recordings nor sets may be
    part of the model's training. Printed are figures of fits without the source of recordings, or the set, that is
    tested.

    \b
    Example:
      edgecap train confidence ./tiny --data dev.csv --pool pool --held-out street --tagger efficientat
    """
    need("train confidence", "aac_metrics")
    from edgecap import Captioner, load_bundle
    from edgecap.bundle.bundle import BundleContent, write_bundle
    from edgecap.bundle.confidence import FILE_NAME, render_confidence
    from edgecap.bundle.models import find_model
    from edgecap.util.progress import progress_bar
    from edgecap_train.confidence.fit import fit
    from edgecap_train.confidence.material import (
        BeamCaptioner,
        SourceTagger,
        heard_faults,
        heard_recordings,
        heard_sets,
    )
    from edgecap_train.confidence.report import cross_validated
    from edgecap_train.evaluation.held_out import read_scored_references

    folder = find_model(bundle)
    references, loaded = read_scored_references(data), load_bundle(folder)
    listen, ask = BeamCaptioner(Captioner.load(folder, threads=threads)), SourceTagger(tagger)
    with progress_bar() as progress:

        def shown(done: float, total: float | None, label: str = "") -> None:
            progress(done, total, clean(label))

        # Sets first, so that an unknown one is told at once.
        sets = heard_sets(listen, pool, held_out, ask, shown, most=most)
        rows = [*heard_recordings(listen, references, ask, shown), *sets, *heard_faults(listen, shown)]
        unheard = heard_faults(listen, shown, each=TEST_EACH, seed=TEST_SEED)
        spec = fit(rows, loaded.vocabulary)
        report = cross_validated(rows, loaded.vocabulary, references, spec, unheard, progress=shown)
    manifest = loaded.manifest
    contents = [
        BundleContent(entry.name, entry.role, folder / entry.name)
        for entry in manifest.files
        if entry.role != "confidence"
    ]
    contents.append(BundleContent(FILE_NAME, "confidence", render_confidence(spec)))
    write_bundle(folder, replace(manifest, metrics=manifest.metrics | report.metrics()), contents)
    for line in _lines(report):
        write(line)
    write(f"{folder / FILE_NAME}: fitted to {len(rows)} captions")


def _lines(report: ConfidenceReport) -> list[str]:
    header = [
        "CAPTIONS OF",
        "NUMBER",
        "right",
        "confidence",
        "calibration error",
        "by chance",
        "beyond chance",
        "ranking",
        "above 0.5",
        "right of these",
    ]
    rows = [
        [
            name,
            str(one.captions),
            *(f"{value:.0%}" for value in (one.right, one.confidence)),
            *(f"{value:.1%}" for value in (one.error, one.by_chance, one.excess)),
            f"{one.ranking:.2f}",
            *(f"{value:.0%}" for value in (one.claims, one.right_claims)),
        ]
        for name, one in {**report.sides, "broader statements": report.broad}.items()
    ]
    return [
        *table(header, rows),
        "calibration error: mean distance in ten bins; by chance: its mean if all confidences were true; beyond "
        "chance: root mean square of the distance less what chance adds",
        f"side by side, the level of a new one is off by {report.level_of_sides:.1%} (root mean square)",
        f"CIDEr-D of the surer half over that of all: {report.half_coverage:.2f}, "
        f"{report.half_coverage_pooled:.2f} with sources by what their captions are worth",
        f"noise and faults with a confidence above 0.5: {report.fault_claims} of {report.faults}",
    ]
