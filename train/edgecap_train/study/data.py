"""What the study learns from and is evaluated on: what the frozen trunk and the teacher make of scenes, computed once.

Folders of shards (see `edgecap_train.data.targets`). Each shard has `trunk.npy` (N, 512, T / 16, 4) float16, the
output of YAMNet's first blocks, beside the teacher's `frames`, `logits` and captions (`texts.json`) and, where a
label can be trusted, composed captions (`human.json`). "scarce" is made of a tenth of the trusted clips, "full" of
all, "audio_only" of the pool's other clips. What captions are judged on is in `edgecap_train.study.evaluation_sets`.
Every shard is made from its own seed, and complete shards are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgecap.errors import TrainingDataError
from edgecap.types import Waveform
from edgecap.util.progress import Progress
from edgecap_train.data.pool import SAMPLE_RATE, Pool, PoolClip, read_manifest
from edgecap_train.data.scenes import to_student_rate
from edgecap_train.data.shards import write_shard
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.yamnet import FRONT_END
from edgecap_train.teachers.tagger import Tagger
from edgecap_train.text import label_templates as trusted
from edgecap_train.text.label_templates import Sound, Words

SECONDS = 5.0
"""Length of a scene: that of ESC-50's clips."""
LEARNT = ("scarce", "full", "audio_only")
"""Kinds of scenes that rows learn from."""
KINDS = (*LEARNT, "judged")
SINGLE, AFTER = 0.5, 0.25
"""Shares of scenes with one sound and with two in a row; the rest has two at once."""
SCARCE = 10
"""One clip of so many is in the scarce set."""
PER_SHARD = 200


@dataclass(frozen=True)
class StudySources:
    """What scenes are made and captioned with."""

    pool: Pool
    judged: Pool
    """Of the clips that judged scenes are made of; it may be the same."""
    tagger: Tagger
    captions: Callable[[NDArray[np.float32]], Sequence[Words]]
    """The teacher's captions of tag scores, (527,) sigmoids, the best first."""
    trunk: nn.Module
    """YAMNet's first blocks, frozen: (B, 1, T, 64) → (B, 512, T / 16, 4)."""


@dataclass(frozen=True)
class StudyScene:
    """One composed scene."""

    samples: Waveform
    """(n,) at 32 kHz."""
    human: list[Words]
    """Composed captions; none for audio-only scenes."""


def shard_folder(out: Path, kind: str, number: int) -> Path:
    """The folder of one shard of a kind or of an evaluation set."""
    return out / kind / "shards" / f"{number:04d}"


