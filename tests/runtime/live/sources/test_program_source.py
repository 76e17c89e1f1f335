"""Sound from programs: a real RTSP server, a real PulseAudio, a real PipeWire, and programs that fail."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from edgecap.errors import ConfigError, DeviceError, MissingDependencyError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, microphones
from edgecap.live.sinks.mqtt import names_of
from edgecap.live.sources import program_source, sound_programs
from edgecap.live.sources.program_source import ProgramSource
from edgecap.live.sources.sound_programs import SoundProgram, program_of, with_password
from edgecap.service.unit import network
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.live_parts import Clock, Messages, ignore, notifier
from support.mqtt_parts import eventually
from support.ports import refusing_port
from support.rtsp_server import PICTURE, SOUND, RtspServer
from support.signals import RATE

USER, PASSWORD = "me", "p@ss:w/rd"
WRITTEN = "p%40ss%3Aw%2Frd"


def opened(microphone: MicrophoneConfig, messages: Messages | None = None, *, wait: bool = False) -> ProgramSource:
    program = program_of(microphone, RATE, ignore)
    assert program is not None
    notify = ignore if messages is None else notifier(messages)
    return ProgramSource(program, RATE, notify, wait=wait, lost_after=2.0, retry=0.3, longest_retry=0.6)


def heard(source: ProgramSource, samples: int = RATE // 4) -> np.ndarray:
    """At least so many new samples."""
    parts: list[np.ndarray] = []

    def enough() -> bool:
        parts.append(source.read(0.1).samples)
        return sum(part.size for part in parts) >= samples

    eventually(enough)
    return np.concatenate(parts)


def lost(source: ProgramSource) -> str:
    """The fault, once there is one."""

    def faulty() -> bool:
        source.read(0.1)
        return bool(source.fault)

    eventually(faulty)
    return source.fault


def commands() -> list[str]:
    """Command lines of all processes but servers of these tests."""
    texts = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            texts.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [text for text in texts if "GstRtspServer" not in text]


def test_a_camera_with_a_password_is_heard_and_no_list_of_processes_shows_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "password").chmod(0o600)
    with RtspServer(SOUND, USER, PASSWORD) as camera:
        url = camera.url.replace("//", f"//{USER}@")
        with closing(opened(MicrophoneConfig(rtsp=url, password_file=str(tmp_path / "password")))) as source:
            assert source.name == "127.0.0.1"
            assert heard(source).std() == pytest.approx(0.8 / 3**0.5, rel=0.1)  # uniform noise of amplitude 0.8
            shown = commands()
    assert any("ffmpeg -hide_banner" in text for text in shown)
    assert not [text for text in shown if WRITTEN in text or PASSWORD in text]


def test_a_camera_that_goes_is_reported_once_and_heard_again_when_it_is_back() -> None:
    messages = Messages()
    with RtspServer() as camera, closing(opened(MicrophoneConfig(rtsp=camera.url), messages)) as source:
        heard(source)
        camera.stop()
        lost(source)
        eventually(lambda: source.read(0.1) and "nothing answers at this port" in source.fault)
        camera.start()
        assert heard(source).std() > 0.3
        assert source.fault == ""
    kinds = [kind for kind, _ in messages]
    assert kinds[-1] == "note"
    assert len(messages) == len(set(messages)) <= 4


def refusal(url: str) -> str:
    with pytest.raises(DeviceError) as error:
        opened(MicrophoneConfig(rtsp=url))
    assert "secret" not in str(error.value)
    return str(error.value)


def test_what_a_camera_refuses_is_an_error_that_says_so() -> None:
    with RtspServer(SOUND, USER, PASSWORD) as camera:
        who = f"{USER}:{WRITTEN}@127.0.0.1"
        for url in (camera.url, camera.url.replace("127.0.0.1", f"{USER}:secret@127.0.0.1")):
            assert "it wants a user and a password, or refuses these" in refusal(url)
        assert "no stream of this path" in refusal(camera.url.replace("127.0.0.1", who).replace("/1", "/secret"))


def test_a_camera_without_sound_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_programs, "ANSWER_SECONDS", 1)
    with RtspServer(PICTURE) as camera:
        assert "it gives no sound; switch the sound on in the camera's settings" in refusal(camera.url)


def test_an_address_that_is_down_is_an_error_unless_it_is_waited_for(ffmpeg: None) -> None:
    with refusing_port() as port:
        microphone = MicrophoneConfig(rtsp=f"rtsp://me:secret@127.0.0.1:{port}/1")
        with pytest.raises(DeviceError, match=r"^127\.0\.0\.1 cannot be heard: nothing answers at this port"):
            opened(microphone)
        messages = Messages()
        with closing(opened(microphone, messages, wait=True)) as source:
            assert "nothing answers" in lost(source)
        assert messages == [("warning", f"127.0.0.1 cannot be heard: {source.fault}; trying again")]
    with pytest.raises(DeviceError, match="no host of this name"):
        opened(MicrophoneConfig(rtsp="rtsp://camera.invalid/1"))


@pytest.fixture
def ffmpeg() -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs: apt install ffmpeg")


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for microphone, package in (
        (MicrophoneConfig(rtsp="rtsp://camera/1"), "ffmpeg"),
        (MicrophoneConfig(pulse="room"), "pulseaudio-utils"),
        (MicrophoneConfig(pipewire="room"), "pipewire-bin"),
    ):
        with pytest.raises(MissingDependencyError, match=f"not found; type: sudo apt install {package}$"):
            program_of(microphone, RATE, ignore)


def shell(script: str, meaning: Callable[[str], str] = lambda said: said.strip()) -> SoundProgram:
    return SoundProgram("the program", ("sh", "-c", script), "dash", meaning)


@pytest.mark.parametrize(
    ("says", "gaps"),
    [("", [1.0, 2.0, 4.0, 8.0, 8.0]), ("a user and a password", [80.0, 80.0])],
    ids=["fails", "password refused"],
)
def test_tries_become_rare_and_rarer_still_where_a_password_is_refused(
    says: str, gaps: list[float], tmp_path: Path
) -> None:
    clock, log, times = Clock(), tmp_path / "starts", list[float]()
    program = shell(f"echo >> {log}; echo {says} >&2; exit 1")
    source = ProgramSource(
        program, RATE, ignore, wait=True, retry=1.0, longest_retry=8.0, clock=clock, sleep=lambda _seconds: None
    )
    while clock.now < 1000.0 + sum(gaps) + 0.6:
        source.read(0.0)
        eventually(lambda: source._child is None or (source.read(0.02) and source._child is None))
        if len(log.read_text()) > len(times):
            times.append(clock.now)
        clock.sleep(0.5)
    assert np.diff(times).tolist() == gaps
    source.close()


def test_a_program_that_falls_silent_is_ended_and_started_again(tmp_path: Path) -> None:
    once = f"printf 'abcd'; test -e {tmp_path}/b || {{ touch {tmp_path}/b; exec sleep 100; }}; exec cat /dev/zero"
    source = ProgramSource(shell(once), RATE, ignore, lost_after=0.5, retry=0.1)
    assert source.read(0.1).samples.size == 2
    assert lost(source) == "it gives no sound" or source.fault == "its sound ended"
    assert heard(source, 1000).size >= 1000
    assert source.fault == ""
    source.close()


def test_odd_pieces_are_put_together_and_half_a_sample_of_an_ended_run_is_forgotten() -> None:
    source = ProgramSource(shell("printf '\\001'; sleep 0.2; printf '\\002\\003'; sleep 0.2; exit"), RATE, ignore)
    samples = heard(source, 1)
    assert (samples * 32_768).tolist() == [0x0201]
    source.close()


def test_what_a_program_says_without_end_is_read_and_only_its_end_is_kept() -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"
    with pytest.raises(DeviceError, match="the end"):
        ProgramSource(shell(script, lambda said: said.strip()[-7:] if len(said) < 5000 else ""), RATE, ignore)


def test_a_program_that_gives_nothing_at_the_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_source, "START_SECONDS", 0.3)
    with pytest.raises(DeviceError, match=r"^the program cannot be heard: it gives no sound$"):
        ProgramSource(shell("exec sleep 100"), RATE, ignore)


def test_nothing_is_left_of_the_program_of_a_killed_process() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (util-linux)")
    code = (
        "import sys; from edgecap.live.sources.program_source import ProgramSource\n"
        "from edgecap.live.sources.sound_programs import SoundProgram\n"
        "p = SoundProgram('x', ('sleep', '1000'), '', str)\n"
        "s = ProgramSource(p, 16000, print, wait=True); print(s._child.pid, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # from then on the kernel knows that it is to end with its parent
        eventually(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    eventually(lambda: not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text())


def test_a_source_of_pulseaudio_is_heard_by_its_name_and_no_other_in_its_place(
    microphone: VirtualMicrophone, long_noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in microphone.environment.items():
        monkeypatch.setenv(key, value)
    microphone.control("load-module", "module-null-sink", "sink_name=other")
    with pytest.raises(DeviceError, match=r"no 'kitchen'; there are .*room\.monitor.*; type: pactl list short sources"):
        opened(MicrophoneConfig(pulse="kitchen"))
    microphone.play(long_noise)
    with closing(opened(MicrophoneConfig(pulse="room.monitor"))) as source:
        assert source.name == "room.monitor"
        eventually(lambda: heard(source).std() > 0.05)
        microphone.unplug()  # PulseAudio moves the program to the other source
        assert lost(source) in {"its source is gone", "PulseAudio has no source of this name"}
        microphone.plug_in()
        heard(source)
        assert source.fault == ""
        microphone.stop()
        eventually(lambda: source.read(0.1) and "PulseAudio does not answer" in source.fault)


PIPEWIRE = """
pipewire & wireplumber &
until wpctl status >/dev/null 2>&1; do sleep 0.1; done
for name in room other; do
  pw-cli create-node adapter "{ factory.name=support.null-audio-sink node.name=$name \
media.class=Audio/Source/Virtual object.linger=true audio.position=[FL FR] }" >/dev/null
done
until pw-dump | grep -q '"other"'; do sleep 0.1; done
echo ready
read -r _
kill %1 %2
"""


@contextmanager
def pipewire(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PipeWire with the sources "room" and "other"."""
    programs = ("pipewire", "wireplumber", "wpctl", "pw-record", "dbus-run-session")
    if not all(map(shutil.which, programs)):
        pytest.skip("needs: apt install pipewire wireplumber dbus")
    for name in ("XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, str(folder))
    command, pipe = ["dbus-run-session", "--", "bash", "-c", PIPEWIRE], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        assert "ready\n" in iter(server.stdout.readline, "")
        try:
            yield
        finally:
            server.stdin.write("\n")
            server.stdin.flush()
            server.wait(20)


def test_a_source_of_pipewire_is_heard_by_its_name_and_no_other_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "(room, other|other, room)"
    with pipewire(tmp_path, monkeypatch):
        with monkeypatch.context() as short:
            short.setattr(program_source, "START_SECONDS", 1.5)
            with pytest.raises(DeviceError, match=rf"no 'kitchen'; there are {names}; type"):
                opened(MicrophoneConfig(pipewire="kitchen"))
        with closing(opened(MicrophoneConfig(pipewire="room"))) as source:
            heard(source)
            listed = json.loads(subprocess.run(["pw-dump"], check=True, capture_output=True).stdout)
            nodes = [item["id"] for item in listed if "room" in str(item.get("info", {}).get("props", {}))[:4000]]
            for node in nodes:
                subprocess.run(["pw-cli", "destroy", str(node)], check=True, capture_output=True)
            assert lost(source)
            source.read(0.5)
            assert not source.read(0.5).samples.size
    with pytest.raises(DeviceError, match="PipeWire does not answer"):
        opened(MicrophoneConfig(pipewire="room"))


def test_addresses_are_never_shown(
    tmp_path: Path, tiny_folder: Path, edgecap: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    config = load_config(None, {"source": {"rtsp": ["rtsp://me:secret@camera/secret"]}})
    assert "secret" not in render_config(config, secrets=False)
    assert load_config_of(render_config(config), tmp_path).source == config.source
    table = tmp_path / "several.toml"
    table.write_text('[[microphones]]\nrtsp = "rtsp://me:secret@camera/1"\n[[microphones]]\ndevice = "USB"\n')
    assert "secret" not in render_config(load_config(table), secrets=False)
    with refusing_port() as port:
        result = edgecap("listen", "--model", tiny_folder, "--rtsp", f"rtsp://me:secret@127.0.0.1:{port}/secret")
    assert result.returncode == 6, result.stderr
    assert "all users of this machine can read the password in --rtsp" in result.stderr
    assert "secret" not in result.stderr + result.stdout


def load_config_of(text: str, folder: Path) -> ListenConfig:
    (folder / "again.toml").write_text(text)
    return load_config(folder / "again.toml")


@pytest.mark.parametrize(
    "url",
    [
        "http://secret@camera/1",
        "camera",
        "rtsp://",
        "rtsp://camera:99999/secret",
        "rtsp://[::secret/1",
        "rtsp://camera/secret 1",
        "rtsp://camera/'secret",
        "rtsp://camera/secret\nfile x",
        "rtsp://me:sécret@camera/secret",
    ],
)
@pytest.mark.parametrize("place", ["option", "table"])
def test_what_is_no_address_of_a_camera_is_refused_without_showing_it(url: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f"[[microphones]]\nrtsp = {json.dumps(url)}\n")
    with pytest.raises(ConfigError, match="rtsp: ") as error:
        load_config(None, {"source": {"rtsp": url}}) if place == "option" else load_config(tmp_path / "a.toml")
    assert "secret" not in str(error.value)


def test_kinds_of_microphones_can_be_mixed_and_options_override_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[source]\ndevice = "USB"\nrtsp = ["rtsp://a/1", "rtsp://a/2"]\n')
    config = load_config(tmp_path / "a.toml")
    assert [each.place for each in microphones(config) if each] == ["USB", "a", "a"]
    assert names_of(config) == ["USB", "a", "a 3"]
    assert network(config) == "all"
    over = load_config(tmp_path / "a.toml", {"source": {"pulse": "room"}})
    assert microphones(over) == [MicrophoneConfig(pulse="room")]
    assert network(over) == "none"
    (tmp_path / "b.toml").write_text('[source]\npulse = "room"\n[[microphones]]\npipewire = "room"\n')
    with pytest.raises(ConfigError, match=r"b.toml:3: .* by \[\[microphones\]\] or by source.pulse, not by both"):
        load_config(tmp_path / "b.toml")


def test_a_microphone_is_one_thing(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        '[[microphones]]\ndevice = "a"\n\n[[microphones]]\npulse = "a"\nrtsp = "rtsp://b/1"\n'
    )
    with pytest.raises(ConfigError, match=r"a.toml:4: .* number 2 needs one of device, .* pipewire, and only one$"):
        load_config(tmp_path / "a.toml")


def test_the_password_of_a_file_is_percent_encoded_and_needs_a_user(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\nnever read")
    (tmp_path / "password").chmod(0o600)
    file = str(tmp_path / "password")
    assert with_password("rtsp://me@camera:1/2", file, ignore) == f"rtsp://me:{WRITTEN}@camera:1/2"
    for url in ("rtsp://camera/1", "rtsp://me:again@camera/1"):
        with pytest.raises(ConfigError, match="needs an address with a user and no password"):
            with_password(url, file, ignore)
