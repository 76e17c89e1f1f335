"""Recall of taught sounds at one false alarm an hour: `python -m edgecap_bench.sounds.recall --audio POOL …`.

Classes are taught with 1 and with 5 clips, and looked for in the clips of the same class that come from other
recordings. Unrelated sound is all clips of the pools that the bank was not made from (their licence is not free, or
they lie in the second pool) and that share no word with the class. Single sources of mechanical and electronic signals
are taught and looked for as simulated recordings in other rooms. Beside it: cosine to the mean of the clip embeddings.
Last, what teaching five files and matching fifty sounds costs, in processor time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from zlib import crc32

import numpy as np
import typer
from numpy.typing import NDArray

from edgecap.audio.file import decode
from edgecap.captioner import Captioner
from edgecap.sounds.bank import Bank, frame_embeddings, load_bank, unit
from edgecap.sounds.detector import Detector, stretches_of
from edgecap.sounds.matcher import SoundMatcher
from edgecap.sounds.sound import Frames
from edgecap.teaching.examples import example_of
from edgecap.teaching.learn import learn
from edgecap.types import Waveform
from edgecap_bench.sounds.make_bank import is_free
from edgecap_bench.sounds.pool import LicensedClip, Pools, packed_windows, read_pool
from edgecap_bench.sounds.related import SIGNALS, related
from edgecap_bench.sounds.renders import among, recorded_again

TRIALS = 3
"""Draws of examples for each class."""
MATCHED = 50
RENDERS = 5
"""Simulated recordings of a source to learn from, and as many to find."""


@dataclass(frozen=True, eq=False)
class EmbeddedSound:
    """A window or an example, embedded."""

    frames: Frames
    clip: NDArray[np.float32]
    """LicensedClip embedding, length 1."""
    labels: tuple[str, ...] = ()
    """Labels of what it was made of."""


@dataclass(frozen=True)
class RecallTask:
    """A sound to teach and to find."""

    label: str
    examples: tuple[EmbeddedSound, ...]
    tests: tuple[EmbeddedSound, ...]


class RecallMeasurement:
    """Recalls of tasks against the same unrelated sound."""

    def __init__(self, bank: Bank, unrelated: Sequence[EmbeddedSound]) -> None:
        self._bank, self._unrelated = bank, unrelated
        frames = unrelated[0].frames.shape[0]
        self.hours = len(unrelated) * frames * bank.seconds_per_frame / 3_600.0
        projected = bank.project(np.concatenate([window.frames for window in unrelated]))
        self._stretches = stretches_of(projected.reshape(len(unrelated), frames, -1))

    def row(self, name: str, tasks: Sequence[RecallTask]) -> str:
        """A line: recall at one measured false alarm an hour, at the bank's threshold, and the baseline's."""
        results = np.array([self._recalls(task) for task in tasks if task.tests])
        frames, bank, alarms, baseline = results.mean(axis=0)
        return f"{name:<44} {len(results):>5} {frames:>8.1%} {bank:>8.1%} {alarms:>9.2f} {baseline:>8.1%}"

    def _recalls(self, task: RecallTask) -> tuple[float, float, float, float]:
        detector = Detector([example.frames for example in task.examples], (), self._bank)
        centre = unit(np.mean([example.clip for example in task.examples], axis=0))
        other = np.array([not related(task.label, window.labels) for window in self._unrelated])
        hours = self.hours * float(other.mean())
        wrong = detector.highest(self._stretches)[other]
        right = np.array([detector.best(test.frames).score for test in task.tests])
        threshold = detector.threshold(1.0)
        plain_wrong = np.array([window.clip @ centre for window in self._unrelated])[other]
        plain_right = np.array([test.clip @ centre for test in task.tests])
        return (
            float((right > _at_rate(wrong, hours)).mean()),
            float((right >= threshold).mean()),
            float((wrong >= threshold).sum()) / hours,
            float((plain_right > _at_rate(plain_wrong, hours)).mean()),
        )


def main(
    audio: Pools,
    hours: Annotated[float, typer.Option(min=0.1, help="Hours of unrelated sound.")] = 10.0,
    signals: Annotated[bool, typer.Option("--signals", help="Only single sources, recorded again.")] = False,
    model: Annotated[str | None, typer.Option("--model")] = None,
) -> None:
    """Print recall at one false alarm an hour, of classes and of single sources."""
    captioner = Captioner.load(model)
    bank, rate = load_bank(captioner.bundle), captioner.manifest.front_end.sample_rate
    clips = read_pool(audio, seed=1)
    length = int(captioner.window / bank.seconds_per_frame) * round(bank.seconds_per_frame * rate)
    classes = {name: [clip for clip in clips if class_of(clip) and clip.set == name] for name in ("esc50", "kitchen20")}
    tested = {clip.path for group in classes.values() for clip in group}
    banked = {clip.path for clip in clips if is_free(clip) and clip.path.is_relative_to(audio[0])}
    others = [clip for clip in clips if clip.path not in tested | banked]
    unrelated, backgrounds = list[EmbeddedSound](), list[Waveform]()
    for window in packed_windows(others, rate, length):
        labels = tuple(f"{clip.label} {clip.path.name}" for clip in window.clips)
        unrelated.append(_heard(captioner, window.samples, labels))
        backgrounds += [window.samples] if len(backgrounds) < 50 else []
        if len(unrelated) * captioner.window >= hours * 3_600.0:
            break
    measurement = RecallMeasurement(bank, unrelated)
    typer.echo(f"{measurement.hours:.1f} h of unrelated sound, of {len(others)} clips that the bank does not hold")
    typer.echo(f"{'':<44} {'TASKS':>5} {'AT 1/H':>8} {'BANK':>8} {'ALARMS/H':>9} {'BASELINE':>8}")
    for name, group in classes.items() if not signals else ():
        if not group:
            continue
        examples = [(clip, _example(captioner, clip)) for clip in group]
        alone = [_heard(captioner, decode(clip.path, rate, 10.0)) for clip in group]
        inside = [_among(captioner, clip, backgrounds) for clip in group]
        for place, windows in (("alone", alone), ("in other sound", inside)):
            heard = [(*pair, window) for pair, window in zip(examples, windows, strict=True)]
            for count in (1, 5):
                typer.echo(measurement.row(f"{name} {place}, {count} example(s)", _class_tasks(heard, count)))
    sources = [clip for clip in classes["esc50"] if class_of(clip) in SIGNALS]
    renders = [(clip, _renders(captioner, clip, backgrounds)) for clip in sources]
    for count in (1, RENDERS) if sources else ():
        tasks = [RecallTask(class_of(clip), tuple(r[:count]), tuple(r[RENDERS:])) for clip, r in renders]
        typer.echo(measurement.row(f"signals recorded again, {count} example(s)", tasks))
    typer.echo(_costs(captioner, bank, backgrounds[:5]))


def class_of(clip: LicensedClip) -> str:
    """The class of a clip that is held out: ESC-50's fifth fold, and kitchen20; "" for any other."""
    if clip.set == "esc50" and clip.origin.endswith("fold=5"):
        return re.sub(r"-5-.*", "", clip.path.stem).replace("-", "_")
    match = re.search(r"-(\d+)$", clip.label) if clip.set == "kitchen20" else None
    return f"kitchen {match[1]}" if match else ""


