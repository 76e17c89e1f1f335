"""What happens to a listener: on a real PulseAudio, on a disk that is really full, and with its clocks in our hands."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import soundfile

from edgecap.audio.microphone import InputDevice, Ring
from edgecap.captioner import Captioner
from edgecap.live import session as session_module
from edgecap.live.config.listen_config import ListenConfig, ModelConfig, SourceConfig
from edgecap.live.events.describe import Described, WindowJob
from edgecap.live.events.event import Change, Kind
from edgecap.live.listener import Listener
from edgecap.live.pipeline.gate import GateSettings
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.session import ListenSession
from edgecap.live.sinks import files
from edgecap.live.sinks.journal import Journal
from edgecap.live.sources.microphone_source import MicrophoneSource
from edgecap.live.sources.microphones import Microphones
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.live_parts import Clock, Machine, Messages, change, ignore, notifier, says, usb_status
from support.signals import RATE, noise
from support.virtual_microphone import listen, next_event, until

KINDS: tuple[Kind, ...] = ("begin", "end")
EVERY_WINDOW = ("--json", "--min-score", -99, "--cooldown", 0, "--close-after", 1, "--settle", 0)
"""A new event for each window that has another caption."""


def ended(listening: subprocess.Popen[str]) -> str:
    """Its last lines of standard error, after SIGTERM."""
    listening.terminate()
    _, error = listening.communicate(timeout=60)
    assert listening.returncode == 0, error
    return error


def test_a_suspended_microphone_is_reported_once_and_heard_again(
    microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path
) -> None:
    listening = listen(microphone, tiny_folder, "--hop", 0.5, *EVERY_WINDOW)
    until(listening, "listening to default")
    microphone.control("suspend-sink", "room", "1")
    until(listening, "the microphone 'default' gives no more sound; waiting for it to come back")
    time.sleep(1.5)  # it is opened again and again, and gives nothing
    microphone.control("suspend-sink", "room", "0")
    microphone.play(long_noise)
    next_event(listening)
    error = ended(listening)
    assert error.count("gives no more sound") == 0  # no second time
    assert error.count("is there; listening at") <= 1


def test_a_microphone_that_gives_nothing_but_zeros_is_faulty(
    microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path
) -> None:
    listening = listen(microphone, tiny_folder, "--hop", 1, *EVERY_WINDOW)
    until(listening, "has given nothing but one constant value for 1 s")
    microphone.play(long_noise)
    until(listening, "default gives sound again")
    next_event(listening)
    ended(listening)


def test_two_microphones_at_once_and_one_is_lost_and_comes_back(
    microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path
) -> None:
    with VirtualMicrophone(rate=44_100) as attic:
        microphone.show(kitchen=microphone, attic=attic)
        listening = listen(
            microphone, tiny_folder, "--device", "kitchen", "--device", "attic", "--hop", 0.5, *EVERY_WINDOW
        )
        try:
            assert "listening to kitchen, attic" in until(listening, "listening to")
            for name, each in (("attic", attic), ("kitchen", microphone)):
                each.play(long_noise)
                next_event(listening, name)
                each.hush()
            attic.stop()
            until(listening, "the microphone 'attic' gives no more sound")
            microphone.play(long_noise)
            next_event(listening, "kitchen")  # the other one goes on
            microphone.hush()
            attic.start()
            attic.play(long_noise)
            next_event(listening, "attic")
            ended(listening)
        finally:
            listening.kill()
            listening.communicate()


def test_no_callback_waits_while_the_model_hangs_and_its_buffer_is_bounded(captioner: Captioner) -> None:
    device, ring = InputDevice(0, "USB", 2, 48_000.0, "ALSA", True), Ring(4 * 48_000, 2)

    class Opener:
        def open(self, query: str | None, known: bool = False) -> SimpleNamespace:
            return SimpleNamespace(
                device=device, ring=ring, sample_rate=48_000.0, overflows=0, active=True, close=lambda: None
            )

        open_again = open

        def heard(self, name: str | None) -> None:
            pass

    clock = Clock()
    source = MicrophoneSource(None, RATE, cast("Microphones", Opener()), ignore, clock=clock, sleep=lambda _: None)
    asleep, wake = threading.Event(), threading.Event()

    def describe(job: WindowJob) -> Described:
        asleep.set()
        assert wake.wait(60)
        return says()(job)

    settings = ListenerSettings(window=4.0, hop=1.0, gate=GateSettings())
    with CaptionWorker() as worker:
        listening = Listener(captioner, source, settings, ignore, worker, clock=clock, describe=describe)
        block = np.resize(noise(0.1, 48_000)[:, None], (4800, 2)).astype(np.float32)
        for _ in range(300):  # half a minute in blocks of 100 ms; the loop reads the first 20 s of it
            clock.sleep(0.1)
            ring.write(block)  # returns although the model hangs
            if listening.heard < 20.0:
                assert listening.step(0.0).changes == ()
        assert asleep.is_set()
        assert listening.heard == pytest.approx(20.0, abs=0.3)
        unread, lost = ring.read()
        assert unread.shape == (4 * 48_000, 2)  # the newest
        assert lost == pytest.approx(6 * 48_000, abs=15_000)
        wake.set()
        listening.finish()


def test_a_clock_that_is_set_reaches_the_events_and_a_sleep_the_user(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(20), RATE)
    machine = Machine()
    monkeypatch.setattr(session_module, "Clocks", machine.clocks)
    config = ListenConfig(
        source=SourceConfig(file=str(tmp_path / "a.wav"), speed=0.0), model=ModelConfig(name=str(tiny_folder))
    )
    messages, changes = Messages(), list[Change]()
    with ListenSession(config, notifier(messages)) as session:
        for item in session.changes(threading.Event()):
            changes.append(item)
            machine.run(2.0)
            if len(changes) == 1:
                machine.wall += 1e8
            elif len(changes) == 2:
                machine.suspend(600.0)
    begin, end = changes[0].event, next(item.event for item in changes if item.kind == "end")
    assert end.began == pytest.approx(begin.began + 1e8)
    assert end.ended - end.began == pytest.approx(end.end - end.start)
    assert [kind for kind, _ in messages] == ["warning", "note"]
    assert "clock was set forward by 100000000 s" in messages[0][1]
    assert "suspended for 600 s" in messages[1][1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_loses_no_event_that_was_announced(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RETRY_SECONDS", 0.0)
    messages = Messages()
    journal = Journal(str(small_disk / "a.db"), "30d", notifier(messages), model="tiny")
    table = files.table(str(small_disk / "a.csv"), notifier(messages))
    filler = small_disk / "filler"
    for number in range(1, 41):
        if number == 5:
            with filler.open("wb", buffering=0) as full:
                try:
                    while full.write(b"x" * 512):
                        pass
                except OSError:
                    pass
        for kind in KINDS:
            journal.on_event(change(kind, number, f"event {number} {'x' * 20_000}"))
            table.on_event(change(kind, number, f"event {number} {'x' * 200}"))
    assert {text.split(" cannot")[0].rsplit("/", 1)[1] for kind, text in messages if kind == "warning"} == {
        "a.db",
        "a.csv",
    }
    database = sqlite3.connect(small_disk / "a.db")
    (kept,) = database.execute("SELECT count(*) FROM events").fetchone()  # all that a kill would leave
    assert 12 <= kept < 40  # in the space that is held for that
    filler.unlink()
    table.on_status(usb_status())  # without another event
    assert len((small_disk / "a.csv").read_text().splitlines()) == 41
    for kind in KINDS:
        journal.on_event(change(kind, 41, "event 41"))
        table.on_event(change(kind, 41, "event 41"))
    journal.close()
    stored = [text.split()[1] for (text,) in database.execute("SELECT text FROM events ORDER BY id")]
    database.close()
    table.close()
    assert stored == [str(number) for number in range(1, 42)]
    rows = (small_disk / "a.csv").read_text().splitlines()[1:]
    assert [row.split("event ")[1].split(",")[0].split()[0] for row in rows] == stored
    assert [kind for kind, text in messages if "a.db" in text] == ["warning", "note"]  # reported once, and its end
