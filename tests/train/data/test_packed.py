"""Packed shards: written, read by several processes, resumed after a kill, and in places that fail."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import torch

from edgecap.cli import run as command
from edgecap.errors import RecipeError, TrainingDataError
from edgecap.util.progress import no_progress
from edgecap_train.data import packed
from edgecap_train.data.batches import Batch, StreamState
from edgecap_train.data.packed import PackedData, pack
from edgecap_train.data.packed_stream import PackedStream
from edgecap_train.data.shards import read_shard
from edgecap_train.text.tokenizer import Tokenizer
from support.archives.s3_server import AVAILABLE, s3_server
from support.training_run import VOCABULARY, recipe, small_trainer, write_shards

fsspec = pytest.importorskip("fsspec", reason="the extra edgecap[archive] is not installed")
SCRIPT = Path(__file__).parents[2] / "support" / "training_run.py"
SHARDS, CLIPS = 5, 16
TIMED = {"clips_per_second", "waiting"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `edgecap train scenes` writes it."""
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder / "shards", seconds=0.5, shards=SHARDS)
    (folder / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of a real S3 server on this machine."""
    if not AVAILABLE:
        pytest.skip("needs moto's server (pip install moto[server])")
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # one may be of another endpoint
        yield "s3://sounds"


@pytest.fixture
def address(data: Path) -> str:
    """The shards of `data`, packed in memory."""
    place = f"memory://{uuid4()}"
    pack(data, place, progress=no_progress)
    return place


def stream(address: str, part: tuple[int, int] = (0, 1), size: int = 8) -> PackedStream:
    return PackedStream(PackedData(address), Tokenizer(VOCABULARY), 20, 3, size, part=part)


def batches(made: PackedStream, count: int, start: StreamState | None = None) -> list[Batch]:
    return list(islice(made.batches(start), count))


def clips(made: list[Batch]) -> list[str]:
    return [clip for batch in made for clip in batch.clips]


def test_shards_are_webdataset_and_packing_them_again_writes_nothing(data: Path, bucket: str) -> None:
    assert pack(data, f"{bucket}/again", progress=no_progress) == SHARDS
    assert pack(data, f"{bucket}/again", progress=no_progress) == 0
    system = fsspec.filesystem("s3")
    with tarfile.open(fileobj=io.BytesIO(system.cat_file("sounds/again/0001.tar"))) as archive:
        names = archive.getnames()
    assert names[:4] == [f"000000.{suffix}" for suffix in ("audio.npy", "frames.npy", "logits.npy", "json")]
    assert len(names) == 4 * CLIPS
    system.rm("sounds/again/0001.tar")
    assert pack(data, f"{bucket}/again", progress=no_progress) == 1


def test_clips_are_those_of_the_folder_wherever_they_are_packed(data: Path, bucket: str, tmp_path: Path) -> None:
    for place in (str(tmp_path / "packed"), (tmp_path / "other").as_uri(), f"{bucket}/same"):
        pack(data, place, progress=no_progress)
        batch = batches(stream(place), 1)[0]
        for row, clip in enumerate(batch.clips):
            shard, _, number = clip.partition(":")
            samples = read_shard(data / "shards" / shard).audio[int(number)]
            assert torch.equal(batch.samples[row], torch.from_numpy(samples.copy()))
        assert all(len(captions) == 2 for captions in batch.pseudo)
        assert {len(captions) for captions in batch.human} == {0, 2}
        first = PackedData(place).first()
        assert first.frames.shape == (CLIPS, 32, 384)


def test_a_pass_has_each_clip_once_in_another_order_each_time(address: str) -> None:
    made = stream(address)
    assert (made.lanes, made.per_pass) == (4, SHARDS * CLIPS // 8)
    both = clips(batches(made, 2 * made.per_pass))
    first, second = both[: SHARDS * CLIPS], both[SHARDS * CLIPS :]
    assert len(set(first)) == len(set(second)) == SHARDS * CLIPS
    assert first != second


@pytest.mark.parametrize("size", [6, 7])
def test_what_is_left_of_a_pass_is_less_than_two_batches(size: int, address: str) -> None:
    made = stream(address, size=size)
    seen = clips(batches(made, made.per_pass))
    assert len(set(seen)) == len(seen) > SHARDS * CLIPS - 2 * size


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batches_of_one_and_each_reads_its_own_shards(
    processes: int, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = batches(stream(address), 5)
    fetched: list[list[str]] = []
    original = PackedData.open

    def counted(self: PackedData, shard: packed.PackedShard) -> packed.OpenShard:
        fetched[-1].append(shard.name)
        return original(self, shard)

    monkeypatch.setattr(PackedData, "open", counted)
    parts = []
    for rank in range(processes):
        fetched.append([])
        parts.append(batches(stream(address, (rank, processes)), 10))
    for batch, *shares in zip(together, *parts, strict=False):
        assert batch.clips == tuple(clip for share in shares for clip in share.clips)
        assert torch.equal(batch.samples, torch.cat([share.samples for share in shares]))
        assert all(share.state == batch.state for share in shares)
    assert all(len(names) == len(set(names)) for names in fetched), "none is read twice in a pass"
    assert sum(map(len, fetched)) <= SHARDS + processes - 1, "neighbours share one at most"


def test_every_batch_can_be_resumed_from(address: str) -> None:
    unbroken = batches(stream(address), 15)
    for place in (0, 4, 9, 12):
        again = batches(stream(address, (1, 2)), 2, unbroken[place].state)
        assert clips(again) == [clip for batch in unbroken[place + 1 : place + 3] for clip in batch.clips[4:]]


def test_a_run_from_s3_that_is_killed_has_the_losses_of_one_that_is_not(
    data: Path, bucket: str, tmp_path: Path
) -> None:
    place = f"{bucket}/killed"
    pack(data, place, progress=no_progress)
    unbroken, broken = tmp_path / "unbroken" / "run", tmp_path / "broken" / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        small_trainer(recipe(tmp_path), place, unbroken).run()
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), place, str(broken)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        while len(losses(broken)) < 6 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        small_trainer(recipe(tmp_path), place, broken).run()
    finally:
        torch.set_num_threads(threads)
    assert losses(broken) == losses(unbroken)


def losses(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    text = path.read_text() if path.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


def missing(system: Any, path: str) -> None:
    system.rm(path)


def cut(system: Any, path: str) -> None:
    system.pipe_file(path, system.cat_file(path)[:1000])


def changed(system: Any, path: str) -> None:
    system.pipe_file(path, bytes(system.size(path)))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (missing, "nothing at this address|No such file"),
        (cut, "1000 of [0-9]+ bytes"),
        (changed, "its content is another one"),
    ],
)
def test_a_shard_that_fails_in_the_middle_is_tried_again_and_then_named(
    damage: Any, reason: str, data: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, system = f"{bucket}/{uuid4()}", fsspec.filesystem("s3")
    pack(data, place, progress=no_progress)
    waited: list[float] = []
    monkeypatch.setattr(packed, "time", SimpleNamespace(sleep=waited.append))
    made = stream(place, size=4)
    lost = made.data.shards[[shard for shard, _ in made.places(_pass(made), 0)][-1]]
    content = system.cat_file(f"{place}/{lost.name}")
    damage(system, f"{place}/{lost.name}")
    with pytest.raises(TrainingDataError, match=rf"{lost.name} cannot be read, 4 times \(.*({reason})") as raised:
        batches(made, 2)
    assert "\n" not in str(raised.value)
    assert waited == [1.0, 5.0, 20.0]
    # one that comes back meanwhile is read
    restored = SimpleNamespace(sleep=lambda _: system.pipe_file(f"{place}/{lost.name}", content))
    monkeypatch.setattr(packed, "time", restored)
    assert len(batches(stream(place, size=4), 2)) == 2


def _pass(made: PackedStream) -> Any:
    from edgecap_train.data.packed_stream import _Pass

    return _Pass(made.seed, 0, made._counts)


def test_an_address_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waited: list[float] = []
    monkeypatch.setattr(packed, "time", SimpleNamespace(sleep=waited.append))
    with pytest.raises(TrainingDataError, match=r"memory://nothing/shards\.json cannot be read, 4 times"):
        PackedData("memory://nothing")
    assert waited == [1.0, 5.0, 20.0]


def test_data_that_were_packed_anew_do_not_continue_a_run(data: Path, address: str, tmp_path: Path) -> None:
    state = batches(stream(address), 1)[0].state
    write_shards(tmp_path / "shards", shards=3)
    (tmp_path / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    pack(tmp_path, address, progress=no_progress)
    with pytest.raises(TrainingDataError, match="was packed again since this run began"):
        batches(stream(address), 1, state)
    with pytest.raises(TrainingDataError, match="fewer clips than a batch of 64"):
        stream(address, size=64)


def test_the_command_packs_and_a_student_learns_from_the_address(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "packed"
    assert command(["train", "pack", str(data), "-o", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: {SHARDS} new shards; type: edgecap train student")
    assert command(["train", "pack", str(tmp_path), "-o", str(out)]) == TrainingDataError.exit_code
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    learn = ["train", "student", str(tmp_path / "recipe.toml"), "--data", str(out), "--development", "x", "-o", "y"]
    assert command(
        [*learn, "--set", "model.freeze_encoder=true", "--set", "loss.tags=0", "--set", "loss.frames=0"]
    ) == (RecipeError.exit_code)
    errors = capsys.readouterr().err.splitlines()
    assert "no shards" in errors[-2]
    assert "model.freeze_encoder needs a folder of shards that are not packed" in errors[-1]
