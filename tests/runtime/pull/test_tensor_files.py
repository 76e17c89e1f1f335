"""Checkpoints' files are read without the libraries that write them, and nothing in them is run."""

from __future__ import annotations

import json
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgecap.errors import CheckpointError
from edgecap.pull.tensor_files import read_tensors

TENSORS = {
    "a.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "b.half": torch.ones(2, dtype=torch.float16),
    "c.wide": torch.linspace(-1, 1, 5, dtype=torch.float64),
    "d.brain": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "e.count": torch.tensor(7),
}


def check(path: Path) -> None:
    tensors = read_tensors(path, path.name)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        wanted = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        assert tensors[name].dtype == wanted.dtype
        np.testing.assert_array_equal(tensors[name], wanted)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    check(tmp_path / "model.safetensors")


@pytest.mark.parametrize("protocol", [2, 4])
def test_pytorchs_zip_is_read(tmp_path: Path, protocol: int) -> None:
    state = OrderedDict(TENSORS)
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "model.bin", pickle_protocol=protocol)
    if protocol == 2:
        check(tmp_path / "model.bin")
    else:  # nobody publishes such; refused, not misread
        with pytest.raises(CheckpointError, match="STACK_GLOBAL"):
            check(tmp_path / "model.bin")


def test_tied_and_turned_tensors_share_their_memory(tmp_path: Path) -> None:
    table = torch.arange(6.0).reshape(2, 3)
    state = {"one": table, "two": table, "turned": table.T, "row": table[1], "parameter": torch.nn.Parameter(table)}
    torch.save(state, tmp_path / "model.bin")
    tensors = read_tensors(tmp_path / "model.bin", "model.bin")
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensors[name], tensor.detach().numpy())


def entry(begin: int = 0, end: int = 8, shape: object = (2,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": entry(0, 12)}, 12),
        ({"a": entry(0, 8)}, 4),
        ({"a": entry(0, 8)}, 12),
        ({"a": entry(4, 12)}, 12),
        ({"a": entry(), "b": entry()}, 8),
        ({"a": entry(), "b": entry(4, 12)}, 12),
        ({"a": entry(-8, 0)}, 8),
        ({"a": entry(8, 0)}, 8),
        ({"a": entry(shape=[-2])}, 8),
        ({"a": entry(shape=[2.0])}, 8),
        ({"a": entry(shape=[True, 2])}, 8),
        ({"a": entry(shape="2")}, 8),
        ({"a": entry(0, 0, [0, 10**30])}, 0),
        ({"a": entry(shape=[1] * 9 + [2])}, 8),
        ({"a": entry(dtype="F4")}, 8),
        ({"a": entry(dtype=["F32"])}, 8),
        ({"a": {**entry(), "more": 1}}, 8),
        ({"a": [1]}, 8),
        ({"a": None}, 8),
        ([], 0),
        (7, 0),
        ({"a": entry(0, 10**40, [10**40])}, 8),
    ],
)
def test_safetensors_that_lie_about_places_are_refused(tmp_path: Path, header: object, data: int) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    with pytest.raises(CheckpointError, match="is not a sound safetensors file"):
        read_tensors(tmp_path / "model.safetensors", "model.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        b"\xff" * 8,
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
        (2).to_bytes(8, "little") + b"{",
        (3).to_bytes(8, "little") + b"{]}",
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (25).to_bytes(8, "little") + b'{"a": null,   "a": null  }',
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a sound safetensors file"):
        read_tensors(tmp_path / "model.safetensors", "model.safetensors")


class Runs:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch pickle-was-run",)


def with_pickle(path: Path, data: bytes, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in more.items():
            archive.writestr(f"archive/data/{name}", content)
    return path


def test_nothing_in_a_pickle_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = with_pickle(tmp_path / "model.bin", pickle.dumps({"a": Runs()}, protocol=2))
    with pytest.raises(CheckpointError, match=r"holds a call of posix\.system .*; nothing of it was run"):
        read_tensors(path, "model.bin")
    torch.save({"a": torch.nn.Linear(2, 2)}, path)
    with pytest.raises(CheckpointError, match="nothing of it was run"):
        read_tensors(path, "model.bin")
    assert not (tmp_path / "pickle-was-run").exists()


@pytest.mark.parametrize(
    "document", [[1, 2], {"a": 1}, {"model": {"a": torch.ones(1)}}, {1: torch.ones(1)}, "text", None]
)
def test_other_documents_are_refused(tmp_path: Path, document: object) -> None:
    torch.save(document, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="where tensors by name are needed"):
        read_tensors(tmp_path / "model.bin", "model.bin")


def altered(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def alter(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        altered(b"FloatStorage", b"EvilsStorage"),
        altered(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9"),
        altered(b"K\x02K\x03\x86", b"K\xffK\xff\x86"),
        altered(b"K\x03K\x01\x86", b"K\xffK\x01\x86"),
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:30] + b"\xff" + data[31:],
        lambda data: b"\x80\x02" + b"}q\x00" * 10 + b".",
        lambda data: b"\x80\x02(((((t.",
        lambda data: b"\x80\x02Q.",
        lambda data: b"\x80\x02h\x07.",
    ],
)
def test_damaged_pickles_are_refused(tmp_path: Path, alter: Callable[[bytes], bytes]) -> None:
    torch.save({"a": torch.ones(2, 3)}, tmp_path / "good.bin")
    with zipfile.ZipFile(tmp_path / "good.bin") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        table, values = archive.read(f"{folder}/data.pkl"), archive.read(f"{folder}/data/0")
    path = tmp_path / "model.bin"
    np.testing.assert_array_equal(read_tensors(with_pickle(path, table, **{"0": values}), "m")["a"], np.ones((2, 3)))
    with pytest.raises(CheckpointError, match=r"model\.bin"):
        read_tensors(with_pickle(path, alter(table), **{"0": values}), "model.bin")
    with pytest.raises(CheckpointError, match="no 6 values for 'a'"):
        read_tensors(with_pickle(path, table, **{"0": values[:-4]}), "model.bin")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_tensors(path, "model.bin")


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "model.bin")
    data = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(data.replace(b"data.pkl", b"data.\xf0kl"))
    with pytest.raises(CheckpointError, match=r"model\.bin"):
        read_tensors(tmp_path / "model.bin", "model.bin")


def test_a_compressed_archive_is_refused_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(CheckpointError, match="50000000 bytes of"):
        read_tensors(tmp_path / "bomb.bin", "bomb.bin")


def test_a_directory_of_any_size_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "names.bin", "w") as archive:
        for number in range(18):
            archive.writestr(f"{number:065000d}", b"")
    with pytest.raises(CheckpointError, match="its directory is too large"):
        read_tensors(tmp_path / "names.bin", "names.bin")


def test_whatever_is_changed_in_a_file_it_is_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(1)
    save_file(TENSORS, tmp_path / "a.safetensors")
    torch.save(TENSORS, tmp_path / "b.bin")
    files = [(tmp_path / name).read_bytes() for name in ("a.safetensors", "b.bin")]
    path = tmp_path / "changed"
    lines: list[str] = []
    for _ in range(1500):
        path.write_bytes(changed(rng, rng.choice(files)))
        try:
            read_tensors(path, "changed")
        except CheckpointError as error:
            lines.append(str(error))
    assert len(lines) > 500
    assert not [line for line in lines if "\n" in line]


def changed(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few of them replaced, removed or put in."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(new))
        new[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(new)
