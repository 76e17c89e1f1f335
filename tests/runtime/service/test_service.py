"""The systemd unit: checked by systemd's own tools, and run by a real systemd where one can be started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.errors import ConfigError, OutputError, ServiceError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.listen_config import ListenConfig, OutputConfig
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.watchdog import Notifier, Watchdog, state
from edgecap.service import systemd
from edgecap.service.unit import NAME, Network, Scope, Unit, configuration_of, network, render
from support.live_parts import Clock, usb_status

Run = Callable[..., subprocess.CompletedProcess[str]]
MOST_EXPOSURE = 20
"""Tenths of systemd's scale, on which 10.0 is a process with all rights; below 2.0 it says OK."""


def unit(scope: Scope = "system", used: Network = "none") -> Unit:
    return Unit(
        scope=scope,
        python=Path(sys.executable),
        config=Path("/etc/edgecap/listen.toml"),
        network=used,
        home_needed=False,
    )


def write(folder: Path, *arguments: object) -> Path:
    (folder / NAME).write_text(render(unit(*arguments)))  # type: ignore[arg-type]
    return folder / NAME


@pytest.fixture
def analyze(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    (tmp_path / "run").mkdir(mode=0o700)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemd-analyze", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        )

    return run


@pytest.mark.parametrize("used", ["none", "local", "all"])
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, analyze: Run, used: Network) -> None:
    done = analyze("verify", "--man=no", write(tmp_path, "system", used))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    done = analyze("--user", "verify", "--man=no", write(tmp_path, "user", used))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("scope", ["system", "user"])
def test_memory_that_runs_out_ends_at_most_what_took_it_and_the_listener_comes_back(scope: Scope) -> None:
    lines = render(unit(scope)).splitlines()
    assert {"OOMPolicy=continue", "Restart=always", "StartLimitIntervalSec=0"} <= set(lines)
    assert "9" not in next(line for line in lines if line.startswith("RestartPreventExitStatus")).split("=")[1].split()


@pytest.mark.parametrize("scope", ["system", "user"])
@pytest.mark.parametrize("used", ["none", "local", "all"])
def test_systemd_calls_the_service_well_confined(tmp_path: Path, analyze: Run, scope: Scope, used: Network) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", write(tmp_path, scope, used))
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert "Overall exposure level for edgecap.service" in done.stdout


@pytest.mark.parametrize(
    ("config", "used"),
    [
        (ListenConfig(), "none"),
        (ListenConfig(output=OutputConfig(journal="a.db", csv="a.csv")), "none"),
        (ListenConfig(output=OutputConfig(metrics="9100"), web=WebConfig(address="127.0.0.1:8080")), "local"),
        (ListenConfig(mqtt=MqttConfig(host="localhost")), "local"),
        (ListenConfig(mqtt=MqttConfig(host="broker.lan")), "all"),
        (ListenConfig(web=WebConfig(address="0.0.0.0:8080")), "all"),
        (ListenConfig(output=OutputConfig(webhook="https://example.org/x")), "all"),
        (ListenConfig(output=OutputConfig(exec="curl example.org")), "all"),
        (ListenConfig(output=OutputConfig(syslog="/dev/log")), "none"),
        (ListenConfig(output=OutputConfig(syslog="logs.lan:514")), "all"),
    ],
)
def test_the_network_is_allowed_only_where_events_go_there(config: ListenConfig, used: Network) -> None:
    assert network(config) == used
    text = render(unit(used=used))
    assert ("PrivateNetwork=yes" in text) == (used == "none")
    assert ("AF_INET" in text) == (used != "none")


def test_a_path_with_signs_of_systemd_is_taken_as_it_is() -> None:
    text = render(
        Unit(scope="user", python=Path("/opt/a b/100%/$x/python"), config=Path("/c"), network="none", home_needed=True)
    )
    assert 'ExecStart="/opt/a b/100%%/$$x/python" -m edgecap listen' in text


