"""The syslog sink against real sockets, and from the command line."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecap.errors import ConfigError
from edgecap.live.sinks.syslog import Syslog, line
from support.live_parts import Messages, change, ignore, notifier, story

Run = Callable[..., subprocess.CompletedProcess[str]]
PRIORITY = "<30>"
"""Facility "daemon", severity "informational"."""


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    """A syslog daemon's UDP socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(20)
        yield bound


def address(daemon: socket.socket) -> str:
    return f"127.0.0.1:{daemon.getsockname()[1]}"


def test_the_beginning_and_the_end_of_an_event_are_a_line_each_by_udp(daemon: socket.socket) -> None:
    messages = Messages()
    sink = Syslog(address(daemon), notifier(messages))
    for item in story():
        sink.on_event(item)
    sink.close()
    lines = [daemon.recv(2048).decode() for _ in range(2)]
    head = rf"{PRIORITY}1 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}[+-]\d\d:\d\d \S+ edgecap \d+"
    assert re.fullmatch(rf"{head} begin - begin: a dog barks \(USB, -12 dBFS\)", lines[0])
    assert re.fullmatch(rf"{head} end - end: a dog barks \(USB, -12 dBFS, 4 s\)", lines[1])
    assert messages == []


def test_a_local_daemon_gets_the_short_form(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(20)
        sink = Syslog(str(tmp_path / "log"), ignore)
        sink.on_event(change("begin"))
        sink.close()
        text = daemon.recv(2048).decode()
    assert re.fullmatch(rf"{PRIORITY}edgecap\[\d+\]: begin: a dog barks \(USB, -12 dBFS\)", text)


def test_a_daemon_that_is_away_is_reported_once_and_gets_events_when_it_is_back(tmp_path: Path) -> None:
    messages, path = Messages(), tmp_path / "log"
    sink = Syslog(str(path), notifier(messages), first_delay=0.01)
    sink.on_event(change("begin", 1))
    sink.close()
    assert [kind for kind, _ in messages] == ["warning", "warning"]  # trying again, and given up
    assert f"{path} cannot be reached" in messages[0][1]
    messages.clear()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        daemon.settimeout(20)
        again = Syslog(str(path), notifier(messages), first_delay=0.01)
        again.on_event(change("begin", 2))
        assert b"a dog barks" in daemon.recv(2048)
        path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as restarted:
            restarted.bind(str(path))
            restarted.settimeout(20)
            daemon.close()
            again.on_event(change("end", 2))
            assert b"end: a dog barks" in restarted.recv(2048)
        again.close()
    assert messages == []


def test_a_host_that_cannot_be_resolved_never_ends_the_listener() -> None:
    messages = Messages()
    sink = Syslog("nowhere.invalid:514", notifier(messages), first_delay=0.01, grace=20.0)
    sink.on_event(change("begin"))
    sink.close()
    assert "cannot be reached" in messages[0][1]


def test_control_characters_cannot_forge_a_second_line() -> None:
    text = line(change("begin", text="rain\n<0>kernel: fault\0"), local=True)
    assert "\n" not in text
    assert "\0" not in text


def test_an_invalid_address_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="use PORT or HOST:PORT"):
        Syslog("logs.lan", ignore)


def test_the_command_sends_its_events_to_syslog(
    edgecap: Run, tiny_folder: Path, sounds: Path, daemon: socket.socket
) -> None:
    done = edgecap(
        *("listen", "--model", tiny_folder, "--file", sounds / "noise.wav", "--speed", 0, "--min-score", -99),
        *("--plain", "--syslog", address(daemon)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split(maxsplit=1)[1] in daemon.recv(2048).decode()
