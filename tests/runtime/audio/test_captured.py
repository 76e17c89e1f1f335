"""Microphones in a process of their own: a PortAudio in the test's hands, and the hang of a real one."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecap.audio import captured, microphone
from edgecap.audio.captured import CapturedMicrophone, sound_system
from edgecap.audio.microphone import find_device
from edgecap.audio.sound_cards import Holder
from edgecap.captioner import Captioner
from edgecap.cli.taught.recording import record_examples
from edgecap.doctor import examine
from edgecap.errors import DeviceError, MissingDependencyError, StuckDeviceError
from edgecap.live.config.listen_config import ListenConfig
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.virtual_microphone import listen, next_event, until

PORTAUDIO = """
import threading, time
from types import SimpleNamespace
class PortAudioError(Exception): pass
default = SimpleNamespace(device=[1, 0])
def get_portaudio_version(): return 1246976, "PortAudio V19.7, revision x"
def query_hostapis(): return [{"name": "AL\\x1b[2JSA"}]
def query_devices():
    names = [("speaker", 0), ("USB mic", 2), ("other", 1)]
    return [{"name": n, "max_input_channels": c, "default_samplerate": 8000.0, "hostapi": 0} for n, c in names]
class RawInputStream:
    active = True
    def __init__(self, device, dtype, callback, samplerate, channels, **_):
        assert dtype == "float32"
        self.device, self.callback, self.channels, self.rate = device, callback, channels, samplerate
    def start(self):
        self.run()
        threading.Thread(target=self.speak, daemon=True).start()
    def run(self): pass
    def speak(self):
        import array
        time.sleep(0.5)  # what comes before it is said to be open is no sound yet
        for place in range(10):
            block = array.array("f", [place] * 80 * self.channels)
            self.callback(memoryview(block), 80, None, SimpleNamespace(input_overflow=place == 3))
            time.sleep(0.02)
        self.last()
    def last(self): pass
    def close(self, ignore_errors): pass
"""
OF_C = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
int snd_pcm_start(void *device) {
    const char *path = getenv("EDGECAP_REFUSE_START");
    void *library = dlopen("libasound.so.2", RTLD_LAZY | RTLD_NOLOAD);
    int (*start)(void *) = library ? dlsym(library, "snd_pcm_start") : 0;
    return !start || (path && unlink(path) == 0) ? -EIO : start(device);
}
"""
"""Refuses once what PortAudio waits for, where that file is."""
Open = Callable[..., CapturedMicrophone]


@pytest.fixture
def portaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets processes have `PORTAUDIO` with some more lines."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def let(more: str) -> None:
        (tmp_path / "sounddevice.py").write_text(PORTAUDIO + more)

    return let


@pytest.fixture
def opening(portaudio: Callable[[str], None]) -> Iterator[Open]:
    """Opens a microphone of that."""
    opened = []

    def begin(more: str = "", query: str | None = None) -> CapturedMicrophone:
        portaudio(more)
        opened.append(CapturedMicrophone(lambda devices: find_device(query, devices), 2.0))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def sound(microphone: CapturedMicrophone, frames: int) -> np.ndarray:
    parts, deadline = [microphone.ring.read()[0]], time.monotonic() + 20
    while sum(map(len, parts)) < frames and time.monotonic() < deadline:
        time.sleep(0.01)
        parts.append(microphone.ring.read()[0])
    return np.concatenate(parts)


def test_its_sound_comes_whole_and_what_was_lost_is_counted(opening: Open) -> None:
    microphone = opening().opened()
    assert (microphone.device.name, microphone.device.index, microphone.device.default) == ("USB mic", 1, True)
    assert microphone.device.host == r"AL\x1b[2JSA"
    assert (microphone.sample_rate, microphone.active) == (8000.0, True)
    heard = sound(microphone, 800)
    assert heard.shape == (800, 2)
    assert np.array_equal(heard[:, 0], np.repeat(np.arange(10), 80))
    assert microphone.overflows == 1


def test_one_that_is_pulled_out_ends(opening: Open) -> None:
    microphone = opening("class Gone(RawInputStream):\n def last(self): self.active = False\nRawInputStream = Gone")
    assert microphone.opened().active
    deadline = time.monotonic() + 20
    while microphone.active and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not microphone.active
    assert microphone._process.wait(20) == 0


REFUSE = "class No(RawInputStream):\n def run(self): raise PortAudioError('bad\\x1b[2J rate')\nRawInputStream = No"


@pytest.mark.parametrize(
    ("more", "query", "error", "words"),
    [
        (REFUSE, None, DeviceError, r"'USB mic' cannot be opened \(bad\\x1b\[2J rate; close other programs"),
        ("", "nothing", DeviceError, "no microphone is called 'nothing'"),
        ("def query_devices(): raise PortAudioError('no server')", None, DeviceError, r"does not answer \(no server\)"),
        ("raise OSError('PortAudio library not found')", None, MissingDependencyError, "install libportaudio2"),
        ("import os\nos._exit(0)", None, DeviceError, "its process ended"),
        ("import os\nos.write(1, b'\\1\\xff\\xff\\xff\\xff')", None, DeviceError, "its process ended"),
    ],
)
def test_why_it_cannot_be_opened(
    opening: Open, more: str, query: str | None, error: type[Exception], words: str
) -> None:
    microphone = opening(more, query)
    with pytest.raises(error, match=words):
        microphone.opened()
    assert not microphone.active
    assert microphone._process.poll() is not None


HANGING_LIST = "def query_devices(): time.sleep(600)"
HANGING_START = "class Hang(RawInputStream):\n def run(self): time.sleep(600)\nRawInputStream = Hang"


