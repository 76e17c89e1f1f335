"""Whole training runs: killed and resumed, on two processes, with a full disk, with numbers that are none."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.cli import run as command
from edgecap.errors import AudioError, CheckpointError, OutputError, TrainingError
from edgecap_train.checkpoints.checkpoint import load_checkpoint
from edgecap_train.data.batches import BesideStream, ReadAhead, ShardStream
from edgecap_train.distill.run_folder import RunFolder
from edgecap_train.text.captions import Tokenizer
from support.training_run import CLIPS, VOCABULARY, recipe, small_trainer, write_shards

SCRIPT = Path(__file__).parents[2] / "support" / "training_run.py"
TIMED = {"clips_per_second", "waiting"}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the children have: a sum over two threads ends in other last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def child(shards: Path, run: Path, *arguments: str, **more: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more.pop("env", {})}  # type: ignore[dict-item]
    command = [sys.executable, str(SCRIPT), str(shards), str(run), *arguments]
    return subprocess.Popen(
        command, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, **more
    )  # type: ignore[call-overload]


def lines(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def losses(run: Path) -> list[dict[str, float]]:
    """All that was recorded, without what the clock says."""
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines(run)]


def batches(stream: ShardStream | BesideStream, count: int, start: object = None) -> list[object]:
    found = []
    for batch in stream.batches(start):  # type: ignore[arg-type]
        found.append(batch)
        if len(found) == count:
            return found
    raise AssertionError("a stream ended")


def test_a_run_that_is_killed_again_and_again_has_the_losses_of_one_that_is_not(shards: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole" / "run", tmp_path / "broken" / "run"
    small_trainer(recipe(tmp_path), shards, whole).run()
    for steps in (3, 14):  # killed before its first checkpoint and between two, in the middle of whatever it does
        process = child(shards, broken)
        while len(lines_so_far(broken)) < steps and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()
    process = child(shards, broken)
    assert process.wait() == 0, process.stderr.read() if process.stderr else ""
    process.communicate()
    assert losses(broken) == losses(whole)
    assert len([line for line in lines(whole) if "sequence" in line]) == 24
    assert torch.equal(*(load_checkpoint_tensors(run) for run in (whole, broken)))


def lines_so_far(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


def load_checkpoint_tensors(run: Path) -> torch.Tensor:
    """The averaged decoder embedding of a run's last state."""
    state = torch.load(run / "last.pt", weights_only=True)
    found: torch.Tensor = state["average"]["module.decoder.embedding.weight"]
    return found


