"""A teacher's answers for a folder of sounds, kept as the shards that `edgecap train student --audio-only` reads.

Each sound is cut into windows of ten seconds. A shard has, for each window, the samples at the student's rate, the
teacher's frames, its captions and clip embedding (`embeddings.npy`), its 527 tag scores where it has any (`logits.npy`,
before the sigmoid), and `clips.json`: file, first second, and why a file was left out. Shards of one folder are made in
the order of its file names, appear atomic_file, and are kept, so that a command that was stopped goes on.
`index.json` has the files, the recipe and the teacher, with what must be known of the teacher's licence.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import AudioFile
from edgecap.audio.resample import resampled
from edgecap.audio.samples import to_mono
from edgecap.audio.windows import WindowPlan
from edgecap.errors import AudioError, ConfigError
from edgecap.types import Waveform
from edgecap.util.files import save_array, write_atomically
from edgecap_train.data.scenes import to_student_rate
from edgecap_train.data.targets import CLASSES, MEMORY_FRAMES
from edgecap_train.teachers.tagger import Tags
from edgecap_train.teachers.teacher import Teacher
from edgecap_train.text.captions import build_vocabulary, tokenize

log = logging.getLogger(__name__)
SECONDS = 10.0
SHORTEST_SECONDS = 1.0
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
INDEX = "index.json"


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
class Answer:
    """What a teacher says of one window."""

    frames: NDArray[np.float32]
    """(S, width)."""
    logits: NDArray[np.float32] | None
    """(527,), None where the teacher has no tags."""
    captions: tuple[str, ...]


def ask(teacher: Teacher, samples: Waveform, most: int) -> Answer:
    """Frames, tags and at most `most` captions of `samples` (n,) at the teacher's rate."""
    captions = teacher.captions(samples, most=most)
    tags: Callable[[Waveform], Tags] | None = getattr(teacher, "tags", None)
    if tags is None:
        return Answer(teacher.frames(samples), None, captions)
    heard = tags(samples)
    return Answer(heard.frames[0].cpu().numpy(), heard.logits[0].cpu().numpy(), captions)


def sound_files(folder: Path) -> list[str]:
    """Sound files below a folder, by name. Raises AudioError where there is none."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
    if not names:
        raise AudioError(f"{folder} holds no sound ({', '.join(sorted(SOUNDS))}); name a folder of recordings")
    return names


def pseudo_caption(
    teacher: Teacher, folder: Path, out: Path, recipe: PseudoRecipe, *, progress: Callable[[int, int], None]
) -> int:
    """Write `out/shards` and a `vocabulary.json` of their words; how many files were left out.

    `progress` is told (files done, files in all). Raises ConfigError where `out` was made by another teacher, by
    another recipe or of other files.
    """
    names, per_shard = sound_files(folder), recipe.per_shard
    about = {
        "teacher": teacher.name,
        "rate": recipe.rate,
        "captions": recipe.captions,
        "per_shard": per_shard,
        "files": names,
    }
    _check(out / INDEX, about)
    write_atomically(out / INDEX, json.dumps(about | {"notes": teacher.notes}))
    for first in range(0, len(names), per_shard):
        shard = out / "shards" / f"{first // per_shard:04d}"
        if not shard.is_dir() and not shard.with_suffix(".empty").is_file():
            _write(teacher, folder, names[first : first + per_shard], shard, recipe)
        progress(min(first + per_shard, len(names)), len(names))
    texts: list[list[list[str]]] = []
    skipped = 0
    for path in sorted((out / "shards").iterdir()):
        if path.suffix == ".partial":
            continue
        clips = path if path.is_file() else path / "clips.json"
        skipped += sum("skipped" in clip for clip in json.loads(clips.read_text(encoding="utf-8")))
        texts += json.loads((path / "texts.json").read_text(encoding="utf-8")) if path.is_dir() else []
    words = build_vocabulary((tuple(caption) for captions in texts for caption in captions), 1)
    write_atomically(out / "vocabulary.json", json.dumps(words))
    return skipped


def windows(file: Path, rate: int) -> Iterator[tuple[float, Waveform]]:
    """First second and samples (n,) at `rate` of each window of a file. Raises AudioError where it cannot be read."""
    with AudioFile(file) as sound:
        blocks = resampled((to_mono(block) for block in sound.blocks()), sound.sample_rate, rate)
        length = round(SECONDS * rate)
        plan = WindowPlan(length=length, hop=length, shortest_tail=round(SHORTEST_SECONDS * rate))
        for window in plan.cut(blocks):
            yield window.start / rate, window.samples


def _check(path: Path, about: dict[str, Any]) -> None:
    """That a folder which was begun is gone on with as it was begun."""
    if not path.is_file():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key in about if before.get(key) != about[key]]
    if changed:
        raise ConfigError(f"{path.parent} was begun with other {', '.join(changed)}; name another folder")


def _write(teacher: Teacher, folder: Path, names: list[str], shard: Path, recipe: PseudoRecipe) -> None:
    """One shard; a note in its place where none of its files can be read."""
    rate = recipe.rate
    clips: list[dict[str, Any]] = []
    heard: list[tuple[Waveform, Answer]] = []
    for name in names:
        try:
            found = [
                (start, samples, ask(teacher, samples, recipe.captions))
                for start, samples in windows(folder / name, teacher.sample_rate)
            ]
        except AudioError as error:
            log.warning("left out: %s", error)
            clips.append({"file": name, "skipped": str(error)})
            continue
        for start, samples, answer in found:
            clips.append({"file": name, "start": start})
            heard.append((_at(samples, teacher.sample_rate, rate), answer))
    if not heard:
        write_atomically(shard.with_suffix(".empty"), json.dumps(clips))
        return
    partial = shard.with_name(shard.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed in it
    partial.mkdir(parents=True)
    for name, array in _arrays(heard, round(SECONDS * rate)).items():
        save_array(partial / f"{name}.npy", array)
    texts = [[tokenize(text) for text in answer.captions] for _, answer in heard]
    (partial / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    (partial / "clips.json").write_text(json.dumps(clips), encoding="utf-8")
    partial.replace(shard)


def _at(samples: Waveform, source: int, rate: int) -> Waveform:
    if source == 32_000:
        return to_student_rate(samples, rate)
    return np.concatenate(list(resampled([samples], source, rate)))


def _arrays(heard: list[tuple[Waveform, Answer]], length: int) -> dict[str, NDArray[np.generic]]:
    width = heard[0][1].frames.shape[1]
    audio = np.zeros((len(heard), length), np.int16)
    frames = np.zeros((len(heard), MEMORY_FRAMES, width), np.float16)
    logits = np.zeros((len(heard), CLASSES if heard[0][1].logits is not None else 0), np.float16)
    for row, (samples, answer) in enumerate(heard):
        kept = np.clip(samples[:length], -1, 1)
        audio[row, : kept.size] = (kept * 32_767).astype(np.int16)
        found = answer.frames[:MEMORY_FRAMES]
        frames[row, : len(found)] = found
        if answer.logits is not None:
            logits[row] = answer.logits
    lengths = np.array([min(samples.size, length) for samples, _ in heard])
    embeddings = np.stack([answer.frames.mean(0) for _, answer in heard]).astype(np.float16)
    return {"audio": audio, "frames": frames, "logits": logits, "lengths": lengths, "embeddings": embeddings}
