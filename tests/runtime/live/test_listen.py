"""Listening to a microphone: the ring and the loop by themselves, then all of it on a real PulseAudio."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.audio.microphone import Ring
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.signals import tone
from support.virtual_microphone import listen, next_event, until

Run = Callable[..., subprocess.CompletedProcess[str]]


def ramp(start: int, size: int, channels: int = 2) -> np.ndarray:
    return np.repeat(np.arange(start, start + size, dtype=np.float32)[:, None], channels, axis=1)


def test_a_ring_gives_back_what_was_written_in_order() -> None:
    ring, position = Ring(100, 2), 0
    for size in (30, 50, 70, 1, 99, 100, 0, 64):
        ring.write(ramp(position, size))
        block, lost = ring.read()
        assert lost == 0
        assert np.array_equal(block, ramp(position, size))
        position += size
    assert ring.dropped == 0


def test_a_full_ring_keeps_the_newest_and_counts_what_it_lost() -> None:
    ring = Ring(100, 1)
    ring.write(ramp(0, 80, 1))
    ring.write(ramp(80, 90, 1))
    block, lost = ring.read()
    assert lost == 70
    assert np.array_equal(block, ramp(70, 100, 1))
    ring.write(ramp(170, 1000, 1))
    assert np.array_equal(ring.read()[0], ramp(1070, 100, 1))
    assert ring.dropped == 970


def test_a_ring_may_be_written_and_read_at_once() -> None:
    ring, written = Ring(5_000, 1), 200_000

    def write() -> None:
        for at in range(0, written, 64):
            ring.write(ramp(at, 64, 1))

    writer = threading.Thread(target=write)
    writer.start()
    position = 0
    while writer.is_alive() or position < written:
        block, lost = ring.read()
        position += lost
        assert np.array_equal(block, ramp(position, len(block), 1))
        position += len(block)
    writer.join()
    assert position == written


def test_devices_lists_the_microphone(microphone: VirtualMicrophone, edgecap: Run) -> None:
    devices = [
        json.loads(line) for line in edgecap("devices", "--json", env=microphone.environment).stdout.splitlines()
    ]
    (default,) = (device for device in devices if device["default"])
    assert default["name"] == "default"
    assert default["channels"] >= 1
    assert default["sample_rate"] >= 16_000
    lines = edgecap("devices", env=microphone.environment).stdout.splitlines()
    assert lines[0].split() == ["NUMBER", "NAME", "CHANNELS", "RATE", "SYSTEM"]
    assert any(line.startswith(f"{default['index']} *") for line in lines)


def test_what_is_played_comes_through_the_microphone(microphone: VirtualMicrophone, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(20, 48_000), 48_000)
    script = """
import time, numpy
from functools import partial
from edgecap.audio.captured import CapturedMicrophone
from edgecap.audio.microphone import find_device
with CapturedMicrophone(partial(find_device, "default"), ring_seconds=20.0) as microphone:
    microphone.opened()
    sound = numpy.empty((0, microphone.ring.read()[0].shape[1]), numpy.float32)
    while len(sound) < 2 * microphone.sample_rate:
        time.sleep(0.1)
        sound = numpy.concatenate((sound, microphone.ring.read()[0]))
    spectrum = numpy.abs(numpy.fft.rfft(sound[:, 0]))
    print(round(spectrum.argmax() * microphone.sample_rate / len(sound)), microphone.ring.dropped)