@pytest.mark.parametrize("name", ["a\nExecStartPost=b", "a\rb", "a\x1b", "a\udcff"])
def test_a_path_writes_no_line_of_its_own_into_the_unit(name: str) -> None:
    unit = Unit(scope="user", python=Path("/b/python"), config=Path("/c") / name, network="none", home_needed=False)
    with pytest.raises(ConfigError, match=r"a unit cannot hold the path '/c/a"):
        render(unit)


def test_a_path_is_quoted_as_systemd_reads_it() -> None:
    config = Path('/c/it\'s \\x41 "100%".toml')
    unit = Unit(scope="user", python=Path("/b/python"), config=config, network="none", home_needed=False)
    assert '--config "/c/it\'s \\\\x41 \\"100%%\\".toml" --wait' in render(unit)


@pytest.fixture
def no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(systemd, "RUNNING", tmp_path / "nowhere")
    return tmp_path


def test_installing_writes_a_configuration_that_waits_and_says_what_to_type(no_systemd: Path) -> None:
    report = systemd.install("user")
    config = load_config(no_systemd / "edgecap/listen.toml")
    assert (config.source.wait, config.output.journal) == (True, "events.db")
    assert (no_systemd / "edgecap/listen.toml").stat().st_mode & 0o777 == 0o600
    assert "systemctl --user daemon-reload && systemctl --user enable --now edgecap.service" in report[-1]
    (no_systemd / "edgecap/listen.toml").write_text('[output]\nmetrics = "9100"\n')
    systemd.install("user")  # takes the configuration that is there
    assert "IPAddressAllow=localhost" in (no_systemd / "systemd/user" / NAME).read_text()
    assert systemd.status("user")["installed"]
    systemd.remove("user")
    assert not systemd.status("user")["installed"]
    assert (no_systemd / "edgecap/listen.toml").exists()
    assert "nothing to remove" in systemd.remove("user")[0]


def test_the_written_configuration_says_what_to_type_after_a_change(no_systemd: Path) -> None:
    systemd.install("user")
    first = (no_systemd / "edgecap/listen.toml").read_text().splitlines()[0]
    assert first == "# After a change type: edgecap service install"


def test_a_change_that_the_unit_does_not_know_is_told_by_the_status(no_systemd: Path) -> None:
    systemd.install("user")
    assert systemd.status("user")["changed"] == ""
    for change in ('[mqtt]\nhost = "broker.lan"\n', '[output]\njournal = "/mnt/usb/events.db"\n'):
        (no_systemd / "edgecap/listen.toml").write_text(change)
        assert str(systemd.status("user")["changed"]).endswith("; type: edgecap service install")
        systemd.install("user")
        assert systemd.status("user")["changed"] == ""
    (no_systemd / "edgecap/listen.toml").write_text("[stream]\nhop = -1\n")
    assert "stream.hop must be a number above 0" in str(systemd.status("user")["changed"])


def test_folders_of_outputs_may_be_written(no_systemd: Path) -> None:
    (no_systemd / "edgecap").mkdir()
    (no_systemd / "edgecap/listen.toml").write_text(
        '[output]\njournal = "/mnt/usb/events.db"\nkeep_audio = "/mnt/my 100%/kept"\ncsv = "here.csv"\n'
    )
    systemd.install("user")
    lines = (no_systemd / "systemd/user" / NAME).read_text().splitlines()
    assert [line for line in lines if line.startswith("ReadWritePaths")] == [
        'ReadWritePaths="-/mnt/my 100%%/kept"',
        "ReadWritePaths=-/mnt/usb",
    ]


@pytest.mark.parametrize("name", ["a.toml", "a b/100%/$x.toml", 'a"b.toml', "back\\slash.toml"])
def test_the_unit_tells_where_its_configuration_is(name: str) -> None:
    config = Path("/etc") / name
    assert configuration_of(render(replace(unit("user"), config=config))) == config


