"""What happens to a listener: on a real PulseAudio, on a disk that is really full, and with its clocks in our hands."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from edgecap.audio import microphone
from edgecap.audio.microphone import InputDevice, Microphone
from edgecap.captioner import Captioner
from edgecap.errors import DeviceError
from edgecap.live import session as session_module
from edgecap.live.clocks import Jump
from edgecap.live.config.listen_config import ListenConfig, ModelConfig, SourceConfig
from edgecap.live.events.describe import Described, WindowJob
from edgecap.live.listener import Listener
from edgecap.live.pipeline.gate import GateSettings
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.session import ListenSession
from edgecap.live.sinks import files
from edgecap.live.sinks.journal import Journal
from edgecap.live.sources.microphone_source import MicrophoneSource
from support.live_parts import TOLD, change, says, teller
from support.room import Room, until
from support.signals import RATE, noise


def told_lines(listening: subprocess.Popen[str]) -> str:
    listening.terminate()
    _, error = listening.communicate(timeout=60)
    assert listening.returncode == 0, error
    return error


def heard_from(listening: subprocess.Popen[str], source: str) -> dict[str, Any]:
    """The next event that begins at this microphone."""
    assert listening.stdout is not None
    watch = threading.Timer(60.0, listening.kill)
    watch.start()
    try:
        for line in listening.stdout:
            found = json.loads(line)
            if found["kind"] == "begin" and found["source"] == source:
                return dict(found)
    finally:
        watch.cancel()
    raise AssertionError(f"nothing was heard from {source}")


def test_a_suspended_microphone_is_told_once_and_heard_again(room: Room, tiny_folder: Path, long_noise: Path) -> None:
    listening = room.listen(tiny_folder, "--hop", 0.5, "--json", "--min-score", -99, "--cooldown", 0)
    until(listening, "listening to default")
    room.control("suspend-sink", "room", "1")
    until(listening, "the microphone 'default' gives no more sound; waiting for it to come back")
    time.sleep(5.0)  # it is opened again and again, and gives nothing
    room.control("suspend-sink", "room", "0")
    with room.play(long_noise) as player:
        heard_from(listening, "default")
        player.kill()
    error = told_lines(listening)
    assert error.count("gives no more sound") == 0  # no second time
    assert error.count("is there; listening at") <= 1


def test_a_microphone_that_gives_nothing_but_zeros_is_at_fault(room: Room, tiny_folder: Path, long_noise: Path) -> None:
    listening = room.listen(tiny_folder, "--hop", 1, "--json", "--min-score", -99)
    until(listening, "has given nothing but one constant value for 10 s")
    with room.play(long_noise) as player:
        until(listening, "default gives sound again")
        heard_from(listening, "default")
        player.kill()
    told_lines(listening)


class Attic:
    """A second PulseAudio, which comes and goes as a second sound card does."""

    def __init__(self, room: Room, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.environment = {
            **room.environment,
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_RUNTIME_PATH": str(folder),
            "HOME": str(folder),
            "PULSE_SERVER": f"unix:{folder}/socket",
        }
        self._folder, self._daemon = folder, None
        (folder / "attic.pa").write_text(
            f"load-module module-native-protocol-unix socket={folder}/socket auth-anonymous=1\n"
            "load-module module-null-sink sink_name=room rate=44100 channels=1\nset-default-source room.monitor\n"
        )
        (Path(room.environment["HOME"]) / ".asoundrc").write_text(
            "\n".join(
                f"pcm.{name} {{ type pulse server {server} hint {{ show on description {name} }} }}"
                for name, server in (("kitchen", room.environment["PULSE_SERVER"]), ("attic", f"unix:{folder}/socket"))
            )
            + "\n"
        )

    def plug_in(self) -> None:
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "-F", str(self._folder / "attic.pa")]
        self._daemon = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while not (self._folder / "socket").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def unplug(self) -> None:
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait(20)
        self._daemon = None


def test_two_microphones_at_once_and_one_is_lost_and_comes_back(
    room: Room, tiny_folder: Path, long_noise: Path, tmp_path: Path
) -> None:
    attic = Attic(room, tmp_path / "attic")
    attic.plug_in()
    listening = room.listen(
        tiny_folder,
        "--device",
        "kitchen",
        "--device",
        "attic",
        "--hop",
        0.5,
        "--json",
        "--min-score",
        -99,
        "--cooldown",
        0,
        "--close-after",
        1,
    )
    try:
        assert "listening to kitchen, attic" in until(listening, "listening to")
        for where, environment in (("attic", attic.environment), ("kitchen", room.environment)):
            with subprocess.Popen(["paplay", "--device=room", str(long_noise)], env=environment) as player:
                heard_from(listening, where)
                player.kill()
        attic.unplug()
        until(listening, "the microphone 'attic' gives no more sound")
        with room.play(long_noise) as player:
            heard_from(listening, "kitchen")  # the other one goes on
            player.kill()
        attic.plug_in()
        with subprocess.Popen(["paplay", "--device=room", str(long_noise)], env=attic.environment) as player:
            heard_from(listening, "attic")
            player.kill()
        told_lines(listening)
    finally:
        listening.kill()
        listening.communicate()
        attic.unplug()


def refusing(monkeypatch: pytest.MonkeyPatch, taken: set[tuple[float, int]]) -> list[tuple[float, int]]:
    """A PortAudio that opens only these rates and channels; what it was asked for."""
    asked = []

    class PortAudioError(Exception):
        pass

    class InputStream:
        active = True

        def __init__(self, *, samplerate: float, channels: int, **_: object) -> None:
            asked.append((samplerate, channels))
            if (samplerate, channels) not in taken:
                raise PortAudioError(f"Invalid sample rate [PaErrorCode -9997] {samplerate}")

        def start(self) -> None:
            pass

        def close(self, ignore_errors: bool) -> None:
            pass

    monkeypatch.setattr(
        microphone, "_portaudio", lambda: SimpleNamespace(PortAudioError=PortAudioError, InputStream=InputStream)
    )
    return asked


def test_a_rate_that_is_refused_is_followed_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    device = InputDevice(0, "USB", 1, 16_000.0, "ALSA", True)
    asked = refusing(monkeypatch, {(44_100.0, 1)})
    opened = Microphone(device, 1.0)
    assert (opened.sample_rate, opened.active) == (44_100.0, True)
    assert [rate for rate, _ in dict.fromkeys(asked)] == [16_000.0, 48_000.0, 44_100.0]
    refusing(monkeypatch, set())
    with pytest.raises(DeviceError, match=r"'USB' cannot be opened \(Invalid sample rate .*\); see whether another"):
        Microphone(device, 1.0)


def test_no_callback_takes_longer_than_its_block_while_the_model_sleeps(
    monkeypatch: pytest.MonkeyPatch, captioner: Captioner
) -> None:
    refusing(monkeypatch, {(48_000.0, 2)})
    device = InputDevice(0, "USB", 2, 48_000.0, "ALSA", True)

    class Opener:
        def open(self, _query: str | None) -> Microphone:
            return Microphone(device, 4.0)

        open_again = open

    source = MicrophoneSource(None, RATE, Opener(), lambda *_: None, sleep=lambda _: None)  # type: ignore[arg-type]
    opened, asleep, wake = source._microphone, threading.Event(), threading.Event()
    assert opened is not None

    def describe(job: WindowJob) -> Described:
        asleep.set()
        assert wake.wait(60)
        return says()(job)

    settings = ListenerSettings(window=4.0, hop=1.0, gate=GateSettings())
    listening = Listener(captioner, source, settings, lambda *_: None, describe=describe)
    fine, longest = SimpleNamespace(input_overflow=False), 0.0
    block = np.resize(noise(0.1, 48_000)[:, None], (4800, 2)).astype(np.float32)
    for _ in range(300):  # half a minute in blocks of 100 ms; the loop reads the first 20 s of it
        began = time.thread_time()
        opened._heard(block, len(block), None, fine)  # type: ignore[attr-defined]
        longest = max(longest, time.thread_time() - began)
        if listening.heard < 20.0:
            assert listening.step(0.0) == []
    assert asleep.is_set()
    assert longest < 0.1  # of processor time: what the callback itself does
    assert listening.heard == pytest.approx(20.0, abs=0.3)
    assert opened.ring.read()[0].shape == (4 * 48_000, 2)  # what nobody read is bounded, and the newest
    assert opened.ring.dropped == pytest.approx(6 * 48_000, abs=15_000)  # type: ignore[attr-defined]
    wake.set()
    listening.finish(whole=False)


def test_a_clock_that_is_set_and_a_sleep_reach_the_events(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(20), RATE)
    jumps: list[Jump | None] = []
    monkeypatch.setattr(session_module, "Clocks", lambda: SimpleNamespace(look=lambda: jumps.pop(0) if jumps else None))
    config = ListenConfig(
        source=SourceConfig(file=str(tmp_path / "a.wav"), speed=0.0), model=ModelConfig(name=str(tiny_folder))
    )
    told, found = TOLD(), []
    with ListenSession(config, teller(told)) as session:
        for item in session.changes(threading.Event()):
            found.append(item)
            if item.kind == "begin" and len(found) == 1:
                jumps.append(Jump(1e8, 0.0))
            elif item.kind == "update" and item.event.start < 1.0 and item.event.end > 9.0:
                jumps.append(Jump(0.0, 600.0))
    begin, end = found[0].event, next(item.event for item in found if item.kind == "end")
    assert end.began == pytest.approx(begin.began + 1e8)
    assert end.ended > end.began
    assert end.end < 19.0  # the sleep ended it
    assert [kind for kind, _ in told] == ["warning", "note"]
    assert "clock was set forward by 100000000 s" in told[0][1]
    assert "suspended for 600 s" in told[1][1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_loses_no_event_that_was_announced(small_disk: Path) -> None:
    told = TOLD()
    journal = Journal(str(small_disk / "a.db"), "30d", teller(told), model="tiny")
    table = files.table(str(small_disk / "a.csv"), teller(told))
    filler = small_disk / "filler"
    for number in range(1, 41):
        if number == 5:
            with filler.open("wb", buffering=0) as full:
                try:
                    while full.write(b"x" * 512):
                        pass
                except OSError:
                    pass
        for kind in ("begin", "end"):
            journal.change(change(kind, number, f"event {number} {'x' * 2000}"))  # type: ignore[arg-type]
            table.change(change(kind, number, f"event {number} {'x' * 200}"))  # type: ignore[arg-type]
    assert {text.split(" cannot")[0].rsplit("/", 1)[1] for kind, text in told if kind == "warning"} == {"a.db", "a.csv"}
    filler.unlink()
    for kind in ("begin", "end"):
        journal.change(change(kind, 41, "event 41"))  # type: ignore[arg-type]
        table.change(change(kind, 41, "event 41"))  # type: ignore[arg-type]
    stored = [text.split()[1] for (text,) in journal._database.execute("SELECT text FROM events ORDER BY id")]
    journal.close()
    table.close()
    assert stored == [str(number) for number in range(1, 42)]
    rows = (small_disk / "a.csv").read_text().splitlines()[1:]
    assert [row.split("event ")[1].split(",")[0].split()[0] for row in rows] == stored
    assert np.all([kind in {"warning", "note"} for kind, _ in told])
