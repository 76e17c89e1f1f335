"""A bundle against its float32 original: same captions, same score, and how long each stage takes.

Both are loaded by the runtime as a device loads them and run on one thread, alternating in one process. Times are the
processor time of that thread, so that ratios hold on a busy machine too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecap.audio.frontend import log_mel
from edgecap.bundle.bundle import Bundle
from edgecap.captioner import Captioner
from edgecap.inference.session import open_session
from edgecap.types import Waveform

WARM_UP = 2


@dataclass(frozen=True)
class StageTime:
    """Median processor milliseconds of one stage before and after."""

    name: str
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """After divided by before."""
        return self.after / self.before


@dataclass(frozen=True)
class SoundCaption:
    """The best caption of one sound."""

    text: str
    tokens: tuple[int, ...]
    """Empty for silence."""


def captions_of(captioner: Captioner, sounds: Sequence[Waveform]) -> tuple[SoundCaption, ...]:
    """Caption each sound (n,), at the model's rate."""
    rate = captioner.manifest.front_end.sample_rate
    captions = [captioner.caption(sound, rate) for sound in sounds]
    return tuple(SoundCaption(caption.text, caption.beams[0].tokens if caption.beams else ()) for caption in captions)


def same(before: Sequence[object], after: Sequence[object]) -> float:
    """Share of the pairs that are equal."""
    return sum(a == b for a, b in zip(before, after, strict=True)) / len(before)


def compare_stages(before: Bundle, after: Bundle, sounds: Sequence[Waveform], rounds: int) -> tuple[StageTime, ...]:
    """Times of front end, encoder, search and the whole caption. Raises ValueError without sounds."""
    if not sounds:
        raise ValueError("times need at least one sound")
    stages = [_stages(bundle, sounds) for bundle in (before, after)]
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in stages[0]}
    for turn in range(-WARM_UP, rounds):
        for name in seconds:
            for index, stage in enumerate(stages):
                begin = time.thread_time()
                stage[name](turn % len(sounds))
                if turn >= 0:
                    seconds[name][index].append(time.thread_time() - begin)
    return tuple(
        StageTime(name, *(1e3 * statistics.median(sample) for sample in samples)) for name, samples in seconds.items()
    )


def _stages(bundle: Bundle, sounds: Sequence[Waveform]) -> dict[str, Callable[[int], object]]:
    session, manifest = open_session(bundle, 1), bundle.manifest
    captioner, rate = Captioner(bundle, session), manifest.front_end.sample_rate
    length = round(captioner.window * rate)
    clips = [sound[:length] for sound in sounds if sound.size >= length]
    if len(clips) < len(sounds):
        raise ValueError("times need sounds of a whole window")
    inside = manifest.encoder.input == "waveform"
    inputs = clips if inside else [log_mel(clip, manifest.front_end) for clip in clips]
    memory = manifest.encoder.memory_length(manifest.encoder.window_frames)
    encoded = [session.encode(sound, memory) for sound in inputs]
    beam = manifest.decoder.default_beam
    return {
        "front end": lambda number: None if inside else log_mel(clips[number], manifest.front_end),
        "encoder": lambda number: session.encode(inputs[number], memory),
        "search": lambda number: session.search(encoded[number], beam),
        "caption": lambda number: captioner.caption(clips[number], rate),
    }
