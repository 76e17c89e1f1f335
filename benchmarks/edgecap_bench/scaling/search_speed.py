"""How long `edgecap search` takes in an archive of a million windows.

    python -m edgecap_bench.scaling.search_speed FOLDER

The archive is synthetic: 2,340 captions, of which the common ones are as common as in a real archive (Zipf), recordings
of a minute from eight recorders, and embeddings of the size of the model's, which vary in 64 directions around one
centre a caption and, less, in all. A query is timed in a process that is up, and as a whole command.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

from edgecap.archive.schema import (
    CAPTIONS,
    SETTINGS,
    ArchivedModel,
    ArchiveSettings,
    CaptionOptions,
    captions_schema,
    shard_name,
    with_metadata,
)
from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.like import SoundSearcher, captioner_of, clip_vector
from edgecap.archive_search.parquet import ArchiveSource
from edgecap.archive_search.search import Searcher
from edgecap.archive_search.summary import summarise
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.cli.console import say, table, write
from edgecap.util.files import to_json
from edgecap_bench.harness.load import LoadMeter
from edgecap_bench.reports import output

SHARD_ROWS, BASIS, SILENT = 3000, 64, 0.1
START = datetime(2026, 1, 1, tzinfo=UTC)
SENTENCES = (
    "dog cat bird man woman child car truck train engine crowd wind rain stream wave bell siren door machine insect",
    "barking singing talking laughing passing idling humming blowing falling flowing ringing wailing running",
    "near-water in-the-distance in-a-room on-a-street in-a-forest with-music in-the-rain on-a-farm by-the-sea",
)
"""Of what captions are made: who does what where."""
LIMITS = {"by words": 0.3, "by sound": 0.5}
"""Seconds that a query of each kind may take over a million rows."""


def make_archive(folder: Path, rows: int) -> None:
    """Write the archive, as of the bundled model."""
    import pyarrow as pa
    from pyarrow import parquet

    bundle = load_bundle(find_model("tiny"))
    dim = bundle.manifest.encoder.embedding_dim
    model, options = ArchivedModel("tiny", bundle.identity, "onnx"), CaptionOptions(window=10.0, hop=10.0, beam=3)
    generator = np.random.default_rng(0)
    parts = product(*(words.split() for words in SENTENCES))
    captions = np.array([f"a {who} is {what} {where.replace('-', ' ')}" for who, what, where in parts])
    generator.shuffle(captions)
    shares = 1.0 / np.arange(1, len(captions) + 1)
    shares /= shares.sum()
    basis = generator.standard_normal((BASIS, dim)).astype(np.float32) / 8
    centres = generator.standard_normal((len(captions), BASIS)).astype(np.float32)
    schema = with_metadata(captions_schema(dim), model, options)
    (folder / CAPTIONS).mkdir(parents=True)
    for shard, first in enumerate(range(0, rows, SHARD_ROWS)):
        count = min(SHARD_ROWS, rows - first)
        chosen = generator.choice(len(captions), count, p=shares)
        place = centres[chosen] + 0.5 * generator.standard_normal((count, BASIS)).astype(np.float32)
        noise = 0.1 * np.abs(generator.standard_normal((count, dim)).astype(np.float32))
        embeddings = (np.maximum(place @ basis, 0) + noise).astype(np.float16)
        columns = _columns(first, captions[chosen].tolist(), embeddings, generator)
        columns |= {"model": [model.sha256] * count, "edgecap": ["0"] * count, "shard": [shard] * count}
        parquet.write_table(
            pa.table(columns, schema=schema),
            folder / CAPTIONS / shard_name(shard),
            compression="zstd",
            write_page_checksum=True,
        )
    settings = ArchiveSettings(model=model, options=options, embedding_dim=dim)
    (folder / SETTINGS).write_bytes(settings.to_json())


def _columns(first: int, captions: list[str], embeddings: Any, generator: np.random.Generator) -> dict[str, Any]:  # noqa: ANN401
    import pyarrow as pa

    count = len(captions)
    numbers = np.arange(first, first + count)
    silent = generator.random(count) < SILENT
    times = numbers * 10_000_000 + round(START.timestamp() * 1e6)
    return {
        "source": [f"/recordings/recorder-{number // 6 % 8}/{number // 6:08d}.flac" for number in numbers],
        "start": numbers % 6 * 10.0,
        "end": numbers % 6 * 10.0 + 10.0,
        "time": pa.array(times, pa.timestamp("us", tz="UTC")),
        "caption": ["silence" if quiet else text for quiet, text in zip(silent, captions, strict=True)],
        "confidence": generator.random(count).astype(np.float32),
        "score": -generator.random(count).astype(np.float32),
        "beams": [[{"text": f"{text} {word}", "score": -0.5} for word in "abc"] for text in captions],
        "tags": [["smoke alarm"] if chance < 0.02 else [] for chance in generator.random(count)],
        "embedding": pa.FixedSizeListArray.from_arrays(
            pa.array(embeddings.ravel()), embeddings.shape[1], mask=pa.array(silent)
        ),
        "level": -60.0 * generator.random(count).astype(np.float32),
        "silent": silent,
    }


def _timed(calls: Sequence[Callable[[], object]], rounds: int) -> tuple[float, float]:
    """Median seconds, and of processor time, of calls in turns."""
    wall, work = [], []
    for _ in range(rounds):
        for call in calls:
            begun, used = time.perf_counter(), time.process_time()
            call()
            wall.append(time.perf_counter() - begun)
            work.append(time.process_time() - used)
    return median(wall), median(work)


def main(
    folder: Annotated[Path, typer.Argument(help="Where the archive is, or is made.")],
    *,
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Windows of an archive that is made.")] = 1_000_000,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Times that each query is asked.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print how long searches take, beside the limits."""
    if not (folder / SETTINGS).exists():
        say("note", f"making an archive of {rows} windows in {folder}")
        make_archive(folder, rows)
    clip = Path(__file__).parents[3] / "examples" / "dog.ogg"
    load, results = LoadMeter(), list[tuple[str, float, float | None]]()
    with closing(ArchiveSource(str(folder))) as source:
        words, night = Searcher(source), Conditions(hours=(22, 5), min_confidence=0.5)
        begun, used = time.perf_counter(), time.process_time()
        by_sound = SoundSearcher(source, say)
        results.append(("embeddings, opened or read", time.perf_counter() - begun, time.process_time() - used))
        vector = clip_vector(captioner_of(source, None), clip)
        heard = np.flatnonzero(by_sound.matrix.rests >= 0)
        near = [by_sound.matrix.rows[heard[len(heard) * part // 7]].astype(np.float32) for part in (1, 3, 6)]
        everything = Conditions()
        queries = ("dog barking near water", "siren", "laughing people in the rain")
        cases: dict[str, Sequence[Callable[[], object]]] = {
            "by words": [partial(words.by_words, text, everything, 20) for text in queries],
            "by words, at night": [partial(words.by_words, text, night, 20) for text in queries],
            "by sound": [partial(by_sound.nearest, one, everything, 20) for one in near],
            "by sound, a foreign clip": [partial(by_sound.nearest, vector, everything, 20)],
            "by sound, at night": [partial(by_sound.nearest, one, night, 20) for one in near],
            "summary": [partial(summarise, source, everything)],
        }
        for name, calls in cases.items():
            results.append((name, *_timed(calls, rounds)))
    for name, arguments in (("command, by words", queries[0].split()), ("command, by sound", ["--like", str(clip)])):
        command = [sys.executable, "-m", "edgecap", "search", str(folder), *arguments]
        wall, _ = _timed([partial(subprocess.run, command, check=True, capture_output=True)], rounds)
        results.append((name, wall, None))
    others = load.others()
    if json:
        for name, wall, work in results:
            write(to_json({"query": name, "seconds": wall, "processor_seconds": work}))
    else:
        cells = [
            [name, f"{wall:.3f}", "" if work is None else f"{work:.3f}", str(LIMITS.get(name, ""))]
            for name, wall, work in results
        ]
        write("\n".join(table(["query", "seconds", "processor", "limit"], cells)))
    say("note", f"other programs took {'an unknown number of' if others is None else f'{others:.2f}'} cores")


if __name__ == "__main__":
    output.run_command(main)
