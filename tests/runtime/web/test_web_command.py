"""`edgecap demo` and `edgecap listen --web` as processes: addresses, ports, signals, configuration."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

import edgecap as package
from support.signals import RATE, noise
from support.web_parts import until

Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def running(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgecap", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_demo_prints_its_address_and_ends_cleanly(tiny_folder: Path, number: int) -> None:
    with running("demo", "--web", "0", "--model", tiny_folder) as child:
        assert child.stdout
        assert child.stderr
        url = child.stdout.readline().strip()
        assert get(f"{url}about")["model"] == "tiny"
        child.send_signal(number)
        assert child.wait(20) == 0
        assert child.stdout.read() == ""
        assert child.stderr.read().splitlines() == ["edgecap: note: Ctrl-C stops"]


def test_the_demo_opens_the_browser_where_asked(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "browser").write_text(f'#!/bin/sh\nprintf %s "$1" > "{tmp_path}/opened"\n')
    (tmp_path / "browser").chmod(0o755)
    with running("demo", "--web", "0", "--open", "--model", tiny_folder, BROWSER=f"{tmp_path}/browser %s") as child:
        assert child.stdout
        url = child.stdout.readline().strip()
        opened = tmp_path / "opened"
        until(lambda: opened.is_file() and opened.read_text())
        assert opened.read_text() == url


def test_a_listener_ends_cleanly_though_browsers_watch(tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", noise(300), RATE)
    with running("listen", "--file", tmp_path / "noise.wav", "--model", tiny_folder, "--web", "0") as child:
        assert child.stderr
        errors = child.stderr
        url = until(lambda: errors.readline().rstrip().partition("the live page is at ")[2])
        watchers = [urllib.request.urlopen(f"{url}events", timeout=20) for _ in range(3)]
        assert all(watcher.readline().startswith(b"id: ") for watcher in watchers)
        child.terminate()
        assert child.wait(20) == 0
        for watcher in watchers:
            assert b"event: bye" in watcher.read()
            watcher.close()


def test_a_busy_port_is_one_line_and_exit_code_7(edgecap: Run, tiny_folder: Path, sounds: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in (("demo",), ("listen", "--file", sounds / "noise.wav")):
            done = edgecap(*command, "--web", port, "--model", tiny_folder)
            assert done.returncode == 7
            assert done.stdout == ""
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"edgecap: error: the page cannot be served at 127.0.0.1:{port} (Address already")
            assert "choose another port" in line


def test_wrong_addresses_and_tokens_are_exit_code_2(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[web]\naddress = "0.0.0.0:0"\ntoken = "short"\n')
    (tmp_path / "token").write_text("short\n")
    (tmp_path / "token").chmod(0o600)
    for arguments, said in (
        (("demo", "--web", "http://here"), "invalid address 'http://here'; use PORT or HOST:PORT"),
        (("demo", "--web", "0.0.0.0:0", "--token-file", tmp_path / "token"), "is not 12 to 128 letters, digits or"),
        (("listen", "-c", tmp_path / "a.toml", "--print-config"), "a.toml:3: web.token"),
    ):
        done = edgecap(*arguments, *(("--model", tiny_folder) if arguments[0] == "demo" else ()))
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_configuration_of_the_page_is_printed_and_read(edgecap: Run, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[web]\naddress = "0.0.0.0:8700"\nhosts = ["box.example"]\n')
    printed = edgecap("listen", "-c", tmp_path / "a.toml", "--print-config").stdout
    lines = printed.splitlines()
    assert {'address = "0.0.0.0:8700"', "# token = (not set)"} <= set(lines[lines.index("[web]") :])
    assert 'hosts = ["box.example"]' in printed
    assert 'address = "8642"' in edgecap("listen", "-c", tmp_path / "a.toml", "--web", "8642", "--print-config").stdout


def test_python_serves_the_page_too(tiny_folder: Path, sounds: Path) -> None:
    messages: list[str] = []
    with package.listen(
        model=str(tiny_folder),
        file=str(sounds / "long.wav"),
        web="0",
        min_score=-99.0,
        tell=lambda _, text: messages.append(text),
    ) as events:
        event = next(events)
        url = messages[0].rpartition(" ")[2]
        past = get(f"{url}past")["events"]
    assert [one["text"] for one in past] == [event.text]  # type: ignore[attr-defined]
