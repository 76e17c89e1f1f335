"""`edgecap teach NAME --listen`: examples from a real sound server."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from edgecap.sounds.store import SoundStore
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.teaching.taught_sounds import RATE, chime, rasp, shipped_captioner
from support.virtual_microphone import PATIENCE, until


def test_examples_are_recorded_one_by_one_from_the_microphone(microphone: VirtualMicrophone, tmp_path: Path) -> None:
    shipped_captioner()
    pause = np.zeros(2 * RATE, np.float32)
    soundfile.write(tmp_path / "bell.wav", np.concatenate([pause, chime(1), pause, chime(2), pause]), RATE)
    command = [sys.executable, "-m", "edgecap", "teach", "our doorbell", "--listen", "--examples", "2"]
    places = ["--sounds", str(tmp_path / "sounds"), "--false-alarms", "1/hour"]
    pipe = subprocess.PIPE
    teaching = subprocess.Popen(
        [*command, *places], env=microphone.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )
    until(teaching, "make the sound 2 times")
    playing = microphone.play(tmp_path / "bell.wav")
    stdout, stderr = teaching.communicate(timeout=PATIENCE)
    playing.wait(timeout=PATIENCE)
    assert (teaching.returncode, stdout) == (0, "our doorbell: learnt from 2 examples\n")
    assert [line.split(":")[2].strip() for line in stderr.splitlines() if "heard example" in line] == [
        "heard example 1",
        "heard example 2",
    ]
    assert all(3 <= len(frames) <= 8 for frames in SoundStore(tmp_path / "sounds").get("our doorbell").examples)


def test_the_user_drops_one(microphone: VirtualMicrophone, tmp_path: Path) -> None:
    shipped_captioner()
    room = np.zeros(RATE, np.float32)
    for name, sound in (("bell", chime(1)), ("cough", rasp())):
        soundfile.write(tmp_path / f"{name}.wav", np.concatenate([room, sound]), RATE)
    command = [sys.executable, "-m", "edgecap", "teach", "our doorbell", "--listen", "--examples", "2"]
    places = ["--sounds", str(tmp_path / "sounds"), "--false-alarms", "1/hour"]
    pipe, (keyboard, terminal) = subprocess.PIPE, pty.openpty()
    teaching = subprocess.Popen(
        [*command, *places], env=microphone.environment, stdin=terminal, stdout=pipe, stderr=pipe, text=True
    )
    os.close(terminal)
    with os.fdopen(keyboard, "wb", buffering=0) as keys:
        until(teaching, "make the sound 2 times")
        for name, answer, words in (("bell", b"\n", "kept"), ("cough", b"d\n", "dropped"), ("bell", b"\n", "")):
            microphone.play(tmp_path / f"{name}.wav")
            until(teaching, "heard example")
            keys.write(answer)
            if words:
                until(teaching, f"{words}; make the sound 1 more time")
        stdout, stderr = teaching.communicate(timeout=PATIENCE)
    assert (teaching.returncode, stdout) == (0, "our doorbell: learnt from 2 examples\n"), stderr
    (first, second) = SoundStore(tmp_path / "sounds").get("our doorbell").examples
    assert 3 <= len(first) <= 8
    assert 3 <= len(second) <= 8
