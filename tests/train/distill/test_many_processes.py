"""The step that several processes, or several micro-batches, compute together is that of the batch at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgecap.errors import RecipeError
from edgecap_train.training import precision
from support.parallel.processes import together
from support.parallel.training_steps import STEPS, Learnt, norm, student_steps, teacher_steps
from support.training_run import recipe, small_trainer, write_shards

RUNNING = "student.encoder.norm.running_mean"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


@pytest.fixture(scope="module")
def alone(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """One process, the batch at once."""
    return student_steps(tmp_path_factory.mktemp("alone"), shards)


def assert_same(learnt: Learnt, expected: Learnt) -> None:
    """Equal but for the order in which floats are added."""
    assert sorted(learnt.losses[0]) == sorted(expected.losses[0])
    for ours, theirs in zip(learnt.losses, expected.losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    for gradients, wanted in zip(learnt.gradients, expected.gradients, strict=True):
        assert gradients.keys() == wanted.keys()
        for name, gradient in gradients.items():
            assert torch.allclose(gradient, wanted[name], rtol=1e-4, atol=2e-6), name


def test_the_batch_has_every_loss_and_its_gradient_is_clipped(alone: Learnt) -> None:
    assert set(alone.losses[0]) == {"tags", "frames", "clip", "supervised", "sequence", "norm"}
    learnt = {"heads.clip.logit_scale", "heads.clip.student.weight", "student.encoder.conv.weight"}
    assert learnt <= set(alone.gradients[0])
    assert all(losses["norm"] > 1.0 for losses in alone.losses)
    for gradients in alone.gradients:
        assert norm(gradients) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (4, 1), (2, 2)])
def test_processes_compute_the_gradient_of_the_batch_at_once(
    processes: int, accumulate: int, alone: Learnt, shards: Path, tmp_path: Path
) -> None:
    flag = f"optimizer.accumulate={accumulate}"
    for learnt in together(processes, tmp_path / "meeting", student_steps, tmp_path, shards, flag):
        assert_same(learnt, alone)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_compute_the_gradient_of_the_batch_at_once(
    accumulate: int, alone: Learnt, shards: Path, tmp_path: Path
) -> None:
    assert_same(student_steps(tmp_path, shards, f"optimizer.accumulate={accumulate}"), alone)


def test_batch_norm_takes_the_clips_of_a_process_as_it_takes_a_micro_batch(shards: Path, tmp_path: Path) -> None:
    at_once = student_steps(tmp_path, shards, normalised=True)
    halves = student_steps(tmp_path, shards, "optimizer.accumulate=2", normalised=True)
    first, second = together(2, tmp_path / "meeting", student_steps, tmp_path, shards, normalised=True)
    assert_same(first, halves)
    assert_same(second, halves)
    assert abs(halves.losses[0]["frames"] / at_once.losses[0]["frames"] - 1) > 1e-4
    # the statistics that are kept are those of all micro-batches, or of the first process
    assert int(halves.state["student.encoder.norm.num_batches_tracked"]) == 2 * STEPS
    assert int(first.state["student.encoder.norm.num_batches_tracked"]) == STEPS
    assert not torch.allclose(first.state[RUNNING], halves.state[RUNNING])


def test_a_teachers_processes_compute_what_its_micro_batches_do(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra edgecap[teacher] is not installed")
    halves = teacher_steps(tmp_path, 2)
    for learnt in together(2, tmp_path / "meeting", teacher_steps, tmp_path, 1):
        assert_same(learnt, halves)


def test_bf16_stays_within_two_percent_of_each_loss(
    alone: Learnt, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda _device: True)  # a processor without it imitates it
    halved = student_steps(tmp_path, shards, "optimizer.bf16=true")
    assert halved.losses != alone.losses
    for ours, theirs in zip(halved.losses, alone.losses, strict=True):
        assert ours == pytest.approx(theirs, rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in halved.gradients[0].values())


def test_clips_that_cannot_be_divided_evenly_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"optimizer\.accumulate is 3, into which the 4 clips of a process cannot"):
        small_trainer(recipe(tmp_path, "optimizer.accumulate=3"), shards, tmp_path / "run")
