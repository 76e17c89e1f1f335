"""What the doctor finds, on made-up machines and on this one; and what the kernel says about sound cards."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecap import doctor
from edgecap.audio import microphone, sound_cards
from edgecap.audio.microphone import InputDevice, find_device
from edgecap.audio.sound_cards import Holder, capture_nodes, card_of, forbidden, holders, plain_name, port_of
from edgecap.doctor import CheckResult, clock_finding, examine, heat, level, speed
from edgecap.errors import BundleError, DeviceError
from edgecap.live.config.listen_config import ListenConfig, ModelConfig, OutputConfig
from edgecap.live.thermal import Heat, vcgencmd
from support.signals import RATE, noise

Run = Callable[..., subprocess.CompletedProcess[str]]
COOL = Heat(45.0, False, False)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of a kernel with two cards; the second one is held by a recorder."""
    for folder in ("proc/asound", "proc/123/fd", "proc/45/fd", "dev/snd", "sys/class/sound/card1", "plug/1-1.2"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/asound/pcm").write_text(
        "00-00: HDMI 0 : HDMI 0 : playback 1\n01-00: USB Audio : USB Audio : playback 1 : capture 1\n"
    )
    (tmp_path / "dev/snd/pcmC1D0c").touch()
    (tmp_path / "proc/123/comm").write_text("arecord\n")
    (tmp_path / "proc/123/fd/5").symlink_to("/dev/snd/pcmC1D0c")
    (tmp_path / "proc/45/comm").write_text("sleep\n")
    (tmp_path / "proc/45/fd/1").symlink_to("/dev/null")
    (tmp_path / "sys/class/sound/card1/device").symlink_to(tmp_path / "plug/1-1.2")
    return tmp_path


def test_the_kernel_says_which_cards_there_are_where_they_are_plugged_in_and_who_holds_them(machine: Path) -> None:
    assert [node.name for node in capture_nodes(machine)] == ["pcmC1D0c"]
    assert holders(machine) == [Holder("/dev/snd/pcmC1D0c", 123, "arecord")]
    assert port_of("USB: Audio (hw:1,0)", machine) == str(machine / "plug/1-1.2")
    assert port_of("USB: Audio (hw:2,0)", machine) is None
    assert port_of("default", machine) is None
    assert (card_of("USB: Audio (hw:1,0)"), card_of("pulse")) == (1, None)
    assert plain_name("USB: Audio (hw:1,0)") == "USB: Audio"
    assert forbidden(machine) == []


def test_a_machine_without_these_files_says_nothing(tmp_path: Path) -> None:
    assert (capture_nodes(tmp_path), holders(tmp_path), forbidden(tmp_path)) == ([], [], [])


def test_a_device_that_this_user_may_not_open_names_the_group(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_cards.os, "access", lambda *_: False)  # root, as whom tests may run, may open everything
    nodes = forbidden(machine)
    assert [node.name for node in nodes] == ["pcmC1D0c"]
    monkeypatch.setattr(microphone, "forbidden", lambda: nodes)
    monkeypatch.setattr(microphone, "list_devices", lambda: [])
    with pytest.raises(DeviceError, match=r"may not use it; type: sudo usermod -aG audio \$USER"):
        find_device()
    monkeypatch.setattr(doctor, "forbidden", lambda: nodes)
    monkeypatch.setattr(doctor, "list_devices", lambda: [])
    (found,) = doctor._devices()
    assert (found.state, found.type) == ("fault", "sudo usermod -aG audio $USER, then log out and in again")


def test_a_microphone_that_does_not_open_names_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    device = InputDevice(0, "USB: Audio (hw:1,0)", 1, 48e3, "ALSA", True)
    monkeypatch.setattr(microphone, "holders", lambda: [Holder("/dev/snd/pcmC1D0c", 123, "arecord")])
    assert microphone._why_refused(device).startswith("arecord (process 123) holds it; end that program")
    monkeypatch.setattr(microphone, "holders", list)
    monkeypatch.setattr(microphone, "forbidden", lambda: [Path("/dev/snd/pcmC1D0c")])
    assert "sudo usermod -aG audio" in microphone._why_refused(device)
    monkeypatch.setattr(microphone, "forbidden", list)
    assert "edgecap devices" in microphone._why_refused(device)


@pytest.mark.parametrize(
    ("block", "state", "words"),
    [
        (np.zeros((RATE, 1), np.float32), "fault", "one constant value"),
        (np.full((RATE, 2), 0.25, np.float32), "fault", "one constant value"),
        (np.empty((0, 1), np.float32), "fault", "gives no sound"),
        (np.sign(noise(1))[:, None], "note", "at full scale"),
        (noise(1)[:, None], "ok", "dBFS"),
    ],
)
def test_levels(block: np.ndarray, state: str, words: str) -> None:
    found = level("USB", block, RATE)
    assert found.state == state
    assert words in found.found


