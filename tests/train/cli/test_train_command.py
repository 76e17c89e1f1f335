"""`edgecap train` as a whole: it works where the study is not installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from edgecap.cli import run
from edgecap.errors import ConfigError
from edgecap_train.cli import train as installed


def test_without_the_study_all_other_commands_are_there_and_the_study_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = importlib.util.spec_from_file_location("train_without_study", Path(installed.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "edgecap_train.study" else find_spec(name)
    )
    spec.loader.exec_module(module)
    commands = typer.main.get_group(module.train).commands
    others = {"average", "confidence", "pack", "pseudo-caption", "recaption", "scenes", "student", "teacher"}
    assert set(commands) == others | {"study"}
    assert commands["study"].hidden
    with pytest.raises(ConfigError, match="in a checkout of edgecap"):
        commands["study"].main(["recipe.toml", "--audio", "pool"], standalone_mode=False)


def test_in_a_checkout_the_study_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "study", "--help"]) == 0
    assert "row by row" in capsys.readouterr().out


def test_of_several_processes_the_first_says_what_was_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("edgecap_train.distill.run_student.train_student", lambda *_, **__: None)
    command = ["train", "student", "tiny", "--data", "scenes", "--development", "dev.csv", "-o", str(tmp_path)]
    for process, lines in ((1, 0), (0, 1)):
        monkeypatch.setattr("edgecap_train.training.distributed.process_index", lambda here=process: here)
        assert run(command) == 0
        assert len(capsys.readouterr().out.splitlines()) == lines


def test_torchrun_leaves_the_options_behind_edgecap_to_edgecap(tmp_path: Path) -> None:
    """As docs/training.md writes it; without "--" PyTorch 2.13.0 takes --start for its own --start-method."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "--"]
    command = [*torchrun, "edgecap", "train", "student", "tiny", "--start", "run", "--data", "scenes", "-o", "out"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode != 0
    assert "edgecap train student tiny, and --development CSV" in " ".join(done.stderr.split())
