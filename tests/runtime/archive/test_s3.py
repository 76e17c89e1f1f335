"""Archives on a real S3 interface: moto's server."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from edgecap.archive.store import open_store
from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.like import SoundSearcher, needs_archive
from edgecap.archive_search.search import Searcher, open_source
from edgecap.errors import DataError, OutputError
from support.archives.parts import archived, rows_of, short_sounds
from support.archives.rows import DIM, Row, write_archive
from support.archives.s3_server import AVAILABLE, S3Server, s3_server
from support.ports import refusing_port

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs moto's server (pip install moto[server])")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, for this process too."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # one may be of another endpoint
    return server


@pytest.fixture
def place(s3: S3Server) -> str:
    """An address where nothing is."""
    return f"s3://sounds/{uuid.uuid4().hex}"


def test_from_s3_to_s3_as_from_a_folder_to_a_folder(
    s3: S3Server, place: str, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = short_sounds(tmp_path / "clips", 3)
    (folder / "bad.wav").write_text("none")
    system, inputs = s3.system(), f"{place}/in"
    system.put(f"{folder}/", f"{inputs}/", recursive=True)
    archived(folder, out=tmp_path / "out", model=tiny_folder)
    summary = archived(f"{inputs}/*.wav", out=f"{place}/out", model=tiny_folder)
    assert (summary.files, summary.captions, summary.failures, summary.made) == (4, 3, 1, 2)

    def plain(out: object, table: str) -> list[dict[str, object]]:
        return [
            {key: value for key, value in row.items() if key not in {"source", "reason"}} for row in rows_of(out, table)
        ]

    for table in ("captions", "failures"):
        assert plain(f"{place}/out", table) == plain(tmp_path / "out", table)
    assert [row["source"] for row in rows_of(f"{place}/out")] == [f"{inputs}/{n:03d}.wav" for n in range(3)]
    assert archived(out=f"{place}/out", model=tiny_folder).made == 0
    shard = f"{place}/out/captions/shard-000001.parquet"
    system.pipe_file(shard, system.cat_file(shard)[:-100])
    assert archived(out=f"{place}/out", model=tiny_folder, verify=True).damaged == 1
    system.rm_file(shard)
    system.pipe_file(f"{inputs}/new.wav", (folder / "000.wav").read_bytes())
    summary = archived(out=f"{place}/out", model=tiny_folder)
    assert (summary.made, summary.added, summary.files) == (2, 1, 5)
    assert system.exists(shard)


def test_of_two_plans_the_first_counts(s3: S3Server, place: str) -> None:
    store = open_store(place)
    assert store.create("plan/a", b"first")
    assert not store.create("plan/a", b"second")
    with pytest.raises(FileExistsError):  # where both asked before either wrote
        store._system.pipe_file(store._path("plan/a"), b"third", mode="create")  # type: ignore[attr-defined]
    assert store.read("plan/a") == b"first"


def test_two_drivers_at_once_give_the_same_rows(s3: S3Server, place: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = short_sounds(tmp_path / "clips", 8)
    archived(folder, out=tmp_path / "alone", model=tiny_folder)
    command = [sys.executable, "-m", "edgecap", "archive", str(folder), "-o", place, "-m", str(tiny_folder)]
    drivers = [
        subprocess.Popen([*command, "--shard-files", "2", "-t", "1"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    errors = [driver.communicate(timeout=100)[1] for driver in drivers]
    assert ([driver.returncode for driver in drivers], errors) == ([0, 0], [b"", b""])
    assert rows_of(place) == rows_of(tmp_path / "alone")


def test_a_bucket_that_is_not_there_and_a_server_that_is_not(
    s3: S3Server, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = short_sounds(tmp_path / "clips", 1)
    with pytest.raises(OutputError, match=r"s3://nowhere/x cannot be written \(.*bucket does not exist"):
        archived(folder, out="s3://nowhere/x", model=tiny_folder)
    with refusing_port() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        with pytest.raises(OutputError, match=r"s3://sounds/x cannot be read \(Could not connect"):
            archived(folder, out="s3://sounds/x", model=tiny_folder)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_an_archive_on_s3_is_searched_by_words_and_by_sound(
    s3: S3Server, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecap.archive_search.embeddings.LEAST_STORED", 1)
    monkeypatch.setenv("EDGECAP_CACHE", str(tmp_path / "cache"))
    rows = [Row("a dog barks", embedding=(1.0,) * DIM), Row("rain falls", embedding=(1.0, -1.0) * (DIM // 2))]
    s3.system().put(f"{write_archive(tmp_path / 'out', rows)}/", f"{place}/", recursive=True)
    with open_source(place) as source:
        assert [hit.caption for hit in Searcher(source).by_words("barking", Conditions(), 5).hits] == ["a dog barks"]
        near = SoundSearcher(needs_archive(source), lambda _kind, _message: None)
        assert near.nearest(np.array(rows[1].embedding, np.float32), Conditions(), 1).hits[0].caption == "rain falls"
    with pytest.raises(DataError, match=r"is not an archive"), open_source(f"{place}/nothing"):
        pass