def _recording_of(clip: LicensedClip) -> str:
    """What tells recordings apart: the number that Freesound gave it."""
    match = re.search(r"\d-(\d{4,})", clip.origin if clip.set == "esc50" else clip.label)
    return match[1] if match else clip.label


def _class_tasks(heard: Sequence[tuple[LicensedClip, EmbeddedSound, EmbeddedSound]], count: int) -> list[RecallTask]:
    """`TRIALS` draws of examples for each class; tests are of other recordings."""
    random, tasks = np.random.default_rng(0), list[RecallTask]()
    for label in sorted({class_of(clip) for clip, _, _ in heard}):
        own = [entry for entry in heard if class_of(entry[0]) == label]
        for _ in range(TRIALS):
            order = random.permutation(len(own))
            chosen = [own[number] for number in order[:count]]
            taught = {_recording_of(clip) for clip, _, _ in chosen}
            tests = [own[number][2] for number in order[count:] if _recording_of(own[number][0]) not in taught]
            tasks.append(RecallTask(label, tuple(example for _, example, _ in chosen), tuple(tests)))
    return tasks


def _renders(captioner: Captioner, clip: LicensedClip, backgrounds: Sequence[Waveform]) -> list[EmbeddedSound]:
    """Recordings to learn from, the sound alone in its room; then those to find, in ten seconds of other sound."""
    rate, random = captioner.manifest.front_end.sample_rate, np.random.default_rng(crc32(clip.path.name.encode()))
    sound = decode(clip.path, rate, 5.0)
    numbers = random.choice(len(backgrounds), 2 * RENDERS, replace=len(backgrounds) < 2 * RENDERS)
    again = [recorded_again(sound, backgrounds[number], rate, random) for number in numbers]
    return [
        *(_example_of(captioner, samples, clip) for samples in again[:RENDERS]),
        *(_heard(captioner, samples) for samples in again[RENDERS:]),
    ]