def test_speed_is_held_against_the_hop_and_the_number_of_microphones() -> None:
    assert speed(0.1, 2.0).state == "ok"
    assert "5.0 % of a hop" in speed(0.1, 2.0).found
    assert speed(1.9, 2.0).state == "fault"
    assert speed(0.15, 2.0, streams=16).state == "fault"
    assert speed(1.9, 2.0).type == "edgecap listen --hop 4"
    assert speed(0.19, 0.2).type == "edgecap listen --hop 1"


@pytest.mark.parametrize(
    ("now", "word", "checks"),
    [
        (COOL, None, {"heat": "ok"}),
        (COOL, 0, {"heat": "ok"}),
        (Heat(None, False, False), None, {"heat": "ok"}),
        (Heat(85.0, False, False), None, {"heat": "fault"}),
        (COOL, 0x4, {"heat": "fault"}),
        (COOL, 0x50000, {"heat": "note"}),
        (COOL, 0x50005, {"power": "fault", "heat": "fault"}),
    ],
)
def test_heat_and_power(now: Heat, word: int | None, checks: dict[str, str]) -> None:
    assert {finding.check: finding.state for finding in heat(now, word)} == checks


def test_the_firmwares_tool_is_asked_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vcgencmd() is None
    tool = tmp_path / "vcgencmd"
    tool.write_text("#!/bin/sh\n[ $1 = get_throttled ] && echo throttled=0x50005\n")
    tool.chmod(0o755)
    assert vcgencmd() == 0x50005
    tool.write_text("#!/bin/sh\necho VCHI initialization failed\n")
    assert vcgencmd() is None


def test_a_clock_that_nobody_set_is_a_note() -> None:
    assert [clock_finding(known).state for known in (True, False, None)] == ["ok", "note", "note"]


def test_a_full_disk_is_found_at_the_place_of_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ListenConfig(output=OutputConfig(journal=str(tmp_path / "not yet" / "events.db")))
    (found,) = doctor._disk(config)
    assert (found.state, found.type) == ("ok", f"df -h {tmp_path}")
    (kept,) = doctor._disk(ListenConfig(output=OutputConfig(keep_audio=str(tmp_path))))
    assert kept.type == f"df -h {tmp_path}"  # not the folder around it
    monkeypatch.setattr(doctor, "LEAST_DISK", 1e18)
    assert next(doctor._disk(config)).state == "fault"


def test_a_damaged_model_is_found_by_its_hash(tmp_path: Path, tiny_folder: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_folder.iterdir():
        data = bytearray(file.read_bytes())
        if file.suffix == ".onnx":
            data[-1] ^= 1
        (broken / file.name).write_bytes(data)
    (found,) = doctor._model(ListenConfig(model=ModelConfig(name=str(broken))))
    assert found.state == "fault"
    assert "SHA-256" in found.found
    assert found.type


def test_a_model_that_cannot_caption_a_stream_is_a_finding(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BundleError("its decoder takes at most 3 beams")

    monkeypatch.setattr(doctor, "rehearse", refuse)
    (found,) = doctor._model(ListenConfig(model=ModelConfig(name=str(tiny_folder))))
    assert (found.check, found.state, found.found) == ("model", "fault", "its decoder takes at most 3 beams")


def test_every_finding_says_what_to_type(tiny_folder: Path) -> None:
    found = list(examine(ListenConfig(model=ModelConfig(name=str(tiny_folder)))))
    checks = {"portaudio", "devices", "holders", "level", "model", "speed", "heat", "disk", "clock"}
    assert {finding.check for finding in found} >= checks
    assert all(isinstance(finding, CheckResult) and finding.found and finding.type for finding in found)


def test_the_command_ends_with_11_where_something_is_wrong(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    done = edgecap("doctor", "--json", "--model", tiny_folder, "--device", "no such microphone")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 11, done.stderr
    assert any(line["state"] == "fault" and line["check"] == "level" for line in found)
    lines = edgecap("doctor", "--model", tiny_folder, "--device", "no such microphone").stdout.splitlines()
    assert len([line for line in lines if line.strip().startswith("→ ")]) == len(found)
    (tmp_path / "a.toml").write_text("[stream]\nhop = 0\n")
    done = edgecap("doctor", "--config", tmp_path / "a.toml")
    assert done.returncode == 2
    assert "a.toml:2" in done.stderr
