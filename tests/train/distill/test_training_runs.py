"""Complete training runs: killed and resumed, on two processes, with a full disk, with losses that are not numbers."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.cli import run as command
from edgecap.errors import CheckpointError, OutputError, RecipeError, TableError, TrainingDataError, TrainingError
from edgecap_train.checkpoints.checkpoint import load_student
from edgecap_train.data.batches import Batch, BesideStream, ReadAhead, ShardStream, StreamState
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training import precision
from edgecap_train.training.run_folder import RunFolder
from edgecap_train.training.trainer import Trainer
from support.ports import free_port
from support.training_run import CLIPS, VOCABULARY, recipe, small_task, small_trainer, write_shards

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


def child(shards: Path, run: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(shards), str(run), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def lines(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def losses(run: Path) -> list[dict[str, float]]:
    """All that was recorded, without what the clock says."""
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines(run)]


def batches(stream: ShardStream | BesideStream, count: int, start: StreamState | None = None) -> list[Batch]:
    return list(itertools.islice(stream.batches(start), count))


def test_a_run_that_is_killed_again_and_again_has_the_losses_of_one_that_is_not(shards: Path, tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken" / "run", tmp_path / "broken" / "run"
    small_trainer(recipe(tmp_path), shards, unbroken).run()
    for steps in (3, 14):  # killed before its first checkpoint and between two, in the middle of whatever it does
        process = child(shards, broken)
        while len(lines_so_far(broken)) < steps and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()
    small_trainer(recipe(tmp_path), shards, broken).run()
    assert losses(broken) == losses(unbroken)
    assert len([line for line in lines(unbroken) if "sequence" in line]) == 24
    assert torch.equal(*(load_checkpoint_tensors(run) for run in (unbroken, broken)))


def lines_so_far(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


def load_checkpoint_tensors(run: Path) -> torch.Tensor:
    """The averaged decoder embedding of a run's last state."""
    state = torch.load(run / "last.pt", weights_only=True)
    embedding: torch.Tensor = state["average"]["module.decoder.embedding.weight"]
    return embedding


