"""`edgecap evaluate`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecap.cli.console import say, table, write
from edgecap.errors import AudioError, TableError
from edgecap.util.files import to_json
from edgecap.util.progress import progress_bar
from edgecap.util.text import clean
from edgecap_train.cli.options import need

if TYPE_CHECKING:
    from edgecap_train.evaluation.evaluated import Captioned, EvaluatedModel, Skipped
    from edgecap_train.evaluation.metrics import Scores

SHOWN_SKIPS = 10


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE_OR_CHECKPOINT",
            help="A model by name, a bundle's folder, a checkpoint's file, or the folder of a run of edgecap train.",
        ),
    ],
    *,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="Recordings with captions: CSV with file, caption_1 … (and dataset), or as AudioCaps, Clotho and "
            "WavCaps write them.",
        ),
    ],
    dataset: Annotated[str | None, typer.Option(help="Only rows whose dataset column starts with this.")] = None,
    references: Annotated[int, typer.Option(min=1, help="Only rows with at least this many captions.")] = 1,
    beam: Annotated[int | None, typer.Option(min=1, max=32, help="1 is greedy. [default: the model's, 3]")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Of a published checkpoint without one.")] = None,
    tagger: Annotated[
        Path | None, typer.Option("--tagger", help="Folder of mn04_as_mAP_432.pt, for a teacher that needs it.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, with every clip's caption.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write captions and scores of every clip there.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page to listen and compare there; it holds the recordings.")
    ] = None,
    link_audio: Annotated[bool, typer.Option("--link-audio", help="The page links the recordings.")] = False,
) -> None:
    """Score a model's captions against human ones.

    Each metric has its 95 % bootstrap interval over the clips.

    The first ten seconds of each recording are captioned. CIDEr-D takes its document frequencies from the rows used.
    A recording that cannot be read is left out, counted and named. SPICE, METEOR, SPIDEr and FENSE need files that
    aac-metrics-download gets, the first three Java too; what is missing is named on standard error.

    \b
    Examples:
      edgecap evaluate tiny --data dev.csv --dataset AudioCaps --references 5
      edgecap evaluate ./run --data dev.csv --beam 1 --csv clips.csv --html clips.html
    """
    need("evaluate", "aac_metrics", extra="evaluate")
    from edgecap_train.evaluation.evaluated import caption_recordings, open_model
    from edgecap_train.evaluation.held_out import read_references
    from edgecap_train.evaluation.metrics import score

    rows = [row for row in read_references(data) if row.group.startswith(dataset or "")]
    rows = [row for row in rows if len(row.captions) >= references]
    if not rows:
        raise TableError(f"{data.name} has no row that fits; leave out --dataset or lower --references")
    evaluated = open_model(model, threads=threads, vocabulary=vocabulary, tagger=tagger)
    with progress_bar() as progress:
        captioned, skipped = caption_recordings(
            evaluated, rows, beam, lambda done, total, name="": progress(done, total, clean(name))
        )
    _report_skipped(skipped, len(rows))
    if not captioned:
        raise AudioError(
            f"none of the {len(rows)} recordings could be read; is the table {data.name} beside its audio?"
        )
    scores = score([j.caption for j in captioned], [j.reference.captions for j in captioned])
    if csv is not None:
        _write_csv(csv, captioned, scores, data.parent)
    if html is not None:
        _write_page(html, evaluated, captioned, scores, link_audio)
    if json:
        write(to_json(_document(evaluated.name, captioned, skipped, scores)))
        return
    for line in _lines(scores):
        write(line)
    (most, count), *others = Counter(j.caption for j in captioned).most_common()
    different, share = 1 + len(others), count / len(captioned)
    clips = f"{len(captioned)} clip{'s' if len(captioned) > 1 else ''}"
    captions = f"{different} different captions" if different > 1 else "one caption"
    write(f"{clips}, {captions}, the commonest for {share:.0%}: {most}")
    for note in _missing(scores):
        say("note", note)


def _report_skipped(skipped: list[Skipped], rows: int) -> None:
    for one in skipped[:SHOWN_SKIPS]:
        say("skipped", one.reason)
    if skipped:
        more = f", {SHOWN_SKIPS} of them named above" if len(skipped) > SHOWN_SKIPS else ""
        say("note", f"{len(skipped)} of {rows} recordings could not be read{more}; the scores are of the others")


def _missing(scores: Scores) -> list[str]:
    from edgecap_train.evaluation.metrics import TITLES

    return [f"{TITLES[name]} was not computed: {reason}" for name, reason in scores.missing.items()]


def _lines(scores: Scores) -> list[str]:
    from edgecap_train.evaluation.metrics import TITLES

    rows = [[TITLES[name], f"{m.mean:.3f}", f"[{m.low:.3f}, {m.high:.3f}]"] for name, m in scores.metrics.items()]
    return table(["METRIC", "MEAN", "95 %"], rows)


def _document(name: str, captioned: list[Captioned], skipped: list[Skipped], scores: Scores) -> dict[str, Any]:
    clips = [
        {
            "file": str(j.reference.file),
            "caption": j.caption,
            "references": list(j.reference.captions),
            **{metric: m.clips[index] for metric, m in scores.metrics.items()},
        }
        for index, j in enumerate(captioned)
    ]
    return {
        "model": name,
        "metrics": {n: {"mean": m.mean, "low": m.low, "high": m.high} for n, m in scores.metrics.items()},
        "missing": scores.missing,
        "clips": clips,
        "skipped": [{"file": str(one.file), "reason": one.reason} for one in skipped],
    }


def _write_csv(path: Path, captioned: list[Captioned], scores: Scores, folder: Path) -> None:
    """A row for each clip; files are named from the `folder` of the table, as the table names them."""
    import csv
    import io

    from edgecap.util.files import write_atomically

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["file", "caption", *scores.metrics, "references"])
    for index, one in enumerate(captioned):
        figures = [f"{metric.clips[index]:.4f}" for metric in scores.metrics.values()]
        file = one.reference.file
        name = file.relative_to(folder) if file.is_relative_to(folder) else file
        writer.writerow([name, one.caption, *figures, " | ".join(one.reference.captions)])
    write_atomically(path, text.getvalue())


def _write_page(path: Path, model: EvaluatedModel, captioned: list[Captioned], scores: Scores, link: bool) -> None:
    from edgecap.audio.file import decode
    from edgecap.util.files import write_atomically
    from edgecap_train.evaluation.evaluated import WINDOW_SECONDS
    from edgecap_train.evaluation.metrics import TITLES
    from edgecap_train.evaluation.page import PageRow, page

    entries = [
        PageRow(
            j.reference.file,
            decode(j.reference.file, model.front_end.sample_rate, WINDOW_SECONDS),
            j.reference.captions,
            {model.name: j.caption},
            {n: scores.metrics[n].clips[i] for n in ("cider_d", "rouge_l") if n in scores.metrics},
        )
        for i, j in enumerate(captioned)
    ]
    titled = {TITLES[name]: metric for name, metric in scores.metrics.items()}
    write_atomically(
        path,
        page(
            f"Captions of {model.name}",
            titled,
            entries,
            model.front_end,
            notes=_missing(scores),
            audio="link" if link else "embed",
        ),
    )
