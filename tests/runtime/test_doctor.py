"""The doctor's checks, on simulated machines and on this one; and sound cards as the kernel lists them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecap import doctor
from edgecap.audio import microphone
from edgecap.audio.captured import SoundSystem
from edgecap.audio.microphone import find_device
from edgecap.audio.sound_cards import Holder, capture_nodes, card_of, forbidden, holders, plain_name, port_of
from edgecap.doctor import CheckResult, clock_result, examine, heat, level, speed
from edgecap.errors import BundleError, DeviceError
from edgecap.live import threads
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
    monkeypatch.setattr("os.access", lambda *_: False)  # root, as whom tests may run, may open everything
    nodes = forbidden(machine)
    assert [node.name for node in nodes] == ["pcmC1D0c"]
    monkeypatch.setattr(microphone, "forbidden", lambda: nodes)
    with pytest.raises(DeviceError, match=r"not permitted to use it; type: sudo usermod -aG audio \$USER"):
        find_device(None, [])
    monkeypatch.setattr(doctor, "forbidden", lambda: nodes)
    monkeypatch.setattr(doctor, "sound_system", lambda: SoundSystem("PortAudio V19", []))
    result = next(result for result in examine(ListenConfig()) if result.check == "devices")
    assert (result.state, result.advice) == ("fault", "sudo usermod -aG audio $USER, then log out and in again")


@pytest.mark.parametrize(
    ("block", "state", "words"),
    [
        (np.zeros((RATE, 1), np.float32), "fault", "one constant value"),
        (np.full((RATE, 2), 0.25, np.float32), "fault", "one constant value"),
        (np.empty((0, 1), np.float32), "fault", "delivers no samples"),
        (np.sign(noise(1))[:, None], "note", "at full scale"),
        (noise(1)[:, None], "ok", "dBFS"),
    ],
)
def test_levels(block: np.ndarray, state: str, words: str) -> None:
    result = level("USB", block, RATE)
    assert result.state == state
    assert words in result.message


def test_speed_is_held_against_the_hop_and_the_number_of_microphones() -> None:
    assert speed(0.1, 2.0).state == "ok"
    assert "5.0 % of a hop" in speed(0.1, 2.0).message
    assert speed(1.9, 2.0).state == "fault"
    assert speed(0.15, 2.0, streams=16).state == "fault"
    assert speed(1.9, 2.0).advice == "edgecap listen --hop 4"
    assert speed(0.19, 0.2).advice == "edgecap listen --hop 1"


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
    assert {result.check: result.state for result in heat(now, word)} == checks


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
    assert [clock_result(known).state for known in (True, False, None)] == ["ok", "note", "note"]


def results_of(check: str, config: ListenConfig) -> list[CheckResult]:
    return [result for result in examine(config) if result.check == check]


@pytest.fixture
def no_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the check that opens microphones."""
    monkeypatch.setattr(doctor, "microphones", lambda config: [])


@pytest.mark.usefixtures("no_microphone")
def test_a_full_disk_is_reported_at_the_place_of_the_outputs(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig(name=str(tiny_folder))
    config = ListenConfig(model=model, output=OutputConfig(journal=str(tmp_path / "not yet" / "events.db")))
    (result,) = results_of("disk", config)
    assert (result.state, result.advice) == ("ok", "")
    (kept,) = results_of("disk", ListenConfig(model=model, output=OutputConfig(keep_audio=str(tmp_path))))
    assert kept.message.endswith(f"free at {tmp_path}")  # not at the folder around it
    monkeypatch.setattr(doctor, "LEAST_DISK", 1e18)
    (result,) = results_of("disk", config)
    assert (result.state, result.advice) == ("fault", f"df -h {tmp_path}")


@pytest.mark.usefixtures("no_microphone")
def test_a_damaged_model_is_reported_with_its_hash(tmp_path: Path, tiny_folder: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_folder.iterdir():
        data = bytearray(file.read_bytes())
        if file.suffix == ".onnx":
            data[-1] ^= 1
        (broken / file.name).write_bytes(data)
    (result,) = results_of("model", ListenConfig(model=ModelConfig(name=str(broken))))
    assert result.state == "fault"
    assert "SHA-256" in result.message
    assert result.advice


@pytest.mark.usefixtures("no_microphone")
def test_a_model_that_cannot_caption_a_stream_is_a_fault(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BundleError("its decoder takes at most 3 beams")

    monkeypatch.setattr(threads, "rehearse", refuse)
    (result,) = results_of("model", ListenConfig(model=ModelConfig(name=str(tiny_folder))))
    assert (result.state, result.message) == ("fault", "its decoder takes at most 3 beams")


def test_every_result_but_a_good_one_says_what_to_type(tiny_folder: Path) -> None:
    results = list(examine(ListenConfig(model=ModelConfig(name=str(tiny_folder)))))
    checks = {"portaudio", "devices", "holders", "level", "model", "threads", "speed", "heat", "disk", "clock"}
    assert {result.check for result in results} >= checks
    assert all(result.message and bool(result.advice) == (result.state != "ok") for result in results)


def test_the_command_ends_with_11_where_something_is_wrong(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    done = edgecap("doctor", "--json", "--model", tiny_folder, "--device", "no such microphone")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 11, done.stderr
    assert all(set(document) == {"check", "state", "found", "type"} for document in documents)
    assert any(document["state"] == "fault" and document["check"] == "level" for document in documents)
    lines = edgecap("doctor", "--model", tiny_folder, "--device", "no such microphone").stdout.splitlines()
    wrong = [document for document in documents if document["state"] != "ok"]
    assert len([line for line in lines if line.strip().startswith("→ ")]) == len(wrong)
    (tmp_path / "a.toml").write_text("[stream]\nhop = 0\n")
    done = edgecap("doctor", "--config", tmp_path / "a.toml")
    assert done.returncode == 2
    assert "a.toml:2" in done.stderr
