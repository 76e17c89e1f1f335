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
from support.room import Room, until
from support.signals import tone

Run = Callable[..., subprocess.CompletedProcess[str]]


def ramp(start: int, size: int, channels: int = 2) -> np.ndarray:
    return np.repeat(np.arange(start, start + size, dtype=np.float32)[:, None], channels, axis=1)


def test_a_ring_gives_back_what_was_written_in_order() -> None:
    ring, position = Ring(100, 2), 0
    for size in (30, 50, 70, 1, 99, 100, 0, 64):
        ring.write(ramp(position, size))
        found, lost = ring.read()
        assert lost == 0
        assert np.array_equal(found, ramp(position, size))
        position += size
    assert ring.dropped == 0


def test_a_full_ring_keeps_the_newest_and_counts_what_it_lost() -> None:
    ring = Ring(100, 1)
    ring.write(ramp(0, 80, 1))
    ring.write(ramp(80, 90, 1))
    found, lost = ring.read()
    assert lost == 70
    assert np.array_equal(found, ramp(70, 100, 1))
    ring.write(ramp(170, 1000, 1))
    assert np.array_equal(ring.read()[0], ramp(1070, 100, 1))
    assert ring.dropped == 970


def test_a_ring_may_be_written_and_read_at_once() -> None:
    ring, written = Ring(5_000, 1), 200_000
    writer = threading.Thread(target=lambda: [ring.write(ramp(at, 64, 1)) for at in range(0, written, 64)])
    writer.start()
    position = 0
    while writer.is_alive() or position < written:
        found, lost = ring.read()
        position += lost
        assert np.array_equal(found, ramp(position, len(found), 1))
        position += len(found)
    writer.join()
    assert position == written


def test_devices_lists_the_microphone(room: Room, edgecap: Run) -> None:
    found = [json.loads(line) for line in edgecap("devices", "--json", env=room.environment).stdout.splitlines()]
    (default,) = (device for device in found if device["default"])
    assert default["name"] == "default"
    assert default["channels"] >= 1
    assert default["sample_rate"] >= 16_000
    lines = edgecap("devices", env=room.environment).stdout.splitlines()
    assert lines[0].split() == ["NUMBER", "NAME", "CHANNELS", "RATE", "SYSTEM"]
    assert any(line.startswith(f"{default['index']} *") for line in lines)


def test_what_is_played_in_the_room_comes_through_the_microphone(room: Room, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(20, 48_000), 48_000)
    script = """
import time, numpy
from edgecap.audio.microphone import Microphone, find_device
with Microphone(find_device("default"), ring_seconds=2.0) as microphone:
    heard = numpy.empty((0, microphone.ring.read()[0].shape[1]), numpy.float32)
    while len(heard) < 2 * microphone.sample_rate:
        time.sleep(0.1)
        heard = numpy.concatenate((heard, microphone.ring.read()[0]))
    spectrum = numpy.abs(numpy.fft.rfft(heard[:, 0]))
    print(round(spectrum.argmax() * microphone.sample_rate / len(heard)), microphone.ring.dropped)
"""
    with room.play(tmp_path / "tone.wav") as player:
        command = [sys.executable, "-c", script]
        heard = subprocess.run(command, env=room.environment, capture_output=True, text=True, check=True, timeout=60)
        player.kill()
    assert heard.stdout.split() == ["440", "0"]


def test_a_room_is_captioned_each_hop(room: Room, tiny_folder: Path, long_noise: Path) -> None:
    with room.play(long_noise) as player:
        listening = room.listen(tiny_folder, "--json", "--updates", "--hop", 1, "--window", 2, "--duration", 4)
        out, error = listening.communicate(timeout=60)
        player.kill()
    assert listening.returncode == 0, error
    found = [json.loads(line) for line in out.splitlines()]
    told = [line for line in found if line["kind"] != "end"]
    assert 3 <= len(told) <= 5  # the gate may open within a hop
    assert found[0]["kind"] == "begin"
    assert found[-1]["kind"] == "end"
    assert found[-1]["end"] == pytest.approx(4.0, abs=0.5)
    assert not found[-1]["open"]
    assert found[-1]["text"]
    assert found[0]["source"] == "default"
    third_of_the_band = 10 * np.log10(16 / 48)  # white noise of -20 dBFS at 48 kHz, heard at 16 kHz
    assert found[-1]["level_dbfs"] == pytest.approx(-20.0 + third_of_the_band, abs=1.0)
    assert "0 hops skipped, 0.0 s of sound dropped" in error


