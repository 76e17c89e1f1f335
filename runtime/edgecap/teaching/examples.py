"""Examples of a sound: read, checked, cut to where they sound, embedded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecap.audio.file import AudioFile
from edgecap.audio.resample import resampled
from edgecap.audio.samples import loudest_level, to_int16
from edgecap.captioner import Captioner
from edgecap.errors import AudioError
from edgecap.sounds.bank import frame_embeddings
from edgecap.sounds.sound import Frames
from edgecap.types import Waveform

LONGEST_SECONDS = 60.0
"""An example of a longer sound than this is a recording of something else as well."""
SHORTEST_SECONDS = 0.1
ACTIVE_DB = 30.0
"""Frames of an example count from the first to the last that is at most so far below the loudest one."""


@dataclass(frozen=True, eq=False)
class SoundExample:
    """One recording of a sound."""

    label: str
    """What it is called in messages: its file."""
    samples: Waveform
    """Mono at the model's rate, shape (n,): the window that was embedded."""
    rate: int
    """Samples per second."""
    frames: Frames
    """Frame embeddings of where it sounds."""

    def flac(self) -> bytes:
        """The recording as the bytes of a FLAC file of 16 bits."""
        import soundfile

        buffer = io.BytesIO()
        soundfile.write(buffer, to_int16(self.samples), self.rate, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()


def read_examples(captioner: Captioner, files: Sequence[str | Path]) -> list[SoundExample]:
    """The examples in sound files. Raises AudioError for one that cannot be used."""
    return [read_example(captioner, file) for file in files]


def example_of(captioner: Captioner, samples: Waveform, label: str) -> SoundExample:
    """The example in mono samples (n,) at the model's rate: its loudest window.

    Raises AudioError for a sound that is silent, too short or too long.
    """
    front_end, encoder = captioner.manifest.front_end, captioner.manifest.encoder
    rate = front_end.sample_rate
    if samples.size < SHORTEST_SECONDS * rate:
        raise AudioError(
            f"{label} has {samples.size / rate:.2f} s; an example needs {SHORTEST_SECONDS:g} s of the sound"
        )
    if samples.size > LONGEST_SECONDS * rate:
        raise AudioError(
            f"{label} has {samples.size / rate:.0f} s; an example has at most {LONGEST_SECONDS:g} s, "
            "so cut it to where the sound is"
        )
    level = loudest_level(samples, rate)
    if level < captioner.manifest.silence.threshold_dbfs:
        raise AudioError(f"{label} is silent ({level:.0f} dBFS), so there is nothing to learn; name another recording")
    samples = _loudest_window(samples, int(captioner.window * rate))
    frames = frame_embeddings(captioner.encode_samples(samples))
    first, last = _active(samples, encoder.frames_per_memory * front_end.hop_length, len(frames))
    return SoundExample(label, samples, rate, frames[first : last + 1])


def read_example(captioner: Captioner, file: str | Path, name: str | None = None) -> SoundExample:
    """The example in a sound file, called `name` in messages. Raises AudioError where it cannot be used."""
    rate = captioner.manifest.front_end.sample_rate
    with AudioFile(file, name=name) as sound:
        blocks, length = list[Waveform](), 0
        for block in resampled(sound.mono(), sound.sample_rate, rate):
            blocks.append(block)
            length += block.size
            if length > LONGEST_SECONDS * rate:
                break
        return example_of(captioner, np.concatenate(blocks), sound.name)


def _loudest_window(samples: Waveform, length: int) -> Waveform:
    """The stretch of `length` samples with the most energy."""
    if samples.size <= length:
        return samples
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return samples[start : start + length]


def _active(samples: Waveform, hop: int, frames: int) -> tuple[int, int]:
    """First and last of so many frames, each of `hop` samples, in which there is sound."""
    padded = np.pad(samples, (0, max(0, frames * hop - samples.size)))[: frames * hop]
    power = np.square(padded.reshape(frames, hop), dtype=np.float64).mean(axis=1)
    active = np.flatnonzero(power >= power.max() * 10.0 ** (-ACTIVE_DB / 10.0))
    return int(active[0]), int(active[-1])
