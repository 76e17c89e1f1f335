"""Training on a Ray cluster: what it learns is what torchrun's processes learn."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecap.cli import run as command
from edgecap.cluster.session import Workers
from edgecap.errors import ConfigError, RecipeError, RunError
from edgecap_train.training.on_ray import run_on_ray
from support.parallel.processes import together
from support.parallel.training_steps import refused_run, small_run
from support.ports import refusing_port
from support.training_run import write_shards

pytest.importorskip("ray", reason="the extra edgecap[ray] is not installed")
TIMED = {"clips_per_second", "waiting"}
FLAGS = ("optimizer.steps=8",)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def losses(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


def test_a_run_on_ray_learns_what_torchruns_processes_do_and_raises_what_its_workers_raise(
    ray_cluster: str, shards: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    together(2, tmp_path / "meeting", small_run, here, shards, *FLAGS)
    # one run, since Ray takes seconds to start it: it ends well, and then its workers raise
    with pytest.raises(RecipeError, match=r"^the run is over$"):
        run_on_ray(partial(refused_run, there, shards, *FLAGS), Workers(count=2, threads=1, address=ray_cluster))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Ctrl-C is not Ray's afterwards
    assert losses(there / "run") == losses(here / "run")
    states = [torch.load(folder / "run" / "last.pt", weights_only=True)["average"] for folder in (here, there)]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert json.loads((there / "run" / "run.json").read_text())["processes"] == 2


def test_more_workers_than_the_cluster_has_cores_are_refused_before_anything_is_started(ray_cluster: str) -> None:
    with pytest.raises(ConfigError, match=r"has 4 cores, and 3 workers with 2 threads each need 6; ask for fewer"):
        run_on_ray(print, Workers(count=3, threads=2, address=ray_cluster))


def test_the_command_names_what_is_wrong_with_its_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    common = [
        "train",
        "student",
        str(tmp_path / "recipe.toml"),
        "--data",
        "x",
        "--development",
        "y",
        "-o",
        str(tmp_path),
    ]
    assert command([*common, "--workers", "2"]) == ConfigError.exit_code
    with refusing_port() as port:
        address = f"127.0.0.1:{port}"
        assert command([*common, "--engine", "ray", "--address", address]) == RunError.exit_code
    errors = capsys.readouterr().err.splitlines()
    assert "add --engine ray" in errors[0]
    assert f"no Ray cluster answers at {address}" in errors[-1]