def is_prepared(out: Path, sizes: dict[str, int]) -> bool:
    """Whether every shard of these kinds is there."""
    return all(
        shard_folder(out, kind, number).is_dir()
        for kind, size in sizes.items()
        for number in range(-(-size // PER_SHARD))
    )


def prepare_scenes(
    sources: StudySources,
    out: Path,
    sizes: dict[str, int],
    seed: int,
    *,
    held_out: frozenset[str] = frozenset(),
    progress: Progress,
) -> None:
    """Write the shards of each kind in `sizes`, scenes of each; `progress` counts them.

    No scene is made of the sets in `held_out`.
    """
    done, total = 0, sum(sizes.values())
    for kind, size in sizes.items():
        pool = sources.judged if kind == "judged" else sources.pool
        for number in range(-(-size // PER_SHARD)):
            count = min(PER_SHARD, size - number * PER_SHARD)
            scenes = scene_maker(pool, kind, np.random.default_rng((seed, KINDS.index(kind), number)), held_out)
            made = (next(scenes) for _ in range(count))
            write_scenes(sources, shard_folder(out, kind, number), made, SECONDS, captioned=kind in LEARNT)
            done += count
            progress(done, total, kind)


def trusted_clips(pool: Pool, *, held_out: bool, without: frozenset[str] = frozenset()) -> list[tuple[int, Sound]]:
    """Clips of the pool with a label to trust, by index: those for learning, or the held-out ones.

    None is of the sets named in `without`.
    """
    clips = [(index, clip) for index, clip in enumerate(pool.clips) if clip.set not in without]
    labelled = [(index, sound) for index, clip in clips if (sound := _sound(clip)) is not None]
    return [(index, sound) for index, sound in labelled if trusted.is_held_out(pool.clips[index].file) == held_out]


def judged_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a pool's manifest that judged scenes are made of. Raises TableError."""
    rows = [row for row in read_manifest(folder) if trusted.is_held_out(row["file"])]
    return [row for row in rows if trusted.sound_of(row["file"], row["set"], row["label"]) is not None]


def scene_maker(
    pool: Pool, kind: str, rng: np.random.Generator, held_out: frozenset[str] = frozenset()
) -> Iterator[StudyScene]:
    """Endless scenes of a kind, of no set in `held_out`. Raises TrainingDataError where the pool has no clip for it."""
    if kind == "audio_only":
        unheard = [(index, clip) for index, clip in enumerate(pool.clips) if clip.set not in held_out]
        others = [index for index, clip in unheard if _sound(clip) is None and not trusted.is_held_out(clip.file)]
        _need(others, kind)
        while True:
            chosen = rng.choice(others, 1 if rng.random() < 0.6 else 2)
            yield StudyScene(_mixed([_loudest(pool.read(int(index)), SECONDS, rng) for index in chosen], rng), [])
    clips = trusted_clips(pool, held_out=kind == "judged", without=held_out)
    if kind == "scarce":
        clips = _tenth(clips)
    _need(clips, kind)
    labels = sorted({sound.plain for _, sound in clips})
    by_label = {label: [clip for clip in clips if clip[1].plain == label] for label in labels}
    while True:
        picked = rng.choice(len(labels), 2, replace=False)
        (a, first), (b, second) = (
            by_label[labels[label]][rng.integers(len(by_label[labels[label]]))] for label in picked
        )
        form = rng.random()
        if form < SINGLE:
            yield StudyScene(_loudest(pool.read(a), SECONDS, rng), trusted.one(first))
        elif form < SINGLE + AFTER:
            halves = [_loudest(pool.read(index), SECONDS / 2, rng) for index in (a, b)]
            yield StudyScene(np.concatenate(halves), trusted.after(first, second))
        else:
            parts = [_loudest(pool.read(index), SECONDS, rng) for index in (a, b)]
            yield StudyScene(_mixed(parts, rng), trusted.together(first, second))


def _sound(clip: PoolClip) -> Sound | None:
    return trusted.sound_of(clip.file, clip.set, clip.label)


def _need(clips: Sequence[object], kind: str) -> None:
    if not clips:
        raise TrainingDataError(f"the pool has no clips for the study's {kind} scenes; name the complete pool")


def _tenth(clips: list[tuple[int, Sound]]) -> list[tuple[int, Sound]]:
    """Every tenth clip of each sound, one at least."""
    kept, seen = [], dict[str, int]()
    for clip in clips:
        seen[clip[1].plain] = seen.get(clip[1].plain, 0) + 1
        if seen[clip[1].plain] % SCARCE == 1:
            kept.append(clip)
    return kept


def _loudest(clip: Waveform, seconds: float, rng: np.random.Generator) -> Waveform:
    """The loudest part of a clip, (seconds x 32,000,), repeated where it is shorter, at -30 to -14 dBFS."""
    length = int(seconds * SAMPLE_RATE)
    clip = np.tile(clip, -(-length // max(1, clip.size)))
    energy = np.concatenate([[0.0], np.cumsum(clip.astype(np.float64) ** 2)])
    starts = np.arange(0, clip.size - length + 1, SAMPLE_RATE // 4)
    start = int(starts[(energy[starts + length] - energy[starts]).argmax()])
    part = clip[start : start + length]
    level = 10 ** (rng.uniform(-30.0, -14.0) / 20)
    return np.asarray(part * (level / max(float(np.sqrt(np.mean(part**2))), 1e-4)), np.float32)


def _mixed(parts: Sequence[Waveform], rng: np.random.Generator) -> Waveform:
    """Sounds at the same time, the second at most 6 dB from the first."""
    mixed = parts[0].copy()
    for part in parts[1:]:
        ratio = np.sqrt(np.mean(parts[0] ** 2) / max(float(np.mean(part**2)), 1e-12))
        mixed += part * ratio * 10 ** (rng.uniform(-6.0, 6.0) / 20)
    return mixed


@torch.inference_mode()
def write_scenes(
    sources: StudySources, folder: Path, scenes: Iterator[StudyScene], seconds: float, *, captioned: bool
) -> None:
    """Run the trunk and the tagger over scenes of `seconds` at most, and write their shard, unless it is there.

    `captioned`: the teacher's captions are part of it.
    """
    if folder.is_dir():
        return
    log_mel, rate = LogMelLayer(FRONT_END), FRONT_END.sample_rate
    arrays: dict[str, list[NDArray[np.generic]]] = {"trunk": [], "frames": [], "logits": [], "lengths": []}
    texts, human = [], []
    memory = FRONT_END.frames(int(seconds * rate)) // 32
    for scene in scenes:
        tags = sources.tagger(torch.from_numpy(scene.samples)[None])
        samples = torch.from_numpy(to_student_rate(scene.samples, rate))[: int(seconds * rate)]
        length = len(samples)
        samples = nn.functional.pad(samples, (0, int(seconds * rate) - length))
        spectrogram = log_mel(samples[None], torch.tensor([length])).transpose(1, 2)[:, None]
        arrays["trunk"].append(sources.trunk(spectrogram)[0].half().numpy())
        frames = np.zeros((memory, tags.frames.shape[2]), np.float16)
        kept = tags.frames[0, :memory].numpy()
        frames[: len(kept)] = kept
        arrays["frames"].append(frames)
        arrays["logits"].append(tags.logits[0].half().numpy())
        arrays["lengths"].append(np.asarray(FRONT_END.frames(length)))
        texts.append(sources.captions(torch.sigmoid(tags.logits[0]).numpy()) if captioned else [])
        human.append(scene.human)
    write_shard(folder, {name: np.stack(array) for name, array in arrays.items()}, {"texts": texts, "human": human})
