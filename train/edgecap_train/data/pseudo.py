"""A teacher's captions of a folder of sounds, kept as the shards that `edgecap train student --audio-only` reads.

Each sound is cut into windows of ten seconds. A shard has, for each window, the samples at the student's rate, the
teacher's frames, its captions and clip embedding (`embeddings.npy`), its 527 tag scores where it has any (`logits.npy`,
before the sigmoid), and `clips.json`: file, first second, and why a file was left out. Shards of one folder are made in
the order of its file names, appear whole, and are kept, so that a command that was stopped can be repeated.
`index.json` has the files, the recipe and the teacher, with the conditions of the teacher's licence.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.audio.file import AudioFile, sound_files
from edgecap.audio.resample import resampled
from edgecap.audio.samples import to_int16
from edgecap.audio.windows import WindowPlan
from edgecap.cluster.pool import map_items
from edgecap.cluster.session import Workers
from edgecap.errors import AudioError
from edgecap.types import Waveform
from edgecap.util.files import PARTIAL, to_json, write_atomically
from edgecap.util.progress import Progress
from edgecap_train.data.shards import MEMORY_FRAMES, check_settings, is_complete, sole_writer, write_shard
from edgecap_train.teachers.teacher import TaggingTeacher, Teacher
from edgecap_train.text.tokenizer import build_vocabulary, tokenize

log = logging.getLogger(__name__)
SECONDS = 10.0
SHORTEST_SECONDS = 1.0
INDEX = "index.json"
EMPTY = ".empty"


@dataclass(frozen=True, kw_only=True)
class PseudoRecipe:
    """How a folder is captioned."""

    name: str = "pseudo-caption"
    rate: int = 16_000
    """Sample rate of the student, in hertz."""
    per_shard: int = 200
    """Files in a shard."""
    captions: int = 3
    """Captions kept of a window; the teachers' beams have three."""

    def __post_init__(self) -> None:
        for name, least, most in (("rate", 8_000, 192_000), ("per_shard", 1, 100_000), ("captions", 1, 8)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from {least} to {most}, not {getattr(self, name)}")


@dataclass(frozen=True)
class Targets:
    """What a student learns from one window."""

    samples: Waveform
    """(n,) at the student's rate."""
    frames: NDArray[np.float32]
    """(S, width)."""
    logits: NDArray[np.float32]
    """(527,), or (0,) where the teacher has no tags."""
    captions: tuple[str, ...]


@dataclass(frozen=True)
class ShardPart:
    """What becomes one shard."""

    number: int
    names: tuple[str, ...]
    """Files, relative to the folder of sounds."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Workers that load the teacher themselves."""

    load: Callable[[], Teacher]
    """Can be pickled."""
    workers: Workers


def pseudo_caption(
    teacher: Teacher, folder: Path, out: Path, recipe: PseudoRecipe, *, progress: Progress, spread: Spread | None = None
) -> int:
    """Write `out/shards` and a `vocabulary.json` of their words; how many files were left out.

    `progress` counts files. With `spread` workers make the shards, the same ones; on a cluster they need `folder` and
    `out` under these paths. Raises AudioError where `folder` holds no sounds, ConfigError where `out` was made by
    another teacher, by another recipe or of other files, and what `map_items` raises.
    """
    folder, out = folder.absolute(), out.absolute()
    names, per_shard = [str(path.relative_to(folder)) for path in sound_files(folder)], recipe.per_shard
    about = {
        "teacher": teacher.name,
        "rate": recipe.rate,
        "captions": recipe.captions,
        "per_shard": per_shard,
        "files": names,
    }
    check_settings(out / INDEX, about)
    with sole_writer(out):
        write_atomically(out / INDEX, to_json(about | {"notes": teacher.notes}))
        parts = [
            ShardPart(first // per_shard, tuple(names[first : first + per_shard]))
            for first in range(0, len(names), per_shard)
        ]
        missing = [part for part in parts if not _is_made(_shard(out, part))]
        done = len(names) - sum(len(part.names) for part in missing)
        if done:
            progress(done, len(names))
        make = partial(_maker, spread.load if spread else lambda: teacher, folder, out, recipe)
        workers = spread.workers if spread else None
        threads, name = torch.get_num_threads(), lambda part: f"shard {part.number:04d}"
        for count in map_items(make, missing, workers, threads=threads, name=name):
            done += count
            progress(done, len(names))
        texts: list[list[list[str]]] = []
        skipped = 0
        for path in sorted((out / "shards").iterdir()):
            if path.suffix == PARTIAL:
                continue
            clips = path if path.is_file() else path / "clips.json"
            skipped += sum("skipped" in clip for clip in json.loads(clips.read_text(encoding="utf-8")))
            texts += json.loads((path / "texts.json").read_text(encoding="utf-8")) if path.is_dir() else []
        words = build_vocabulary((tuple(caption) for captions in texts for caption in captions), 1)
        write_atomically(out / "vocabulary.json", to_json(words))
    return skipped


def windows(file: Path, rate: int) -> Iterator[tuple[float, Waveform]]:
    """First second and samples (n,) at `rate` of each window of a file. Raises AudioError where it cannot be read."""
    with AudioFile(file) as sound:
        blocks = resampled(sound.mono(), sound.sample_rate, rate)
        length = round(SECONDS * rate)
        plan = WindowPlan(length=length, hop=length, shortest_tail=round(SHORTEST_SECONDS * rate))
        for window in plan.cut(blocks):
            yield window.start / rate, window.samples


def _shard(out: Path, part: ShardPart) -> Path:
    return out / "shards" / f"{part.number:04d}"


def _is_made(shard: Path) -> bool:
    """Whether there is nothing left to do for a shard."""
    return shard.with_suffix(EMPTY).is_file() or (is_complete(shard) and (shard / "clips.json").is_file())


def _maker(
    load: Callable[[], Teacher], folder: Path, out: Path, recipe: PseudoRecipe, threads: int
) -> Callable[[ShardPart], int]:
    """In the process that does the work: a function that makes a shard and returns how many files it is of."""
    torch.set_num_threads(threads)
    teacher = load()

    def make(part: ShardPart) -> int:
        _write(teacher, folder, part.names, _shard(out, part), recipe)
        return len(part.names)

    return make


def _write(teacher: Teacher, folder: Path, names: Sequence[str], shard: Path, recipe: PseudoRecipe) -> None:
    """One shard; a file NAME.empty in its place where none of its sounds can be read."""
    clips: list[dict[str, Any]] = []
    targets: list[Targets] = []
    for name in names:
        try:
            made = [
                (start, _targets(teacher, samples, recipe))
                for start, samples in windows(folder / name, teacher.sample_rate)
            ]
        except AudioError as error:
            log.warning("left out: %s", error)
            clips.append({"file": name, "skipped": str(error)})
            continue
        clips += [{"file": name, "start": start} for start, _ in made]
        targets += [target for _, target in made]
    if not targets:
        write_atomically(shard.with_suffix(EMPTY), to_json(clips))
        return
    texts = [[tokenize(text) for text in target.captions] for target in targets]
    write_shard(shard, _arrays(targets, round(SECONDS * recipe.rate)), {"texts": texts, "clips": clips})


def _targets(teacher: Teacher, samples: Waveform, recipe: PseudoRecipe) -> Targets:
    """The teacher's captions, frames and tags of `samples` (n,) at its rate."""
    captions = teacher.captions(samples, most=recipe.captions)
    kept = np.concatenate(list(resampled([samples], teacher.sample_rate, recipe.rate)))
    if isinstance(teacher, TaggingTeacher):
        tags = teacher.tags(samples)
        return Targets(kept, tags.frames[0].cpu().numpy(), tags.logits[0].cpu().numpy(), captions)
    return Targets(kept, teacher.frames(samples), np.zeros(0, np.float32), captions)


def _arrays(targets: list[Targets], length: int) -> dict[str, NDArray[np.generic]]:
    """The arrays of a shard, with `length` samples for each window."""
    audio = np.zeros((len(targets), length), np.int16)
    frames = np.zeros((len(targets), MEMORY_FRAMES, targets[0].frames.shape[1]), np.float16)
    for row, target in enumerate(targets):
        kept = target.samples[:length]
        audio[row, : kept.size] = to_int16(kept)
        shown = target.frames[:MEMORY_FRAMES]
        frames[row, : len(shown)] = shown
    return {
        "audio": audio,
        "frames": frames,
        "logits": np.stack([target.logits for target in targets]).astype(np.float16),
        "lengths": np.array([min(target.samples.size, length) for target in targets]),
        "embeddings": np.stack([target.frames.mean(0) for target in targets]).astype(np.float16),
    }