def test_two_processes_learn_what_one_does_from_the_same_batches(shards: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    flags = ("optimizer.batch=8", "optimizer.steps=8", "evaluate_every=8")
    small_trainer(recipe(tmp_path, *flags), shards, one, dropout=0.0).run()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pair = [
        child(shards, two, "plain", *flags, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in (0, 1)
    ]
    for process in pair:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    ours, theirs = losses(one), losses(two)
    assert [sorted(line) for line in ours] == [sorted(line) for line in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert b == pytest.approx(a, rel=2e-4, abs=1e-6)


def test_a_loss_that_is_no_number_names_its_clips_and_keeps_the_checkpoint(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small_trainer(recipe(tmp_path, "optimizer.steps=12"), shards, run).run()
    kept = (run / "last.pt").read_bytes()
    broken = tmp_path / "broken"
    for number in range(2):
        (broken / f"{number:04d}").mkdir(parents=True)
        for path in (shards / f"{number:04d}").iterdir():
            (broken / f"{number:04d}" / path.name).write_bytes(path.read_bytes())
        logits = np.load(broken / f"{number:04d}" / "logits.npy")
        logits[3] = np.nan
        np.save(broken / f"{number:04d}" / "logits.npy", logits)
    trainer = small_trainer(recipe(tmp_path), broken, run)
    with pytest.raises(TrainingError, match=r"not a number at step \d+ \(.*tags nan.*000\d:\d+"):
        trainer.run()
    assert (run / "last.pt").read_bytes() == kept or torch.isfinite(load_checkpoint_tensors(run)).all()
    assert all(torch.isfinite(parameter).all() for parameter in trainer.student.parameters())


def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_it_goes_on_when_there_is_room(
    shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    small_trainer(recipe(tmp_path, "optimizer.steps=4", "evaluate_every=4"), shards, run).run()
    good = (run / "last.pt").read_bytes()
    limit = len(good) // 2  # the file system refuses whatever is longer, as a full one does
    process = child(shards, run, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, said = process.communicate(timeout=600)
    assert process.returncode == OutputError.exit_code
    assert "OutputError" in said
    assert "last.pt cannot be written" in said
    assert (run / "last.pt").read_bytes() == good
    assert not [path.name for path in run.iterdir() if path.name.endswith(".tmp")]
    small_trainer(recipe(tmp_path), shards, run).run()
    assert [line["step"] for line in lines(run) if "sequence" in line] == list(range(1, 25))


def test_a_run_folder_holds_all_that_it_should(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".last.pt.00000000.tmp").write_bytes(b"of a process that was killed")
    small_trainer(recipe(tmp_path, "optimizer.steps=12"), shards, run).run()
    assert {path.name for path in run.iterdir()} == {
        "recipe.json",
        "run.json",
        "metrics.jsonl",
        "curves",
        "last.pt",
        "student.safetensors",
    }
    assert json.loads((run / "recipe.json").read_text())["optimizer"]["steps"] == 12
    about = json.loads((run / "run.json").read_text())
    assert {"revision", "torch", "device", "command", "processes"} <= set(about)
    line = lines(run)[-2]
    told = {"supervised", "sequence", "tags", "frames", "clip", "norm", "rate", "clips_per_second", "waiting"}
    assert told < set(line)
    assert 0.0 <= line["waiting"] <= 1.0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(run / "curves"))
    curves.Reload()
    assert [point.step for point in curves.Scalars("sequence")] == list(range(1, 13))


def test_what_was_written_after_the_last_checkpoint_or_cut_short_is_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record(1, {"loss": 1.0})
    folder.record(2, {"loss": 2.0})
    folder.save({"step": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    state = folder.load()
    folder.close()
    assert state is not None
    assert state["step"] == 1
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged"):
        RunFolder(tmp_path).load()


def test_every_clip_is_met_once_a_pass_and_a_stream_goes_on_anywhere(shards: Path) -> None:
    stream = ShardStream(shards, Tokenizer(VOCABULARY), 20, 5, 4)
    found = batches(stream, 3 * CLIPS // 4)
    names = [clip for batch in found[: CLIPS // 4] for clip in batch.clips]  # type: ignore[attr-defined]
    assert len(set(names)) == len(names) == CLIPS
    later = [clip for batch in found[CLIPS // 4 : CLIPS // 2] for clip in batch.clips]  # type: ignore[attr-defined]
    assert later != names
    for index in (0, 6, 7, 8, 13):
        again = batches(stream, 2, found[index].state)  # type: ignore[attr-defined]
        expected = [batch.clips for batch in found[index + 1 : index + 3]]  # type: ignore[attr-defined]
        assert [batch.clips for batch in again] == expected  # type: ignore[attr-defined]


def test_processes_share_a_batch_without_overlap(shards: Path) -> None:
    words = Tokenizer(VOCABULARY)
    whole = batches(ShardStream(shards, words, 20, 5, 8), 2)[1]
    parts = [batches(ShardStream(shards, words, 20, 5, 8, part=(rank, 2)), 2)[1] for rank in (0, 1)]
    assert sum((part.clips for part in parts), ()) == whole.clips  # type: ignore[attr-defined]
    assert sum((part.rows for part in parts), ()) == tuple(range(8))  # type: ignore[attr-defined]
    with pytest.raises(TrainingError, match="shared evenly"):
        ShardStream(shards, words, 20, 5, 7, part=(0, 2))


def test_a_stream_of_another_batch_than_the_recipes_is_refused(shards: Path, tmp_path: Path) -> None:
    made = small_trainer(recipe(tmp_path), shards, tmp_path / "run")
    other = ShardStream(shards, Tokenizer(VOCABULARY), 20, 0, 8)
    with pytest.raises(TrainingError, match="8 clips a batch where the recipe wants 4"):
        type(made)(made.recipe, made.student, made.heads, other, tmp_path / "run", made.evaluate, made.save)


def test_audio_only_clips_stand_beside_labelled_ones_and_nobody_told_of_them(shards: Path, tmp_path: Path) -> None:
    made = recipe(tmp_path, "optimizer.audio_only=2", "optimizer.steps=6", "evaluate_every=6")
    trainer = small_trainer(made, shards, tmp_path / "run", beside=shards)
    batch = next(trainer.stream.batches())
    assert len(batch.clips) == len(batch.samples) == len(batch.human) == 6
    assert batch.rows == (0, 1, 2, 3, 4, 5)
    assert not any(batch.human[4:])
    assert all(batch.pseudo)
    trainer.run()
    assert trainer.step == 6


def test_a_shard_smaller_than_a_batch_and_one_that_is_damaged_are_told(shards: Path, tmp_path: Path) -> None:
    words = Tokenizer(VOCABULARY)
    with pytest.raises(TrainingError, match="fewer clips than a batch of 64"):
        next(ShardStream(shards, words, 20, 0, 64).batches())
    (tmp_path / "0000").mkdir()
    with pytest.raises(TrainingError, match="cannot be read"):
        next(ShardStream(tmp_path, words, 20, 0, 4).batches())


def test_reading_ahead_counts_what_the_model_waits_and_hands_on_faults(shards: Path, tmp_path: Path) -> None:
    class Slow:
        def batches(self, start: object = None) -> object:
            for batch in ShardStream(shards, Tokenizer(VOCABULARY), 20, 5, 4).batches():
                time.sleep(0.05)
                yield batch

    ahead = ReadAhead(Slow())  # type: ignore[arg-type]
    for _ in range(3):
        next(ahead)
    assert ahead.waited > 0.1
    time.sleep(0.5)
    before = ahead.waited
    next(ahead)
    assert ahead.waited - before < 0.05
    ahead.close()
    with pytest.raises(TrainingError, match="no shards"):
        next(ReadAhead(ShardStream(tmp_path, Tokenizer(VOCABULARY), 20, 0)))


def test_the_saved_student_is_the_average_of_the_best_evaluation(shards: Path, tmp_path: Path) -> None:
    trainer = small_trainer(recipe(tmp_path), shards, tmp_path / "run")
    trainer.run()
    with pytest.raises(CheckpointError):  # its encoder is not one that a checkpoint can name
        load_checkpoint(tmp_path / "run" / "student.safetensors")
    from edgecap_train.checkpoints.checkpoint import read_tensors

    kept = read_tensors(tmp_path / "run" / "student.safetensors")
    averaged = trainer.average.module.state_dict()
    for name, tensor in averaged.items():
        torch.testing.assert_close(kept[name], tensor)
    latest = trainer.student.state_dict()
    assert not torch.equal(averaged["decoder.embedding.weight"], latest["decoder.embedding.weight"])


def test_a_run_in_bf16_learns_as_well(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small_trainer(recipe(tmp_path, "optimizer.bf16=true"), shards, run).run()
    told = [line["sequence"] for line in lines(run) if "sequence" in line]
    assert sum(told[-4:]) < 0.6 * sum(told[:4])


def test_what_is_missing_or_does_not_fit_is_one_line_before_anything_is_trained(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    common = [
        "train",
        "student",
        str(tmp_path / "recipe.toml"),
        "--tagger",
        str(tmp_path),
        "--development",
        str(tmp_path / "none.csv"),
        "-o",
        str(tmp_path / "run"),
    ]
    data = tmp_path / "data"
    assert command([*common, "--data", str(data)]) == CheckpointError.exit_code
    data.mkdir()
    (data / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    assert command([*common, "--data", str(data)]) == TrainingError.exit_code
    (data / "shards").symlink_to(shards)
    assert command([*common, "--data", str(data), "--set", "optimizer.audio_only=2"]) == TrainingError.exit_code
    assert command([*common, "--data", str(data)]) == AudioError.exit_code
    assert command([*common, "--data", str(data), "--set", "seed=soon"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 5
    for line, place in zip(said, ("vocabulary.json", "no shards", "--audio-only", "none.csv", "seed"), strict=True):
        assert line.startswith("edgecap: error: ")
        assert place in line
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_folder_without_the_taggers_classes_is_told(tmp_path: Path) -> None:
    from edgecap_train.teachers.tagger import class_names

    with pytest.raises(CheckpointError, match="class_labels_indices"):
        class_names(tmp_path)
