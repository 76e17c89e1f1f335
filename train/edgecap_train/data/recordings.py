"""One's own recordings with captions to shards and a vocabulary: what `edgecap train student --audio` learns from.

A recording is used with its first ten seconds. Without the tagger a shard has no tags, and frames of width 1 that are
0: the recipe's losses must be those of captions alone. Captions keep their letters, with accents, in any alphabet.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import decode
from edgecap.audio.samples import to_int16
from edgecap.errors import AudioError, ConfigError, TableError
from edgecap.util.files import to_json, write_atomically
from edgecap.util.progress import Progress
from edgecap_train.data.shards import MEMORY_FRAMES, write_shard
from edgecap_train.teachers.tagger import load_tagger
from edgecap_train.teachers.teacher import TaggingTeacher
from edgecap_train.text.captioned_files import CaptionedFile, read_captioned_files
from edgecap_train.text.tokenizer import build_vocabulary
from edgecap_train.text.treebank import treebank_words

log = logging.getLogger(__name__)
SECONDS = 10.0
PER_SHARD = 500
HELD_OUT_SHARE, LEAST_HELD_OUT = 0.1, 2
LEAST_CLIPS = 4
INDEX, DEVELOPMENT = "recordings.json", "development.csv"


@dataclass(frozen=True)
class PreparedRecordings:
    """What was made of a table of recordings."""

    development: Path
    """Table of the recordings that are held out."""
    clips: int
    """Recordings to learn from."""
    skipped: int
    """Recordings that could not be read."""


def prepare_recordings(
    audio: Path,
    table: Path,
    out: Path,
    *,
    rate: int,
    progress: Progress,
    development: Path | None = None,
    tagger: Path | None = None,
    least_count: int = 1,
) -> PreparedRecordings:
    """Write `vocabulary.json` and shards of the recordings into `out`; complete ones are kept.

    `rate`: the student's, in hertz. Without a `development` table every tenth recording is held out, drawn by chance,
    at least two. A recording that cannot be read is skipped and named in the log. Raises TableError, AudioError where
    none can be read, and ConfigError where `out` holds other recordings.
    """
    learnt, held_out = _split(read_captioned_files(table, audio), development, table)
    index = to_json(
        {"rate": rate, "tagger": tagger is not None, "clips": [[str(clip.file), *clip.captions] for clip in learnt]}
    )
    if (out / INDEX).is_file() and (out / INDEX).read_text(encoding="utf-8") != index:
        raise ConfigError(
            f"{out} was made of other recordings or captions, or differs in --tagger; name another folder with --out"
        )
    write_atomically(out / INDEX, index)
    words = [tuple(treebank_words(text)) for clip in learnt for text in clip.captions]
    write_atomically(out / "vocabulary.json", to_json(build_vocabulary(words, least_count)))
    if development is None:
        development = out / DEVELOPMENT
        write_atomically(development, _table(held_out))
    teacher = TaggingTeacher(load_tagger(tagger)) if tagger is not None else None
    for first in range(0, len(learnt), PER_SHARD):
        folder = out / "shards" / f"{first // PER_SHARD:04d}"
        if not folder.is_dir():
            _write(learnt[first : first + PER_SHARD], folder, rate, teacher)
        progress(min(first + PER_SHARD, len(learnt)), len(learnt))
    lengths = [len(np.load(path, mmap_mode="r")) for path in sorted((out / "shards").glob("[0-9]*/lengths.npy"))]
    if not lengths:
        raise AudioError(
            f"none of the {len(learnt)} recordings of {table.name} can be read in {audio}; the log names them"
        )
    return PreparedRecordings(development, sum(lengths), len(learnt) - sum(lengths))


def _split(
    clips: list[CaptionedFile], development: Path | None, table: Path
) -> tuple[list[CaptionedFile], list[CaptionedFile]]:
    """The clips to learn from and those that are held out. Raises TableError for too few."""
    if development is not None:
        held_out = read_captioned_files(development)
        files = {clip.file.resolve() for clip in held_out}
        learnt = [clip for clip in clips if clip.file.resolve() not in files]
    else:
        count = max(LEAST_HELD_OUT, round(HELD_OUT_SHARE * len(clips)))
        order = np.random.default_rng(0).permutation(len(clips)).tolist()
        places = set(islice((place for place in order if _readable(clips[place].file)), count))
        held_out = [clip for place, clip in enumerate(clips) if place in places]
        learnt = [clip for place, clip in enumerate(clips) if place not in places]
    if not held_out:
        raise AudioError(f"none of {len(clips)} recordings of {table.name} can be read; the first: {clips[0].file}")
    if len(clips) < LEAST_CLIPS or not learnt:
        raise TableError(
            f"{table.name} names {len(clips)} recordings, {len(learnt)} of them to learn from: a run needs at least "
            f"{LEAST_CLIPS}, and some hundred to caption well"
        )
    return learnt, held_out


def _readable(file: Path) -> bool:
    try:
        return decode(file, 8_000, 1.0).size > 0
    except AudioError:
        return False


def _table(clips: Sequence[CaptionedFile]) -> str:
    """The clips as a CSV table."""
    text, most = io.StringIO(newline=""), max(len(clip.captions) for clip in clips)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *(f"caption_{number}" for number in range(1, most + 1))])
    writer.writerows([clip.file.resolve(), *clip.captions] for clip in clips)
    return text.getvalue()


def _write(clips: Sequence[CaptionedFile], folder: Path, rate: int, teacher: TaggingTeacher | None) -> None:
    """One shard of the clips that can be read; nothing where none can."""
    audio: list[NDArray[np.int16]] = []
    frames: list[NDArray[np.float16]] = []
    logits: list[NDArray[np.float16]] = []
    lengths: list[int] = []
    human: list[list[tuple[str, ...]]] = []
    for clip in clips:
        try:
            samples = to_int16(decode(clip.file, rate, SECONDS))
            tags = None if teacher is None else teacher.tags(decode(clip.file, teacher.sample_rate, SECONDS))
        except AudioError as error:
            log.warning("skipped: %s", error)
            continue
        padded = np.zeros(round(rate * SECONDS), np.int16)
        padded[: samples.size] = samples[: padded.size]
        kept = np.zeros((1, 1), np.float32) if tags is None else tags.frames[0, :MEMORY_FRAMES].cpu().numpy()
        audio.append(padded)
        frames.append(np.pad(kept, ((0, MEMORY_FRAMES - len(kept)), (0, 0))).astype(np.float16))
        logits.append((np.zeros(0) if tags is None else tags.logits[0].cpu().numpy()).astype(np.float16))
        lengths.append(min(samples.size, padded.size))
        human.append([treebank_words(text) for text in clip.captions])
    if audio:
        arrays: dict[str, NDArray[np.generic]] = {
            "audio": np.stack(audio),
            "frames": np.stack(frames),
            "logits": np.stack(logits),
            "lengths": np.array(lengths),
        }
        write_shard(folder, arrays, {"texts": [[] for _ in audio], "human": human})
