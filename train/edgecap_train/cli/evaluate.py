"""`edgecap evaluate`. A command parses, calls and prints; imports are made when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecap.cli.console import printable, say, table, write
from edgecap.errors import AudioError, EdgecapError
from edgecap.util.files import to_json
from edgecap.util.progress import progress_bar
from edgecap_train.needs import need

if TYPE_CHECKING:
    from edgecap_train.evaluation.evaluated import EvaluatedModel, Judgement, Skipped
    from edgecap_train.evaluation.metrics import Scores

TITLES = {
    "cider_d": "CIDEr-D",
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "similarity": "sentence similarity",
    "main_source": "main source named",
    "meteor": "METEOR",
    "spice": "SPICE",
    "spider": "SPIDEr",
    "fense": "FENSE",
}
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
    data: Annotated[Path, typer.Option("--data", help="CSV with file, caption_1 … caption_5 (and dataset).")],
    dataset: Annotated[str | None, typer.Option(help="Only rows whose dataset column begins so.")] = None,
    references: Annotated[int, typer.Option(min=1, help="Only rows with at least this many captions.")] = 1,
    beam: Annotated[int | None, typer.Option(min=1, max=32, help="1 is greedy. [default: the model's, 3]")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Of a published checkpoint without one.")] = None,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, with every clip's caption.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write captions and scores of every clip there.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page to listen and compare there; it holds the recordings.")
    ] = None,
    link_audio: Annotated[bool, typer.Option("--link-audio", help="The page links the recordings.")] = False,
) -> None:
    """Score a model's captions of recordings against human ones, with 95 % bootstrap intervals over the clips.

    The first ten seconds of each recording are captioned. CIDEr-D takes its document frequencies from the rows used.
    A recording that cannot be read is left out, counted and named. SPICE, METEOR, SPIDEr and FENSE need files that
    aac-metrics-download gets, the first three Java too; what is missing is told on standard error.

    \b
    Examples:
      edgecap evaluate tiny --data dev.csv --dataset AudioCaps --references 5
      edgecap evaluate ./run --data dev.csv --beam 1 --csv clips.csv --html clips.html
    """
    need("evaluate", "aac_metrics", extra="evaluate")
    from edgecap_train.evaluation.evaluated import caption_recordings, open_judged
    from edgecap_train.evaluation.held_out import read_references
    from edgecap_train.evaluation.metrics import score

    rows = [row for row in read_references(data) if row.group.startswith(dataset or "")]
    rows = [row for row in rows if len(row.captions) >= references]
    if not rows:
        raise EdgecapError(f"{data.name} has no row that fits; leave out --dataset or lower --references")
    judged = open_judged(model, threads=threads, vocabulary=vocabulary)
    with progress_bar() as bar:
        judgements, skipped = caption_recordings(
            judged, rows, beam, lambda done, name: bar(done, len(rows), printable(name))
        )
    _tell_skipped(skipped, len(rows))
    if not judgements:
        raise AudioError(
            f"none of the {len(rows)} recordings could be read; is the table {data.name} where its audio is?"
        )
    scores = score([j.caption for j in judgements], [j.reference.captions for j in judgements])
    if csv is not None:
        _write_csv(csv, judgements, scores)
    if html is not None:
        _write_page(html, judged, judgements, scores, link_audio)
    if json:
        write(to_json(_document(judged.name, judgements, skipped, scores)))
        return
    for line in _lines(scores):
        write(line)
    texts = [j.caption for j in judgements]
    most = max(set(texts), key=texts.count)
    write(
        f"{len(judgements)} clips, {len(set(texts))} different captions, the commonest for "
        f"{texts.count(most) / len(texts):.0%}: {most}"
    )
    for name, reason in scores.missing.items():
        say("note", f"{TITLES[name]} was not computed: {reason}")


def _tell_skipped(skipped: list[Skipped], rows: int) -> None:
    for one in skipped[:SHOWN_SKIPS]:
        say("skipped", one.reason)
    if skipped:
        more = f", {SHOWN_SKIPS} of them named above" if len(skipped) > SHOWN_SKIPS else ""
        say("note", f"{len(skipped)} of {rows} recordings could not be read{more}; the scores are of the others")


def _lines(scores: Scores) -> list[str]:
    rows = [[TITLES[name], f"{m.mean:.3f}", f"[{m.low:.3f}, {m.high:.3f}]"] for name, m in scores.metrics.items()]
    return table(["METRIC", "MEAN", "95 %"], rows)


def _document(name: str, judgements: list[Judgement], skipped: list[Skipped], scores: Scores) -> dict[str, Any]:
    clips = [
        {
            "file": str(j.reference.file),
            "caption": j.caption,
            "references": list(j.reference.captions),
            **{metric: m.clips[index] for metric, m in scores.metrics.items()},
        }
        for index, j in enumerate(judgements)
    ]
    return {
        "model": name,
        "metrics": {n: {"mean": m.mean, "low": m.low, "high": m.high} for n, m in scores.metrics.items()},
        "missing": scores.missing,
        "clips": clips,
        "skipped": [{"file": str(one.file), "reason": one.reason} for one in skipped],
    }


def _write_csv(path: Path, judgements: list[Judgement], scores: Scores) -> None:
    import csv
    import io

    from edgecap.util.files import write_atomically

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["file", "caption", *scores.metrics, "references"])
    for index, judgement in enumerate(judgements):
        figures = [f"{metric.clips[index]:.4f}" for metric in scores.metrics.values()]
        writer.writerow(
            [judgement.reference.file.name, judgement.caption, *figures, " | ".join(judgement.reference.captions)]
        )
    write_atomically(path, text.getvalue())


def _write_page(path: Path, model: EvaluatedModel, judgements: list[Judgement], scores: Scores, link: bool) -> None:
    from edgecap.util.files import write_atomically
    from edgecap_train.evaluation.evaluated import first_window
    from edgecap_train.evaluation.page import PageRow, page

    entries = [
        PageRow(
            j.reference.file,
            first_window(j.reference.file, model.front_end.sample_rate),
            j.reference.captions,
            {model.name: j.caption},
            {n: scores.metrics[n].clips[i] for n in ("cider_d", "rouge_l")},
        )
        for i, j in enumerate(judgements)
    ]
    notes = [f"{TITLES[name]} was not computed: {reason}" for name, reason in scores.missing.items()]
    titled = {TITLES[name]: metric for name, metric in scores.metrics.items()}
    write_atomically(
        path,
        page(
            f"Captions of {model.name}",
            titled,
            entries,
            model.front_end,
            notes=notes,
            audio="link" if link else "embed",
        ),
    )