def test_systemd_takes_the_folders_of_the_outputs(tmp_path: Path, analyze: Run) -> None:
    folders = (tmp_path / "a b", tmp_path / "100%", tmp_path / 'quote"', tmp_path / "$x", tmp_path / "back\\slash")
    (tmp_path / NAME).write_text(render(replace(unit("user"), folders=folders)))
    done = analyze("--user", "verify", "--man=no", tmp_path / NAME)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_broken_configuration_installs_nothing(no_systemd: Path) -> None:
    (no_systemd / "a.toml").write_text("[stream]\nhop = -1\n")
    with pytest.raises(ConfigError, match=r"a\.toml:2"):
        systemd.install("user", no_systemd / "a.toml")
    assert not systemd.service_paths("user").unit.exists()


@pytest.mark.parametrize("text", ['webhook = "http://[::1/x"', 'metrics = "house:"'])
def test_an_address_that_is_none_installs_nothing(no_systemd: Path, text: str) -> None:
    (no_systemd / "a.toml").write_text(f"[output]\n{text}\n")
    with pytest.raises(ConfigError, match=r"invalid (address|URL)"):
        systemd.install("user", no_systemd / "a.toml")
    assert not systemd.service_paths("user").unit.exists()


def test_a_systemctl_that_hangs_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "systemctl"
    tool.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(systemd, "RUNNING", tmp_path)
    monkeypatch.setattr(systemd, "CALL_SECONDS", 0.3)
    with pytest.raises(ServiceError, match=r"did not finish in 0\.3 s; see: journalctl --user"):
        systemd.status("user")