def _among(captioner: Captioner, clip: LicensedClip, backgrounds: Sequence[Waveform]) -> EmbeddedSound:
    """A clip somewhere in ten seconds of other sound."""
    rate, random = captioner.manifest.front_end.sample_rate, np.random.default_rng(crc32(clip.path.name.encode()))
    background = backgrounds[int(random.integers(len(backgrounds)))]
    return _heard(captioner, among(decode(clip.path, rate, 10.0), background, rate, random))


def _costs(captioner: Captioner, bank: Bank, sounds: Sequence[Waveform]) -> str:
    """Processor time of teaching these sounds and of matching fifty."""
    began = time.process_time()
    examples = [example_of(captioner, sound, "a sound") for sound in sounds]
    learnt = learn("a sound", examples, (), bank, false_alarms=1.0, strict=False).sound
    taught = time.process_time() - began
    matcher = SoundMatcher([learnt] * MATCHED, bank)
    window = bank.mean + np.zeros((bank.windows.shape[1], 1), np.float32)
    began = time.process_time()
    for _ in range(MATCHED):
        matcher.match(window)
    each = (time.process_time() - began) / MATCHED
    return f"teaching {len(sounds)} sounds: {taught:.2f} s; matching {MATCHED} in a window: {1000 * each:.2f} ms"


def _example(captioner: Captioner, clip: LicensedClip) -> EmbeddedSound:
    return _example_of(captioner, decode(clip.path, captioner.manifest.front_end.sample_rate, 10.0), clip)


def _example_of(captioner: Captioner, samples: Waveform, clip: LicensedClip) -> EmbeddedSound:
    """As teaching takes it: cut to where it sounds."""
    plain = _heard(captioner, samples)
    return EmbeddedSound(example_of(captioner, samples, clip.path.name).frames, plain.clip)


def _heard(captioner: Captioner, samples: Waveform, labels: tuple[str, ...] = ()) -> EmbeddedSound:
    encoded = captioner.encode_samples(samples)
    return EmbeddedSound(frame_embeddings(encoded), unit(encoded.clip_embedding), labels)


def _at_rate(scores: NDArray[np.float64], hours: float) -> float:
    """The threshold above which so many scores lie as there are hours."""
    return float(np.sort(scores)[-1 - min(len(scores) - 1, int(hours))])


if __name__ == "__main__":
    typer.run(main)