"""
    microphone.play(tmp_path / "tone.wav")
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=microphone.environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["440", "0"]


def test_a_microphone_is_captioned_each_hop(microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path) -> None:
    microphone.play(long_noise)
    listening = listen(
        microphone, tiny_folder, "--json", "--updates", "--settle", 0, "--hop", 0.5, "--window", 1, "--duration", 4
    )
    out, error = listening.communicate(timeout=60)
    assert listening.returncode == 0, error
    lines = [json.loads(line) for line in out.splitlines()]
    captions = [line for line in lines if line["kind"] != "end"]
    assert 3 <= len(captions) <= 9  # the gate may open within a hop, and a busy machine leaves hops out
    assert lines[0]["kind"] == "begin"
    assert lines[-1]["kind"] == "end"
    assert lines[-1]["end"] == pytest.approx(4.0, abs=0.5)
    assert not lines[-1]["open"]
    assert lines[-1]["text"]
    assert lines[0]["source"] == "default"
    third_of_the_band = 10 * np.log10(16 / 48)  # white noise of -20 dBFS at 48 kHz, heard at 16 kHz
    assert lines[-1]["level_dbfs"] == pytest.approx(-20.0 + third_of_the_band, abs=1.0)
    assert ", 0.0 s of sound dropped" in error


def test_silence_gives_no_events_and_does_not_run_the_model(microphone: VirtualMicrophone, tiny_folder: Path) -> None:
    listening = listen(microphone, tiny_folder, "--hop", 0.5, "--duration", 1)
    out, error = listening.communicate(timeout=60)
    assert out == ""
    assert "stopped after 0 events, 0 captions, 2 hops quiet" in error


def test_a_device_that_gives_sound_faster_than_time_is_no_microphone(
    microphone: VirtualMicrophone, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / ".asoundrc").write_text("pcm.!default { type null }\nctl.!default { type null }\n")
    microphone.environment.update(HOME=str(tmp_path), PULSE_SERVER="unix:/nowhere")
    listening = listen(microphone, tiny_folder, "--hop", 0.5, "--json", "--min-score", -99)
    until(listening, "'default' gives sound faster than time, so it is none, and nothing of it is heard")
    listening.terminate()
    out, error = listening.communicate(timeout=60)
    assert (listening.returncode, out) == (0, "")
    assert "0.0 s of sound dropped" in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_closes_the_open_event(
    microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path, number: signal.Signals
) -> None:
    microphone.play(long_noise)
    listening = listen(microphone, tiny_folder, "--hop", 0.5, "--json")
    next_event(listening)
    listening.send_signal(number)
    out, error = listening.communicate(timeout=30)
    assert listening.returncode == 0
    assert json.loads(out.splitlines()[-1])["kind"] == "end"
    assert "stopped after 1 events" in error
    assert "Traceback" not in error


def test_a_microphone_unplugged_is_waited_for_and_heard_again(
    microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path
) -> None:
    listening = listen(microphone, tiny_folder, "--hop", 0.5, "--json")
    until(listening, "listening to default")
    microphone.unplug()
    lines = until(listening, "warning: the microphone 'default' gives no more sound; waiting for it to come back")
    assert [line for line in lines.splitlines() if not line.startswith("edgecap: ")] == []  # no word of PortAudio's
    time.sleep(1.5)
    assert listening.poll() is None
    microphone.plug_in()
    until(listening, "note: the microphone 'default' is there; listening at")
    microphone.play(long_noise)
    next_event(listening)
    listening.terminate()
    listening.communicate(timeout=30)
    assert listening.returncode == 0


def test_a_microphone_that_is_not_there_yet_is_waited_for(
    microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path
) -> None:
    microphone.unplug()
    listening = listen(microphone, tiny_folder, "--wait", "--device", "default", "--hop", 0.5, "--json")
    until(listening, "waiting for it")
    microphone.plug_in()
    until(listening, "note: the microphone 'default' is there")
    microphone.play(long_noise)
    next_event(listening)
    listening.terminate()
    listening.communicate(timeout=30)
    assert listening.returncode == 0


@pytest.mark.parametrize(("device", "code"), [("default", 0), ("DEFAU", 0), ("nothing like this", 6), ("999", 6)])
def test_a_microphone_is_chosen_by_name_or_a_part_of_it(
    microphone: VirtualMicrophone, tiny_folder: Path, device: str, code: int
) -> None:
    listening = listen(microphone, tiny_folder, "--hop", 0.5, "--duration", 0.5, "--device", device)
    _, error = listening.communicate(timeout=60)
    assert listening.returncode == code
    assert ("no microphone is called" in error) == (code == 6)


def test_a_microphone_is_chosen_by_number(microphone: VirtualMicrophone, tiny_folder: Path, edgecap: Run) -> None:
    devices = [
        json.loads(line) for line in edgecap("devices", "--json", env=microphone.environment).stdout.splitlines()
    ]
    (number,) = (device["index"] for device in devices if device["name"] == "default")
    listening = listen(microphone, tiny_folder, "--hop", 0.5, "--duration", 0.5, "--device", number)
    assert "listening to default" in listening.communicate(timeout=60)[1]
    assert listening.returncode == 0


def test_a_machine_without_a_microphone_says_so(microphone: VirtualMicrophone, tiny_folder: Path) -> None:
    (Path(microphone.environment["HOME"]) / ".asoundrc").unlink()
    microphone.environment["PULSE_SERVER"] = "unix:/nowhere"
    listening = listen(microphone, tiny_folder)
    _, error = listening.communicate(timeout=60)
    assert listening.returncode == 6
    assert [line for line in error.splitlines() if line.startswith("edgecap: error: ")] == error.splitlines()


@pytest.mark.parametrize("arguments", [["--hop", "0"], ["--window", "99"], ["--hop", "often"]])
def test_a_wrong_hop_or_window_is_a_wrong_command_line(edgecap: Run, tiny_folder: Path, arguments: list[str]) -> None:
    assert edgecap("listen", "--model", tiny_folder, *arguments).returncode == 2