@pytest.mark.parametrize("where", [HANGING_LIST, HANGING_START])
def test_one_that_hangs_is_ended(opening: Open, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(captured, "START_SECONDS", 0.5)
    microphone = opening(where)
    assert not microphone.settled(0.0)
    with pytest.raises(StuckDeviceError, match="the sound system hangs while"):
        microphone.opened()
    assert microphone._process.poll() is not None  # so the device is free again


def test_one_that_hangs_in_the_kernel_and_cannot_be_ended_holds_nobody_up(
    opening: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "START_SECONDS", 0.5)
    monkeypatch.setattr(captured, "END_SECONDS", 0.1)
    microphone = opening(HANGING_LIST)
    with monkeypatch.context() as kernel:
        kernel.setattr(microphone._process, "kill", lambda: None)
        with pytest.raises(StuckDeviceError, match="the sound system hangs while"):
            microphone.opened()
        assert microphone._process.poll() is None


def test_portaudio_says_its_version_and_what_there_is(portaudio: Callable[[str], None]) -> None:
    portaudio("")
    system = sound_system()
    assert system.version == "PortAudio V19.7"
    assert [(device.name, device.default) for device in system.devices] == [("USB mic", True), ("other", False)]
    portaudio("import os\nos._exit(0)")
    with pytest.raises(DeviceError, match="its process ended"):
        sound_system()


def test_a_sound_system_that_hangs_is_a_fault_of_the_doctor_and_holds_no_command_up(
    portaudio: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, captioner: Captioner
) -> None:
    monkeypatch.setattr(captured, "START_SECONDS", 1.0)
    portaudio(HANGING_LIST)
    for command in (sound_system, lambda: record_examples(captioner, None, 1)):
        with pytest.raises(StuckDeviceError, match="the sound system hangs while"):
            command()
    results = {each.check: each for each in examine(ListenConfig()) if each.check in {"portaudio", "devices", "level"}}
    assert results["portaudio"].state == results["level"].state == "fault"
    assert "hangs while it lists the devices" in results["portaudio"].message
    portaudio(HANGING_START)
    results = {each.check: each for each in examine(ListenConfig()) if each.check in {"portaudio", "devices", "level"}}
    assert (results["portaudio"].state, results["devices"].state, results["level"].state) == ("ok", "ok", "fault")
    assert "hangs while the microphone 'USB mic' is opened" in results["level"].message


def test_a_rate_that_is_refused_is_followed_by_others(opening: Open) -> None:
    of_44100 = """
class Picky(RawInputStream):
    def run(self):
        if (self.rate, self.channels) != (44100.0, 1): raise PortAudioError("Invalid sample rate")
RawInputStream = Picky"""
    microphone = opening(of_44100).opened()
    assert (microphone.sample_rate, microphone.active) == (44_100.0, True)
    assert sound(microphone, 80).shape[1] == 1


@pytest.mark.parametrize(
    ("holding", "closed", "advice"),
    [
        ([Holder("/dev/snd/pcmC1D0c", 123, "arecord")], [], r"arecord \(process 123\) holds it; close it"),
        ([], [Path("/dev/snd/pcmC1D0c")], "type: sudo usermod -aG audio"),
        ([], [], "choose another: edgecap devices"),
    ],
)
def test_one_that_does_not_open_names_its_holder(
    opening: Open, monkeypatch: pytest.MonkeyPatch, holding: list[Holder], closed: list[Path], advice: str
) -> None:
    monkeypatch.setattr(microphone, "holders", lambda: holding)
    monkeypatch.setattr(microphone, "forbidden", lambda: closed)
    names = (
        "def query_hostapis(): return [{'name': 'ALSA'}]\ndef query_devices(): return [{'name': 'USB: Audio (hw:1,0)', "
    )
    names += "'max_input_channels': 1, 'default_samplerate': 8000.0, 'hostapi': 0}]"
    with pytest.raises(DeviceError, match=advice):
        opening(f"{REFUSE}\n{names}", "USB").opened()


def test_nothing_of_it_is_left_when_its_reader_is_gone(opening: Open) -> None:
    microphone = opening().opened()
    assert microphone._process.stdin is not None
    microphone._process.stdin.close()
    assert microphone._process.wait(20) == 0


def test_a_portaudio_that_hangs_when_a_microphone_is_back_is_replaced(
    microphone: VirtualMicrophone, tiny_folder: Path, long_noise: Path
) -> None:
    """The real hang: ALSA refuses to start what it opened, and PortAudio 19.6 waits for ever (its issue 535)."""
    if shutil.which("cc") is None:
        pytest.skip("it takes a C compiler to let ALSA refuse")
    library, refuse = microphone.home / "refuse.so", microphone.home / "refuse"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(command, input=OF_C, text=True, check=True)
    microphone.environment |= {"LD_PRELOAD": str(library), "EDGECAP_REFUSE_START": str(refuse)}
    listening = listen(microphone, tiny_folder, "--json", "--hop", 0.5, "--min-score", -99, "--close-after", 1)
    try:
        microphone.play(long_noise)
        next_event(listening)
        microphone.hush()
        refuse.touch()
        microphone.unplug()
        until(listening, "gives no more sound")
        microphone.plug_in()
        until(
            listening, "the sound system hangs while the microphone 'default' is opened; check its plug; trying again"
        )
        assert not refuse.exists()
        microphone.play(long_noise)
        next_event(listening)
        listening.terminate()
        assert listening.wait(60) == 0
    finally:
        listening.kill()
        listening.communicate()