def test_a_silent_room_gives_no_events_and_does_not_ask_the_model(room: Room, tiny_folder: Path) -> None:
    listening = room.listen(tiny_folder, "--hop", 1, "--duration", 2)
    out, error = listening.communicate(timeout=60)
    assert out == ""
    assert "stopped after 0 events, 0 captions, 2 hops quiet" in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_closes_the_open_event(
    room: Room, tiny_folder: Path, long_noise: Path, number: signal.Signals
) -> None:
    with room.play(long_noise) as player:
        listening = room.listen(tiny_folder, "--hop", 0.5, "--json")
        assert listening.stdout is not None
        assert json.loads(listening.stdout.readline())["kind"] == "begin"
        listening.send_signal(number)
        out, error = listening.communicate(timeout=30)
        player.kill()
    assert listening.returncode == 0
    assert json.loads(out.splitlines()[-1])["kind"] == "end"
    assert "stopped after 1 events" in error
    assert "Traceback" not in error


def test_a_microphone_unplugged_is_waited_for_and_heard_again(room: Room, tiny_folder: Path, long_noise: Path) -> None:
    listening = room.listen(tiny_folder, "--hop", 0.5, "--json")
    until(listening, "listening to default")
    room.control("unload-module", "module-null-sink")
    until(listening, "warning: the microphone 'default' gives no more sound; waiting for it to come back")
    time.sleep(1.5)
    assert listening.poll() is None
    room.control("load-module", "module-null-sink", "sink_name=room", "rate=48000", "channels=2")
    room.control("set-default-source", "room.monitor")
    until(listening, "note: the microphone 'default' is there; listening at")
    with room.play(long_noise) as player:
        assert listening.stdout is not None
        assert json.loads(listening.stdout.readline())["kind"] == "begin"
        player.kill()
    listening.terminate()
    listening.communicate(timeout=30)
    assert listening.returncode == 0


def test_a_microphone_that_is_not_there_yet_is_waited_for(room: Room, tiny_folder: Path, long_noise: Path) -> None:
    room.control("unload-module", "module-null-sink")
    listening = room.listen(tiny_folder, "--wait", "--device", "default", "--hop", 0.5, "--json")
    until(listening, "waiting for it")
    room.control("load-module", "module-null-sink", "sink_name=room", "rate=48000", "channels=2")
    room.control("set-default-source", "room.monitor")
    until(listening, "note: the microphone 'default' is there")
    with room.play(long_noise) as player:
        assert listening.stdout is not None
        assert json.loads(listening.stdout.readline())["kind"] == "begin"
        player.kill()
    listening.terminate()
    listening.communicate(timeout=30)
    assert listening.returncode == 0


@pytest.mark.parametrize(("device", "code"), [("default", 0), ("DEFAU", 0), ("nothing like this", 6), ("999", 6)])
def test_a_microphone_is_chosen_by_name_or_a_part_of_it(room: Room, tiny_folder: Path, device: str, code: int) -> None:
    listening = room.listen(tiny_folder, "--hop", 0.5, "--duration", 0.5, "--device", device)
    _, error = listening.communicate(timeout=60)
    assert listening.returncode == code
    assert ("no microphone is called" in error) == (code == 6)


def test_a_microphone_is_chosen_by_number(room: Room, tiny_folder: Path, edgecap: Run) -> None:
    found = [json.loads(line) for line in edgecap("devices", "--json", env=room.environment).stdout.splitlines()]
    (number,) = (device["index"] for device in found if device["name"] == "default")
    listening = room.listen(tiny_folder, "--hop", 0.5, "--duration", 0.5, "--device", number)
    assert "listening to default" in listening.communicate(timeout=60)[1]
    assert listening.returncode == 0


def test_a_machine_without_a_microphone_says_so(room: Room, tiny_folder: Path) -> None:
    (Path(room.environment["HOME"]) / ".asoundrc").unlink()
    room.environment["PULSE_SERVER"] = "unix:/nowhere"
    listening = room.listen(tiny_folder)
    _, error = listening.communicate(timeout=60)
    assert listening.returncode == 6
    assert [line for line in error.splitlines() if line.startswith("edgecap: error: ")] == error.splitlines()


@pytest.mark.parametrize("arguments", [["--hop", "0"], ["--window", "99"], ["--hop", "often"]])
def test_a_wrong_hop_or_window_is_a_wrong_command_line(edgecap: Run, tiny_folder: Path, arguments: list[str]) -> None:
    assert edgecap("listen", "--model", tiny_folder, *arguments).returncode == 2
