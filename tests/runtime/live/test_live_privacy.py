"""Sound is stored only where that was asked for, and then every view says so; what is heard is told with its scores."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from edgecap.cli.live_view import LiveView
from edgecap.errors import OutputError
from edgecap.live.clocks import Clocks, Jump
from edgecap.live.events.event import Change, Event, Kind
from edgecap.live.sinks.journal import Journal
from edgecap.live.sinks.kept_audio import KeptAudio
from edgecap.live.sinks.metrics import render
from edgecap.live.sinks.window_log import WindowLog
from support.live_parts import Clock, Messages, notifier, usb_status
from support.signals import RATE, noise, tone

Run = Callable[..., subprocess.CompletedProcess[str]]


def event(kind: Kind, number: int = 1, start: float = 3.0, source: str = "USB") -> Change:
    return Change(
        kind,
        Event(
            number,
            start,
            start + 2,
            1_700_000_000.0,
            1_700_000_002.0,
            "a dog barks",
            -0.4,
            -12.0,
            0,
            kind != "end",
            source,
        ),
    )


def keeper(folder: Path, messages: Messages, wall: Clock | None = None, clock: Clock | None = None) -> KeptAudio:
    return KeptAudio(
        str(folder),
        "1d",
        notifier(messages),
        sample_rate=RATE,
        window=10.0,
        wall=wall or Clock(),
        clock=clock or Clock(),
    )


def hear(kept: KeptAudio, sound: np.ndarray, source: str = "USB", before: float = 0.0) -> None:
    for number, block in enumerate(np.split(sound, len(sound) // 1600), start=1):
        kept.on_audio(source, block, before + number / 10)


def test_the_sound_of_an_event_is_kept_from_a_little_before_it_to_its_end(tmp_path: Path) -> None:
    messages, sound = Messages(), noise(8)
    kept = keeper(tmp_path / "kept", messages)
    hear(kept, sound[: 5 * RATE])
    kept.on_event(event("begin"))
    hear(kept, sound[5 * RATE : 6 * RATE], before=5.0)
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".part"]  # nothing half-written has its name
    kept.on_event(event("end"))
    hear(kept, sound[6 * RATE :], before=6.0)
    kept.close()
    (path,) = (tmp_path / "kept").iterdir()
    kept_sound, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    assert np.allclose(kept_sound, sound[2 * RATE : 6 * RATE], atol=1e-4)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert messages == []


def test_two_microphones_are_kept_apart(tmp_path: Path) -> None:
    kept, left, right = keeper(tmp_path, Messages()), tone(4), noise(4)
    hear(kept, left, "left")
    hear(kept, right, "right")
    kept.on_event(event("begin", 1, 1.0, "left"))
    kept.on_event(event("begin", 2, 1.0, "right"))
    kept.close()
    sounds = {path.name.split("-")[1]: soundfile.read(path, dtype="float32")[0] for path in tmp_path.iterdir()}
    assert np.allclose(sounds["1"], left, atol=1e-4)
    assert np.allclose(sounds["2"], right, atol=1e-4)


def test_what_is_held_in_memory_and_in_one_file_is_bounded(tmp_path: Path) -> None:
    kept = keeper(tmp_path, Messages())
    for minute in range(4):
        hear(kept, noise(60, seed=minute), before=60.0 * minute)
        if minute == 0:
            kept.on_event(event("begin", start=58.0))
    assert sum(samples.size for samples, _ in kept._held["USB"]) <= 12 * RATE
    kept.close()
    (path,) = tmp_path.iterdir()
    assert soundfile.info(path).duration <= 121


def test_old_sounds_are_deleted_and_nothing_else_is_touched(tmp_path: Path) -> None:
    wall, clock = Clock(), Clock()
    wall.now = 1e9
    (tmp_path / "holiday.flac").write_bytes(b"mine")
    (tmp_path / ".20200101T000000-1-00000000.flac.part").write_bytes(b"left by a killed listener")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    others = tmp_path / ".20010909T014640-1-00000000.flac.part"  # another listener is at it
    others.write_bytes(b"")
    os.utime(others, (wall.now - 600, wall.now - 600))
    kept = keeper(tmp_path, Messages(), wall, clock)
    assert {path.name for path in tmp_path.iterdir()} == {"holiday.flac", others.name}
    hear(kept, noise(4))
    kept.on_event(event("begin"))
    kept.on_event(event("end"))
    (path,) = set(tmp_path.iterdir()) - {tmp_path / "holiday.flac", others}
    os.utime(path, (wall.now, wall.now))
    for seconds, there in ((80_000, True), (10_000, False)):
        wall.sleep(seconds)
        clock.sleep(seconds)
        kept.on_status(usb_status())  # nothing need be heard for it
        assert path.exists() == there
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.flac"]
    kept.close()


def test_sounds_kept_before_the_clock_was_set_are_not_taken_for_old_ones(tmp_path: Path) -> None:
    old = tmp_path / "20010909T014640-1-00000000.flac"
    old.write_bytes(b"of an earlier run")
    wall, clock = Clock(), Clock()
    wall.now = time.time()
    os.utime(old, (wall.now - 80_000, wall.now - 80_000))
    kept = keeper(tmp_path, Messages(), wall, clock)
    hear(kept, noise(4))
    kept.on_event(event("begin", 2))
    kept.on_event(event("end", 2))
    for seconds in (1e8, 0.0):
        wall.sleep(seconds + 700)
        clock.sleep(700)
        if seconds:
            kept.on_clock_set(seconds)
        kept.on_status(usb_status())
        assert [path.name.split("-")[1] for path in tmp_path.iterdir()] == ["2"]
    kept.close()


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        keeper(tmp_path / "file", Messages())


def test_a_full_disk_is_told_once_and_listening_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = Messages()
    kept = keeper(tmp_path, messages)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    for number in range(3):
        kept.on_event(event("begin", number))
        kept.on_event(event("end", number))
    assert [kind for kind, _ in messages] == ["warning"]
    assert "No space left" in messages[0][1]
    monkeypatch.undo()
    kept.on_event(event("begin", 9))
    kept.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_every_view_says_that_sound_is_kept(edgecap: Run, tiny_folder: Path, sounds: Path, tmp_path: Path) -> None:
    line = [
        "listen",
        "--model",
        tiny_folder,
        "--file",
        sounds / "noise.wav",
        "--speed",
        0,
        "--json",
        "--hearing",
        "--min-score",
        -99,
    ]
    done = edgecap(*line, "--keep-audio", tmp_path / "kept", "--keep-audio-for", "2d")
    assert done.returncode == 0, done.stderr
    assert f"warning: the sound of each event is kept in {tmp_path / 'kept'} for 2d" in done.stderr
    assert all(json.loads(each)["audio_kept"] is True for each in done.stdout.splitlines())
    assert list((tmp_path / "kept").iterdir())
    done = edgecap(*line)
    assert not any(json.loads(each)["audio_kept"] for each in done.stdout.splitlines())
    assert "kept" not in done.stderr
    status = usb_status(audio_kept="/var/kept")
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    view = LiveView(console)
    view.on_status(status)
    with console.capture() as capture:
        console.print(view.render())
    view.close()
    assert "the sound of events is kept in /var/kept" in capture.get()
    assert 'edgecap_audio_kept{source="USB"} 1' in render([status])


def test_listening_to_a_pipe_leaves_no_file_anywhere(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("TMPDIR", "HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME")}
    for place in places.values():
        place.mkdir()
    samples = (noise(3) * 32_767).astype("<i2").tobytes()
    done = edgecap(
        "listen",
        "--model",
        tiny_folder,
        "--stdin",
        "--speed",
        0,
        "--json",
        "--min-score",
        -99,
        input=samples,
        env={name: str(place) for name, place in places.items()},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_it_hearing_is_told_window_by_window() -> None:
    lines: list[str] = []
    people, programs = WindowLog(lines.append), WindowLog(lines.append, as_json=True)
    status = usb_status(level=-31.26, floor=-65.0)
    people.on_status(status)
    assert lines == []  # no window yet
    status = replace(status, quiet=1)
    people.on_status(status)
    people.on_status(status)
    assert lines == ["USB   -31.3 dBFS (floor -65)  gate quiet  -"]
    beams = (("a dog barks", -0.4), ("a wolf", -0.9), ("a fox", -1.0), ("a cat", -2.0))
    status = replace(status, captions=1, gate_open=True, beams=beams)
    people.on_status(status)
    assert lines[1].endswith("gate open   -0.40 a dog barks  |  -0.90 a wolf  |  -1.00 a fox")
    programs.on_status(status)
    window = json.loads(lines[2])
    assert window["kind"] == "window"
    assert window["beams"][1] == {"text": "a wolf", "score": -0.9}


@dataclass(frozen=True, eq=False)
class Near:  # noqa: PLW1641 - compared, never hashed
    """Equal to a jump but for rounding."""

    clock_set: float
    suspended: float

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Jump)
            and other.clock_set == pytest.approx(self.clock_set)
            and other.suspended == pytest.approx(self.suspended)
        )


class Three:
    """The three clocks of a machine."""

    def __init__(self) -> None:
        self.wall, self.running, self.boot = 1e9, 100.0, 100.0
        self.clocks = Clocks(lambda: self.wall, lambda: self.running, lambda: self.boot)

    def run(self, seconds: float, moved: float = 0.0, slept: float = 0.0) -> Jump | None:
        self.running += seconds
        self.boot += seconds + slept
        self.wall += seconds + slept + moved
        return self.clocks.look()


def test_clocks_that_are_set_and_machines_that_sleep_are_told_apart() -> None:
    three = Three()
    assert three.run(10.0) is None
    assert three.run(10.0, moved=0.4) is None  # NTP at its usual work
    assert three.run(10.0, moved=1e8) == Near(1e8, 0.0)
    assert three.run(10.0) is None
    assert three.run(10.0, moved=-3600.0) == Near(-3600.0, 0.0)
    assert three.run(10.0, slept=500.0) == Near(0.0, 500.0)
    assert three.run(10.0, moved=60.0, slept=500.0) == Near(60.0, 500.0)


def test_the_journal_moves_with_the_clock_what_this_run_has_stored_and_nothing_else(tmp_path: Path) -> None:
    wall, running, messages = Clock(), Clock(), Messages()  # the board believes that it is 1970

    def journal() -> Journal:
        return Journal(str(tmp_path / "a.db"), "30d", notifier(messages), model="tiny", wall=wall, clock=running)

    def at(began: float, kind: Kind, number: int) -> Change:
        return Change(kind, Event(number, 0.0, 2.0, began, began + 2, "rain", -0.4, -12.0, 0, kind != "end", "USB"))

    wall.now = 2e9
    first = journal()
    first.on_event(at(2e9, "begin", 1))
    first.on_event(at(2e9, "end", 1))
    first.close()
    wall.now = 1000.0
    second = journal()
    second.on_event(at(1000.0, "begin", 1))
    second.on_event(at(1000.0, "end", 1))
    wall.now = 2e9 + 500
    second.on_clock_set(2e9 - 500)
    running.sleep(10_000)  # and cleans up
    second.on_status(usb_status())
    second.on_event(at(wall.now, "begin", 2))
    began = [row[0] for row in second._database.execute("SELECT began FROM events ORDER BY id")]
    assert began == [2e9, 2e9 + 500, 2e9 + 500]
    second.close()
    assert messages == []
