"""The command line in this process, for tests of what a command prints and returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from edgecap.cli import run

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `edgecap` in this process, away from the user's models; the fixture `edgecap` runs a child process."""
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path / "home"))

    def run_command(*arguments: object) -> CompletedProcess[str]:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return CompletedProcess([str(argument) for argument in arguments], code, output.out, output.err)

    return run_command
