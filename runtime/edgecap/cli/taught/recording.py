"""Examples from the microphone, one after the other: `edgecap teach NAME --listen`."""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np

from edgecap.audio.captured import CapturedMicrophone
from edgecap.audio.microphone import find_device
from edgecap.audio.resample import resampled
from edgecap.audio.samples import loudest_level, to_mono
from edgecap.captioner import Captioner
from edgecap.cli.console import say
from edgecap.errors import AudioError, DeviceError
from edgecap.teaching.examples import SoundExample, example_of
from edgecap.teaching.onsets import OnsetCutter
from edgecap.util.limits import MOST_NOTES

PATIENCE = 120.0
"""Seconds without a sound after which it gives up."""
POLL_SECONDS = 0.1


def record_examples(captioner: Captioner, device: str | None, count: int) -> list[SoundExample]:
    """So many examples, each told when it was heard; at a terminal the user may drop one.

    Raises DeviceError, StuckDeviceError where the sound system hangs, and AudioError where nothing is heard for
    `PATIENCE` seconds.
    """
    examples = list[SoundExample]()
    with CapturedMicrophone(partial(find_device, device), captioner.window + 5.0) as microphone:
        microphone.opened()
        say("note", f"make the sound {count} times, with a pause between; listening to {microphone.device.name}")
        cutter = OnsetCutter(round(microphone.sample_rate))
        while len(examples) < count:
            example = _next(captioner, microphone, cutter, len(examples) + 1)
            kept = _kept()
            microphone.ring.read()  # what came while the user was asked
            if kept:
                examples.append(example)
            if left := count - len(examples):
                say("note", f"{'kept' if kept else 'dropped'}; make the sound {left} more time{'s' * (left > 1)}")
    return examples


def _next(captioner: Captioner, microphone: CapturedMicrophone, cutter: OnsetCutter, number: int) -> SoundExample:
    """The next sound that rises out of the room's level."""
    rate, last = captioner.manifest.front_end.sample_rate, time.monotonic()
    while time.monotonic() - last < PATIENCE:
        if not microphone.active:
            raise DeviceError(f"the microphone {microphone.device.name!r} was disconnected; type: edgecap devices")
        block, _ = microphone.ring.read()
        for sound in cutter.push(to_mono(block)) if len(block) else ():
            seconds, level = sound.size / microphone.sample_rate, loudest_level(sound, round(microphone.sample_rate))
            samples = np.concatenate(list(resampled([sound], microphone.sample_rate, rate)))
            try:
                example = example_of(captioner, samples, f"example {number}")
            except AudioError as error:
                say("warning", f"{error}; make the sound again")
                continue
            say("note", f"heard example {number}: {seconds:.1f} s, {level:.0f} dBFS")
            return example
        time.sleep(POLL_SECONDS)
    raise AudioError(
        f"no sound rose out of the room's level ({cutter.usual:.0f} dBFS) in {PATIENCE:.0f} s; come closer, "
        "or type: edgecap doctor"
    )


def _kept() -> bool:
    """Whether the user keeps an example; without a terminal all are kept."""
    if not sys.stdin.isatty():
        return True
    sys.stderr.write("keep it? Enter for yes, d to drop it: ")
    sys.stderr.flush()
    return not sys.stdin.readline(MOST_NOTES).strip().lower().startswith("d")