def test_two_processes_learn_what_one_does_from_the_same_batches(shards: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    flags = ("optimizer.batch=8", "optimizer.steps=8", "evaluate_every=8")
    small_trainer(recipe(tmp_path, *flags), shards, one, dropout=0.0).run()
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    pair = [
        child(shards, two, "plain", *flags, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in (0, 1)
    ]
    for process in pair:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    ours, theirs = losses(one), losses(two)
    assert [sorted(line) for line in ours] == [sorted(line) for line in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert b == pytest.approx(a, rel=2e-4, abs=1e-6)


def test_a_loss_that_is_not_a_number_names_its_clips_and_keeps_the_checkpoint(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small_trainer(recipe(tmp_path, "optimizer.steps=12"), shards, run).run()
    broken = tmp_path / "broken"
    for number in range(2):
        (broken / f"{number:04d}").mkdir(parents=True)
        for path in (shards / f"{number:04d}").iterdir():
            (broken / f"{number:04d}" / path.name).write_bytes(path.read_bytes())
        logits = np.load(broken / f"{number:04d}" / "logits.npy")
        logits[:] = np.nan
        np.save(broken / f"{number:04d}" / "logits.npy", logits)
    files = {path.name: path.read_bytes() for path in run.glob("*.*t*") if path.suffix in {".pt", ".safetensors"}}
    trainer = small_trainer(recipe(tmp_path), broken, run)
    with pytest.raises(TrainingError, match=r"not a number at step 12 \(.*tags nan.*000\d:\d+"):
        trainer.run()
    assert set(files) == {"last.pt", "student.safetensors"}
    assert all((run / name).read_bytes() == content for name, content in files.items())
    assert all(torch.isfinite(parameter).all() for parameter in trainer.task.network.parameters())


def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_it_goes_on_when_there_is_room(
    shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    small_trainer(recipe(tmp_path, "optimizer.steps=4", "evaluate_every=4"), shards, run).run()
    good = (run / "last.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, limits[1]))  # refuses longer files, as a full disk does
    try:
        with pytest.raises(OutputError, match=r"last\.pt cannot be written"):
            small_trainer(recipe(tmp_path), shards, run).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
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
    names = {"supervised", "sequence", "tags", "frames", "clip", "norm", "rate", "clips_per_second", "waiting"}
    assert names < set(line)
    assert 0.0 <= line["waiting"] <= 1.0
    tensorboard = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    curves = tensorboard.EventAccumulator(str(run / "curves"))
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


def test_a_run_of_another_shape_or_version_cannot_be_resumed_in_one_line(shards: Path, tmp_path: Path) -> None:
    trainer = small_trainer(recipe(tmp_path, "loss.clip=0"), shards, tmp_path / "run")
    trainer.folder.begin(trainer.recipe, torch.device("cpu"), 1)
    for state in ({"step": 4, "student": {}}, {"step": 4, "network": {"encoder.conv.bias": torch.zeros(3)}}):
        trainer.folder.save(state)
        with pytest.raises(TrainingError, match=r"cannot be resumed.*name another folder") as error:
            small_trainer(recipe(tmp_path), shards, tmp_path / "run").run()
        assert "\n" not in str(error.value)


def test_every_clip_is_met_once_a_pass_and_a_stream_goes_on_anywhere(shards: Path) -> None:
    stream = ShardStream(shards, Tokenizer(VOCABULARY), 20, 5, 4)
    first = batches(stream, 3 * CLIPS // 4)
    names = [clip for batch in first[: CLIPS // 4] for clip in batch.clips]
    assert len(set(names)) == len(names) == CLIPS
    later = [clip for batch in first[CLIPS // 4 : CLIPS // 2] for clip in batch.clips]
    assert later != names
    for index in (0, 6, 7, 8, 13):
        again = batches(stream, 2, first[index].state)
        assert [batch.clips for batch in again] == [batch.clips for batch in first[index + 1 : index + 3]]


def test_processes_share_a_batch_without_overlap(shards: Path) -> None:
    words = Tokenizer(VOCABULARY)
    shared = batches(ShardStream(shards, words, 20, 5, 8), 2)[1]
    parts = [batches(ShardStream(shards, words, 20, 5, 8, part=(rank, 2)), 2)[1] for rank in (0, 1)]
    assert parts[0].clips + parts[1].clips == shared.clips
    assert parts[0].rows + parts[1].rows == tuple(range(8))
    with pytest.raises(RecipeError, match="shared evenly"):
        ShardStream(shards, words, 20, 5, 7, part=(0, 2))


def test_a_stream_of_another_batch_than_the_recipes_is_refused(shards: Path, tmp_path: Path) -> None:
    task = small_task(recipe(tmp_path, "optimizer.batch=8"), shards, tmp_path / "run")
    with pytest.raises(RecipeError, match="stream gives 8 clips a batch and the recipe wants 4"):
        Trainer(task, recipe(tmp_path), tmp_path / "run")


def test_audio_only_clips_come_after_labelled_ones_and_without_human_captions(shards: Path, tmp_path: Path) -> None:
    made = recipe(tmp_path, "optimizer.audio_only=2", "optimizer.steps=6", "evaluate_every=6")
    trainer = small_trainer(made, shards, tmp_path / "run", beside=shards)
    batch = next(iter(trainer.task.stream.batches()))
    assert len(batch.clips) == len(batch.samples) == len(batch.human) == 6
    assert batch.rows == (0, 1, 2, 3, 4, 5)
    assert not any(batch.human[4:])
    assert all(batch.pseudo)
    trainer.run()
    assert trainer.step == 6


def test_a_shard_smaller_than_a_batch_and_one_that_is_damaged_are_refused(shards: Path, tmp_path: Path) -> None:
    words = Tokenizer(VOCABULARY)
    with pytest.raises(TrainingDataError, match="fewer clips than a batch of 64"):
        next(ShardStream(shards, words, 20, 0, 64).batches())
    (tmp_path / "0000").mkdir()
    with pytest.raises(TrainingDataError, match="cannot be read"):
        next(ShardStream(tmp_path, words, 20, 0, 4).batches())


def test_reading_ahead_counts_the_wait_for_data_and_hands_on_errors(shards: Path, tmp_path: Path) -> None:
    asked, release = threading.Event(), threading.Event()

    class Held(ShardStream):
        def batches(self, start: StreamState | None = None) -> Iterator[Batch]:
            for number, batch in enumerate(super().batches(start)):
                if number == 1:
                    release.wait()
                yield batch

    ahead = ReadAhead(Held(shards, Tokenizer(VOCABULARY), 20, 5, 4))
    next(ahead)
    before = ahead.waited

    def let_go() -> None:
        asked.wait()
        time.sleep(0.05)
        release.set()

    helper = threading.Thread(target=let_go)
    helper.start()
    asked.set()
    next(ahead)  # has to wait for `release`
    helper.join()
    assert ahead.waited > before
    ahead.close()
    with pytest.raises(TrainingDataError, match="no shards"):
        next(ReadAhead(ShardStream(tmp_path, Tokenizer(VOCABULARY), 20, 0)))


def test_the_saved_student_is_the_average_of_the_best_evaluation(shards: Path, tmp_path: Path) -> None:
    trainer = small_trainer(recipe(tmp_path, "optimizer.steps=12"), shards, tmp_path / "run")
    trainer.run()
    saved = load_student(tmp_path / "run" / "student.safetensors")
    assert (saved.vocabulary, saved.metadata["recipe"], saved.metadata["cider_d"]) == (VOCABULARY, "small", "12.0000")
    for name, tensor in trainer.averaged.state_dict().items():
        torch.testing.assert_close(saved.student.state_dict()[name], tensor)
    latest = trainer.task.network.decoder.embedding.weight
    assert not torch.equal(trainer.averaged.decoder.embedding.weight, latest)


def test_a_run_in_bf16_learns_as_well(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda _device: True)  # a processor without it imitates it
    run = tmp_path / "run"
    small_trainer(recipe(tmp_path, "optimizer.bf16=true"), shards, run).run()
    sequence = [line["sequence"] for line in lines(run) if "sequence" in line]
    assert sum(sequence[-4:]) < 0.6 * sum(sequence[:4])


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
    assert command([*common, "--data", str(data)]) == TrainingDataError.exit_code
    data.mkdir()
    (data / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    assert command([*common, "--data", str(data)]) == TrainingDataError.exit_code
    (data / "shards").symlink_to(shards)
    assert command([*common, "--data", str(data), "--set", "optimizer.audio_only=2"]) == RecipeError.exit_code
    assert command([*common, "--data", str(data)]) == TableError.exit_code
    assert command([*common, "--data", str(data), "--set", "seed=soon"]) == RecipeError.exit_code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5
    for line, place in zip(errors, ("vocabulary.json", "no shards", "--audio-only", "none.csv", "seed"), strict=True):
        assert line.startswith("edgecap: error: ")
        assert place in line
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_folder_without_the_taggers_classes_is_refused(tmp_path: Path) -> None:
    from edgecap_train.teachers.tagger import class_names

    with pytest.raises(CheckpointError, match="class_labels_indices"):
        class_names(tmp_path)
