"""A full disk under standard output: one line and exit code 7, no torn line, and the other outputs go on.

A limit on the size of files makes the kernel refuse a part of a write, as a full disk does.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from edgecap.cli.console import RedirectedOutput
from edgecap.errors import OutputError
from support.signals import RATE, noise, tone

Run = Callable[..., subprocess.CompletedProcess[str]]


def limited(path: Path, space: int) -> Callable[[], None]:
    """For the child: a file takes `space` bytes more than it has, as on a disk that is full then."""
    size = path.stat().st_size + space
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("how", [("a", ""), ("r+", "1")])
def test_a_full_disk_under_captions_tears_no_line(
    edgecap: Run, tiny_folder: Path, sounds: Path, tmp_path: Path, how: tuple[str, str]
) -> None:
    flags, unbuffered = how
    path = tmp_path / "captions.json"
    done = edgecap("caption", "-m", tiny_folder, "--json", sounds / "noise.wav")
    path.write_text("{}\n")
    with path.open(flags) as file:
        file.seek(0, os.SEEK_END)
        full = edgecap(
            *("caption", "-m", tiny_folder, "--json", sounds / "noise.wav", sounds / "noise.wav"),
            stdout=file,
            stderr=subprocess.PIPE,
            env={"PYTHONUNBUFFERED": unbuffered},
            preexec_fn=limited(path, len(done.stdout) + 100),
        )
    assert full.returncode == OutputError.exit_code
    assert (
        full.stderr == "edgecap: error: the output cannot be written (File too large); free space or write elsewhere\n"
    )
    assert path.read_text() == "{}\n" + done.stdout


def test_a_full_disk_under_events_tears_no_line_and_shortens_no_journal(
    edgecap: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    samples = noise(40, level=10 ** (-72 / 20))
    for start in (3, 20, 35):
        samples[start * RATE : (start + 3) * RATE] += tone(3)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    path, large = tmp_path / "events.json", 1 << 20  # more than the journal
    path.write_text("\n" * large)
    with path.open("a") as file:
        full = edgecap(
            *("listen", "-m", tiny_folder, "--file", tmp_path / "a.wav", "--speed", 0, "--min-score", -99),
            *("--cooldown", 0, "--json", "--journal", tmp_path / "a.db"),
            stdout=file,
            stderr=subprocess.PIPE,
            preexec_fn=limited(path, 700),
        )
    printed = [json.loads(line)["kind"] for line in path.read_text().splitlines() if line]
    assert 0 < len(printed) < 6
    assert printed == (3 * ["begin", "end"])[: len(printed)]
    assert full.returncode == OutputError.exit_code
    lines = full.stderr.splitlines()
    lacks = f"the output lacks {6 - len(printed)} lines"
    assert lines[-1] == f"edgecap: error: {lacks}, since the disk was full; the other outputs have them"
    assert sum("lines wait, and the other outputs go on" in line for line in lines) == 1
    database = sqlite3.connect(tmp_path / "a.db")
    assert database.execute("SELECT open FROM events").fetchall() == [(0,), (0,), (0,)]
    database.close()


def test_lines_that_waited_are_printed_when_there_is_space_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.json"
    with path.open("a") as file:
        monkeypatch.setattr(sys, "stdout", file)
        output = RedirectedOutput()
        output.patient = True
        output.write("one")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
        try:
            output.write("two")
            output.write("three")
            assert path.read_text() == "one\n"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        output.write("four")
        monkeypatch.undo()
    output.complete()
    assert path.read_text() == "one\ntwo\nthree\nfour\n"
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == [" warning", " note"]
