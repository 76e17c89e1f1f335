"""Ten-second scenes: clips of the pool placed, mixed and roughened into something like a recording.

Four ways to make one: from a human caption (a clip for each of its labels, so that the caption fits),
from classes drawn evenly (so that rare sounds occur), from two parts, one after the other (so
that "followed by" is exact), and a stretch of a long clip as it is.
Nothing here runs a network: tag scores of the pool's clips come in as a
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

from edgecap.types import Waveform
from edgecap_train.data.pool import SAMPLE_RATE, Pool
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.handwritten_captions import SOUNDS
from edgecap_train.text.lexicon import BROAD

SEQUENCE_WORDS = frozenset({"followed", "then", "before", "after"})


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """How scenes are drawn. Shares and chances are in [0, 1], levels in decibels."""

    seconds: float = 10.0
    from_caption: float = 0.5
    """Share of scenes made for a human caption, which is theirs where the tagger hears all that it claims."""
    rarity: float = 0.2
    """A caption is drawn in proportion to (captions that have its rarest label) to minus this power: with 0 scenes are
    about what people write about, two thirds of it somebody speaking; with 1 about every class alike."""
    recordings: float = 0.3
    """Share that is a stretch of one clip as it is; half of them of `WILD_SETS`, the others of classes drawn evenly."""
    concatenated: float = 0.06
    """Share made of two parts, one after the other."""
    everyday: float = 0.2
    """Share, of the scenes of no other kind, with one or two of the sounds of
    `edgecap_train.text.handwritten_captions`."""
    noise_only: float = 0.02
    """Share with nothing but synthetic noise or near silence."""
    shortened: float = 0.12
    """Share cut to a random length of at least two seconds."""
    least_score: float = 0.25
    """A pool clip stands for a class from this score on (or among the class's best ten above a third of it)."""
    ambience: float = 0.2
    """Chance of a quiet ambience below the scene."""
    bed: float = 0.2
    """Chance of a street, a kitchen, a crowd below the events, `bed_level` decibels below them."""
    bed_level: tuple[float, float] = (0.0, 20.0)
    hiss: float = 0.35
    """Chance of recording noise below the scene."""
    reverb: float = 0.25
    band_limit: float = 0.25
    loudest: float = -3.0
    """Loudest 100 ms RMS level a scene may get, dBFS."""
    quietest: float = -45.0


@dataclass(frozen=True)
class Scene:
    """One composed scene."""

    samples: Waveform
    """(n,) at 32 kHz."""
    caption: int
    """Index of the human caption it was made for, or -1."""
    parts: tuple[Waveform, Waveform] | None
    """The two parts of a concatenation, each at 32 kHz, else None."""


class SceneMaker:
    """Draws scenes; the same seed draws the same ones."""

    def __init__(  # noqa: PLR0917
        self,
        pool: Pool,
        scores: NDArray[np.float32],
        classes: list[str],
        captions: list[LabelledCaption],
        config: SceneConfig,
        seed: int,
        wild: frozenset[str] = frozenset(),
    ) -> None:
        """`scores` (clips, classes): the tagger's sigmoids for every clip of the pool.

        `wild`: sets of the pool besides `WILD_SETS` that were recorded where the sound was.
        """
        self.pool, self.config, self.captions = pool, config, captions
        self.rng = np.random.default_rng(seed)
        self._length = int(config.seconds * SAMPLE_RATE)
        self._heard = scores >= config.least_score
        self._class = {name: index for index, name in enumerate(classes)}
        self._candidates = [self._stand_for(scores[:, index]) for index in range(len(classes))]
        narrow = [index for name, index in self._class.items() if name not in BROAD and self._candidates[index].size]
        self._narrow = np.array(narrow)
        plain = {self._class[name] for *_, names in SOUNDS for name in names[:1] if name in self._class}
        self._everyday = np.array(sorted(plain & set(narrow)), np.int64)
        self._ambience = self._of_sets(AMBIENCE_SETS)
        self._wild = self._of_sets(WILD_SETS | wild)
        self._chance = _caption_chance(captions, config.rarity)

    def draw(self) -> Scene:
        """The next scene."""
        config, kind = self.config, self.rng.random()
        caption, parts = -1, None
        if kind < config.noise_only:
            samples = self._noise(self._length)
        elif kind < config.noise_only + config.concatenated:
            cut = int(self._length * self.rng.uniform(0.35, 0.65))
            first, second = (self._mix(self._events(1), length) for length in (cut, self._length - cut))
            parts = (self._finish(first), self._finish(second))
            samples = np.concatenate(parts)
        elif kind < config.noise_only + config.concatenated + config.recordings:
            samples = self._recording()
        elif kind < config.noise_only + config.concatenated + config.recordings + config.from_caption:
            caption, events, sequential = self._caption_events()
            samples = self._sequence(events) if sequential else self._mix(events, self._length)
        elif self._everyday.size and self.rng.random() < config.everyday:
            samples = self._mix(self._events(int(self.rng.choice([1, 2], p=[0.8, 0.2])), self._everyday), self._length)
        else:
            samples = self._mix(self._events(int(self.rng.choice([1, 2, 3], p=[0.55, 0.35, 0.1]))), self._length)
        if parts is None and self.rng.random() < config.shortened:
            samples = samples[: int(self.rng.uniform(2.0, config.seconds) * SAMPLE_RATE)]
        return Scene(samples if parts else self._finish(samples), caption, parts)

    def _of_sets(self, names: frozenset[str]) -> NDArray[np.int64]:
        """Clips of the pool that belong to these sets."""
        return np.array([index for index, clip in enumerate(self.pool.clips) if clip.set in names], np.int64)

    def _recording(self) -> Waveform:
        """A stretch of at most the scene's length of one clip, nothing added."""
        for _ in range(TRIES):
            wild = self._wild.size and self.rng.random() < 0.5
            index = int(self.rng.choice(self._wild)) if wild else self._events(1)[0]
            if self.pool.clips[index].length >= LEAST_RECORDING * SAMPLE_RATE:
                break
        clip = self.pool.read(index)
        start = int(self.rng.integers(max(0, clip.size - self._length) + 1))
        return clip[start : start + self._length]

    def _stand_for(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Pool clips that stand for a class of these scores (clips,)."""
        best = np.argsort(-scores)[:10]
        enough = np.flatnonzero(scores >= self.config.least_score)
        return np.union1d(enough, best[scores[best] >= self.config.least_score / 3])

    def _events(self, count: int, among: NDArray[np.int64] | None = None) -> list[int]:
        """Clips of `count` classes drawn evenly, from all narrow ones where none are named."""
        among = self._narrow if among is None else among
        classes = self.rng.choice(among, min(count, among.size), replace=False)
        return [int(self.rng.choice(self._candidates[c])) for c in classes]

    def _caption_events(self) -> tuple[int, list[int], bool]:
        """A human caption, a clip for each of its (narrow) labels, and whether it describes a sequence."""
        while True:
            index = int(self.rng.choice(len(self.captions), p=self._chance))
            labels = [label for label in self.captions[index].labels if label in self._class]
            labels = [label for label in labels if label not in BROAD] or labels
            usable = [label for label in labels if self._candidates[self._class[label]].size]
            if not usable or len(usable) < len(labels):
                continue
            events = self._clips_of([self._class[label] for label in dict.fromkeys(usable)])
            self.rng.shuffle(events)
            sequential = len(events) > 1 and bool(SEQUENCE_WORDS & set(self.captions[index].words))
            return index, events, sequential

    def _clips_of(self, labels: list[int]) -> list[int]:
        """At most three clips in which the tagger hears all `labels`, those with the fewest clips first.

        One clip may stand for several: a man's speech is speech, and a second voice would not fit "a man speaks".
        """
        events: list[int] = []
        for label in sorted(labels, key=lambda label: self._candidates[label].size):
            if len(events) < MOST_EVENTS and not self._heard[events, label].any():
                events.append(int(self.rng.choice(self._candidates[label])))
        return events

    def _event(self, index: int, length: int) -> Waveform:
        """One clip fitted to `length`: cut where longer; repeated with pauses, or placed once, where shorter."""
        clip = self.pool.read(index)
        clip = clip / max(float(np.sqrt(np.mean(clip**2))), 1e-4) * 0.05
        if clip.size >= length:
            start = int(self.rng.integers(clip.size - length + 1))
            return np.asarray(clip[start : start + length])
        out = np.zeros(length, np.float32)
        if self.rng.random() < 0.6:
            pause, at = self.rng.exponential(0.5) * SAMPLE_RATE, 0
            while at < length:
                piece = clip[: length - at]
                out[at : at + piece.size] += piece * 10 ** (self.rng.uniform(-4, 0) / 20)
                at += clip.size + int(pause * self.rng.uniform(0.3, 1.5))
        else:
            at = int(self.rng.integers(length - clip.size + 1))
            out[at : at + clip.size] = clip
        return out

    def _mix(self, events: list[int], length: int) -> Waveform:
        mixed = np.zeros(length, np.float32)
        for event in events:
            mixed += self._event(event, length) * 10 ** (self.rng.uniform(-8, 2) / 20)
        return mixed

    def _sequence(self, events: list[int]) -> Waveform:
        cuts = np.sort(self.rng.uniform(0.15, 0.85, len(events) - 1)) * self._length
        edges = [0, *cuts.astype(int).tolist(), self._length]
        lengths = [max(1_600, after - before) for before, after in pairwise(edges)]
        return np.concatenate([self._mix([event], length) for event, length in zip(events, lengths, strict=True)])

    def _noise(self, length: int) -> Waveform:
        """White to brown noise, or a hum, (length,) float32 of RMS 0.05."""
        spectrum = np.fft.rfft(self.rng.standard_normal(length))
        frequency = np.maximum(np.arange(spectrum.size), 20.0)
        noise = np.fft.irfft(spectrum / frequency ** self.rng.uniform(0.0, 1.1), length)
        return np.asarray(noise / np.sqrt(np.mean(noise**2)) * 0.05, np.float32)

    def _finish(self, samples: Waveform) -> Waveform:
        """Ambience, hiss, room, band limits and level: what a real recording adds."""
        rng, config = self.rng, self.config
        if rng.random() < config.reverb:
            samples = self._reverberate(samples)
        if self._wild.size and rng.random() < config.bed:
            bed = self._event(int(rng.choice(self._wild)), samples.size)
            samples = _over_bed(samples, bed, rng.uniform(*config.bed_level))
        elif self._ambience.size and rng.random() < config.ambience:
            ambience = self._event(int(rng.choice(self._ambience)), samples.size)
            samples = samples + ambience * 10 ** (rng.uniform(-28, -12) / 20)
        if rng.random() < config.hiss:
            samples = samples + self._noise(samples.size) * 10 ** (rng.uniform(-35, -10) / 20)
        if rng.random() < config.band_limit:
            low, high = rng.uniform(40, 250), rng.uniform(3_000, 12_000)
            samples = sosfilt(butter(2, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), samples)
        block = SAMPLE_RATE // 10
        blocks = samples[: samples.size // block * block].reshape(-1, block)
        loudest = float(np.sqrt((blocks.astype(np.float64) ** 2).mean(1)).max())
        level = rng.triangular(config.quietest, -14.0, config.loudest)
        return np.asarray(np.clip(samples * (10 ** (level / 20) / max(loudest, 1e-6)), -1.0, 1.0), np.float32)

    def _reverberate(self, samples: Waveform) -> Waveform:
        """A synthetic room: noise that decays by 60 dB in 0.1 to 0.7 s, mixed with the dry sound."""
        decay = self.rng.uniform(0.1, 0.7)
        time = np.arange(int(decay * SAMPLE_RATE)) / SAMPLE_RATE
        room = self.rng.standard_normal(time.size) * 10 ** (-3.0 * time / decay)
        wet = fftconvolve(samples, room / np.sqrt(np.sum(room**2)))[: samples.size]
        return np.asarray(samples + wet * self.rng.uniform(0.2, 1.0), np.float32)


AMBIENCE_SETS = frozenset({"tau_urban", "moodist", "noisekun", "blanket"})
WILD_SETS = AMBIENCE_SETS | {
    *("ambient_apps", "animal_sounds", "baby_home", "car_vehicle", "city_berkeley", "city_taipei", "drone_field"),
    *("ethno_field", "fieldrec_basel", "fieldrec_garden", "fieldrec_towercity", "kitchen20", "maad", "misc_real"),
    *("scene_elements", "video_llm", "vgg_specvqgan", "vgg_specvqgan_web", "vgg_stav2a", "vgg_thinksound"),
}
"""Sets recorded where the sound was, with all that sounded besides."""
MOST_EVENTS = 3
TRIES, LEAST_RECORDING = 20, 3.0
"""Draws of a clip of at least so many seconds; the last one is taken as it is."""


def _over_bed(samples: Waveform, bed: Waveform, below: float) -> Waveform:
    """`samples` (n,) with `bed` (n,) so many decibels below their mean power."""
    scale = float(np.linalg.norm(samples)) / max(float(np.linalg.norm(bed)), 1e-9) * 10 ** (-below / 20)
    return np.asarray(samples + scale * bed, np.float32)


def _caption_chance(captions: list[LabelledCaption], rarity: float) -> NDArray[np.float64]:
    """Chance of each caption: less for those of which all labels are common, so that rare sounds are drawn."""
    counts: dict[str, int] = {}
    for caption in captions:
        for label in caption.labels:
            counts[label] = counts.get(label, 0) + 1
    rarest = np.array([min(counts[label] for label in caption.labels) for caption in captions], np.float64)
    chance = rarest**-rarity
    return np.asarray(chance / chance.sum())


def to_student_rate(samples: Waveform, rate: int) -> Waveform:
    """A scene at the student's sample rate."""
    return np.asarray(soxr.resample(samples, SAMPLE_RATE, rate, quality="HQ"), np.float32)
