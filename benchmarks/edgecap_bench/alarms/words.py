"""Recall and false alarms of the names that captions' words give, on labelled clips:

    python -m edgecap_bench.alarms.words MANIFEST.csv [--set esc50] [--model NAME] [--most 40] [--json]

MANIFEST has the columns file, set and label. The models in the package have heard such clips in training, without
labels or captions, so a new recording may do worse.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from edgecap.captioner import Captioner
from edgecap.cli.console import say, table, write
from edgecap.errors import AudioError
from edgecap.live.events.alerts import WORD_ALERTS
from edgecap.util.files import to_json
from edgecap_bench.reports import output

LABELS = {
    "glass-breaking": {"glass breaking"},
    "baby-crying": {"crying baby", "baby crying"},
    "dog-barking": {"dog", "dog barking"},
    "knocking": {"door knock"},
    "doorbell": {"doorbell", "door bell"},
    "running-water": {"pouring water", "toilet flush"},
}
"""Labels of clips that have the sound."""


@dataclass(frozen=True)
class WordRecall:
    """One name on labelled clips."""

    name: str
    clips: int
    recognised: int
    others: int
    """Clips with another label."""
    mistaken: int
    """Those of them that were given the name."""


def measure(captions: Mapping[str, list[str]]) -> Iterator[WordRecall]:
    """Each name, from the captions of the clips of each label. How long the sound lasts is not looked at."""
    for alert in WORD_ALERTS:
        counts = {True: [0, 0], False: [0, 0]}
        for label, texts in captions.items():
            for text in texts:
                count = counts[label in LABELS[alert.identifier]]
                count[0] += 1
                count[1] += alert.says(text, alert.least_seconds)
        yield WordRecall(alert.identifier, *counts[True], *counts[False])


def main(
    manifest: Annotated[Path, typer.Argument(help="A table with the columns file, set and label.")],
    *,
    of_set: Annotated[str, typer.Option("--set", help="Only clips of this set.")] = "esc50",
    model: Annotated[str | None, typer.Option("--model", help="Which model captions.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Most clips of a label.")] = 40,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print recall and false alarms of the names that words give."""
    captioner, captions = Captioner.load(model, threads=1), defaultdict[str, list[str]](list)
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == of_set]
    for row in rows:
        if len(captions[row["label"]]) < most:
            try:
                texts = [caption.text for caption in captioner.caption_file(manifest.parent / row["file"])]
            except AudioError as error:
                say("warning", f"skipped: {error}")
            else:
                captions[row["label"]].append(" ".join(texts))
    results = list(measure(captions))
    for result in results if json else ():
        write(to_json(asdict(result)))
    if not json:
        cells = [[r.name, f"{r.recognised}/{r.clips}", f"{r.mistaken}/{r.others}"] for r in results]
        for line in table(["name", "recognised", "mistaken"], cells):
            write(line)


if __name__ == "__main__":
    output.run_command(main)