def test_a_place_that_cannot_be_written_is_told(no_systemd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_systemd / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(no_systemd / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        systemd.install("user")


def test_the_command_says_that_nothing_is_installed(edgecap: Run, tmp_path: Path) -> None:
    done = edgecap("service", "status", "--json", env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert done.returncode == 11
    assert json.loads(done.stdout)["installed"] is False


class Manager:
    """The end of the socket at which systemd would sit."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "30000000"}

    def heard(self) -> list[str]:
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def statuses(*faults: str) -> list[StatusSnapshot]:
    return [usb_status(source=f"mic {number}", fault=fault) for number, fault in enumerate(faults)]


def test_states_of_the_watchdog() -> None:
    assert state(statuses("", ""), 0.5) == "listening"
    assert state(statuses("digital silence", ""), 0.5) == "listening"  # one of them hears
    assert state(statuses("digital silence", "the microphone gives no sound"), 0.0) == "deaf"
    assert state(statuses(""), 61.0) == "stuck"


def test_the_watchdog_is_fed_while_the_loop_turns_and_not_while_a_caption_hangs(manager: Manager) -> None:
    clock = Clock()
    watchdog = Watchdog(Notifier(manager.environment), clock)
    watchdog.beat(statuses("the microphone is not there yet"), 0.0)
    first = manager.heard()
    assert first[0] == "READY=1"  # a microphone that is not there is waited for
    assert "STATUS=mic 0: the microphone is not there yet" in first
    assert first[-1] == "WATCHDOG=1"
    for _ in range(100):
        clock.sleep(0.1)
        watchdog.beat(statuses(""), 0.0)
    beats = manager.heard().count("WATCHDOG=1")
    assert 1 <= beats <= 2  # at least every third of the time, not with every step
    for _ in range(600):
        clock.sleep(0.1)
        watchdog.beat(statuses(""), 100.0)
    lines = manager.heard()
    assert "WATCHDOG=1" not in lines
    assert any("a caption has taken more than" in line for line in lines)
    watchdog.stop()
    assert "STOPPING=1" in manager.heard()


def test_without_a_service_manager_nothing_is_sent() -> None:
    Watchdog(Notifier({}), Clock()).beat(statuses(""), 0.0)
    assert not Notifier({})
    assert Notifier({"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}).watchdog_seconds is None
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).send("READY=1")


def test_listening_tells_the_manager_that_it_is_ready_and_that_it_stops(
    manager: Manager, edgecap: Run, tiny_folder: Path, sounds: Path
) -> None:
    done = edgecap(
        "listen", "--model", tiny_folder, "--file", sounds / "noise.wav", "--speed", 0, env=manager.environment
    )
    assert done.returncode == 0, done.stderr
    heard = manager.heard()
    assert heard[0] == "READY=1"
    assert "WATCHDOG=1" in heard
    assert "STOPPING=1" in heard
    assert not any("dog" in line.lower().replace("watchdog", "") for line in heard if line.startswith("STATUS"))


MANAGER = """
mount -t tmpfs tmpfs /run/systemd && mkdir -p /run/systemd/system
exec /lib/systemd/systemd --user --unit=basic.target --log-target=null
"""
"""A user's systemd in a mount namespace of its own, which does not see the machine's."""


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    if not shutil.which("unshare") or not Path("/lib/systemd/systemd").exists() or os.geteuid() != 0:
        pytest.skip("a systemd of one's own needs root, unshare and systemd")
    for name in ("run", "config"):
        (tmp_path / name).mkdir(mode=0o700)
    # No socket path may have more than 107 characters, and pytest's folders are long.
    short = Path(f"/tmp/edgecap-{os.getpid()}")
    short.symlink_to(tmp_path)
    environment = {
        **os.environ,
        "HOME": str(short),
        "XDG_RUNTIME_DIR": str(short / "run"),
        "XDG_CONFIG_HOME": str(short / "config"),
    }
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", MANAGER],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "-t", str(process.pid), "-m", *map(str, command)]
        return subprocess.run(inside, env=environment, capture_output=True, text=True, check=False, timeout=120)

    try:
        for _ in range(300):
            if process.poll() is not None:
                pytest.skip("this machine lets nobody start a systemd")
            if run("systemctl", "--user", "is-active", "basic.target").returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.skip("the systemd of one's own did not come up")
        yield run
    finally:
        run("systemctl", "--user", "kill", "--signal=KILL", NAME)
        process.kill()
        process.wait()
        short.unlink()


def test_a_real_systemd_starts_it_without_a_microphone_and_starts_it_again_when_it_hangs(
    real: Run, tmp_path: Path, tiny_folder: Path
) -> None:
    config, drop = tmp_path / "config", tmp_path / "config/systemd/user/edgecap.service.d"
    drop.mkdir(parents=True)
    # Two need mounts that another sandbox refuses, and what the test has lies in /tmp; all else is as installed.
    (drop / "test.conf").write_text(
        "[Service]\nProtectKernelTunables=no\nProtectKernelLogs=no\nPrivateTmp=no\nWatchdogSec=3\nRestartSec=0\n"
    )
    (config / "edgecap").mkdir()
    (config / "edgecap/listen.toml").write_text(f'[model]\nname = "{tiny_folder}"\n[output]\njournal = "events.db"\n')

    def show() -> dict[str, object]:
        return dict(json.loads(real(sys.executable, "-m", "edgecap", "service", "status", "--json").stdout))

    def until(check: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        deadline = time.monotonic() + 60
        while not check(status := show()):
            assert time.monotonic() < deadline, status
            time.sleep(0.3)
        return status

    done = real(sys.executable, "-m", "edgecap", "service", "install")
    assert done.returncode == 0, done.stderr
    running = until(lambda status: bool(status["active"]) and "not there yet" in str(status["says"]))
    assert (config / "edgecap/events.db").exists()  # in the state folder, which a user's systemd 252 puts here
    os.kill(int(str(running["process"])), signal.SIGSTOP)  # it hangs
    again = until(lambda status: bool(status["active"]) and status["process"] != running["process"])
    assert int(str(again["restarts"])) >= 1
    assert real(sys.executable, "-m", "edgecap", "service", "remove").returncode == 0
    assert real("systemctl", "--user", "is-active", NAME).returncode != 0
