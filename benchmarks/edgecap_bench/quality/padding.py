"""How often padding a short clip to the graphs' window changes its caption.

The PyTorch student takes a clip at its own length; the graphs take a window of 10 s whose end is the
front end's silence, with the memory masked behind the clip. The convolutions still see a little of that
silence, and squeeze-excite averages over all of it. This compares the two captions, both in PyTorch, for
clips cut to several lengths, and for the alternative of repeating the clip until the window is full:

    python -m edgecap_bench.quality.padding CHECKPOINT --clips FOLDER [--vocabulary PATH] [--most 100]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from torch.nn import functional

from edgecap.audio.file import SOUND_SUFFIXES, decode
from edgecap.audio.samples import loudest_level
from edgecap.cli.console import say, table, write
from edgecap.errors import AudioError
from edgecap.types import Waveform
from edgecap.util.files import to_json
from edgecap_bench.reports import output
from edgecap_export.bundle.bundles import WINDOW_SECONDS
from edgecap_train.checkpoints.checkpoint import load_checkpoint
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.search import search
from edgecap_train.models.student import Student

Tokens = tuple[int, ...]
Padding = Literal["silence", "repeat"]
PADDINGS: tuple[Padding, ...] = ("silence", "repeat")
SECONDS = (2.0, 3.0, 4.0, 6.0, 8.0)
SILENT_DBFS = -65.0
"""Excerpts that the runtime would not caption are left out."""


@dataclass(frozen=True)
class PaddingEffect:
    """What one way of padding does to the captions of clips of one length."""

    seconds: float
    padding: Padding
    clips: int
    changed: int
    """Clips whose best caption has other words or another order."""
    other_words: float
    """Mean part of the words that differ (multisets, 0 to 1), over all clips."""


def padding_effects(
    student: Student, clips: Sequence[Waveform], seconds: float, *, beam: int = 3
) -> tuple[PaddingEffect, ...]:
    """Caption every clip at its own length and padded to the window; clips at the student's sample rate."""
    captions = [_captions(student, clip, beam) for clip in clips]
    effects = []
    for padding in PADDINGS:
        words = [_other_words(alone, padded[padding]) for alone, padded in captions]
        changed = sum(alone != padded[padding] for alone, padded in captions)
        effects.append(PaddingEffect(seconds, padding, len(clips), changed, sum(words) / max(len(words), 1)))
    return tuple(effects)


def excerpts(paths: Sequence[Path], seconds: float, rate: int) -> Iterator[Waveform]:
    """The loudest `seconds` of each file that has as many and is not silent, mono at `rate`."""
    size = round(seconds * rate)
    for path in paths:
        try:
            samples = decode(path, rate)
        except AudioError as error:
            say("warning", f"skipped: {error}")
            continue
        if samples.size < size:
            continue
        energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
        start = int(np.argmax(energy[size:] - energy[:-size]))
        excerpt = samples[start : start + size]
        if loudest_level(excerpt, rate) >= SILENT_DBFS:
            yield excerpt


def _captions(student: Student, clip: Waveform, beam: int) -> tuple[Tokens, dict[Padding, Tokens]]:
    """Tokens of the best caption at the clip's own length, and for each way of padding."""
    front_end = student.config.front_end
    window = front_end.frames(round(WINDOW_SECONDS * front_end.sample_rate))
    with torch.inference_mode():
        log_mel = LogMelLayer(front_end)(torch.from_numpy(clip)[None])
        frames = log_mel.shape[2]
        length = student.memory_length(torch.tensor([frames]))
        padded: dict[Padding, torch.Tensor] = {
            "silence": functional.pad(log_mel, (0, window - frames), value=front_end.silence),
            "repeat": log_mel[:, :, torch.arange(window) % frames],
        }
        alone = search(student, student.encode(log_mel), length, beam=beam)[0].tokens
        by_padding = {way: search(student, student.encode(x), length, beam=beam)[0].tokens for way, x in padded.items()}
    return alone, by_padding


def _other_words(one: Tokens, other: Tokens) -> float:
    shared = sum((Counter(one) & Counter(other)).values())
    return 1.0 - 2.0 * shared / (len(one) + len(other))


def main(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, published or ours.")],
    clips: Annotated[Path, typer.Option("--clips", help="Folder of sounds, searched with its subfolders.")],
    *,
    vocabulary: Annotated[Path | None, typer.Option("--vocabulary", help="As edgecap import takes it.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Most files to use, spread over the folder.")] = 100,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print how often padding to the window changes the caption, for several lengths."""
    student = load_checkpoint(checkpoint, vocabulary).student
    paths = sorted(path for path in clips.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES)
    paths = paths[:: max(1, len(paths) // most)][:most]
    rows = []
    for seconds in SECONDS:
        cut = list(excerpts(paths, seconds, student.config.front_end.sample_rate))
        for effect in padding_effects(student, cut, seconds):
            if json:
                write(to_json(asdict(effect)))
            numbers = [str(effect.clips), str(effect.changed), f"{effect.other_words:.3f}"]
            rows.append([f"{seconds:g}", effect.padding, *numbers])
    if not json:
        for line in table(["seconds", "padding", "clips", "changed", "other words"], rows):
            write(line)


if __name__ == "__main__":
    torch.set_num_threads(1)
    output.run_command(main)
