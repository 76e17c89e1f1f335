"""Searches by sound, with a real model, and the matrix that is kept for large archives."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgecap.archive.schema import CAPTIONS, shard_name
from edgecap.archive_search import embeddings as module
from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.like import SoundSearcher, captioner_of, clip_vector, needs_archive
from edgecap.archive_search.parquet import ArchiveSource
from edgecap.archive_search.search import SearchResults, open_source
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, BundleError, DataError
from support.archives.parts import archived
from support.archives.rows import DIM, Row, write_archive, write_shard
from support.live_parts import Messages, ignore, notifier
from support.signals import RATE, noise, tone
from support.tiny_model import write_tiny_bundle

NEAR, FAR = (1.0,) * DIM, (1.0, -1.0) * (DIM // 2)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A real archive of four sounds; its folder is `out`."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "in").mkdir()
    parts = {
        "noise": noise(3),
        "low": tone(3, frequency=200),
        "high": tone(3, frequency=3000),
        "quiet": np.zeros(3 * RATE),
    }
    for name, samples in parts.items():
        soundfile.write(folder / "in" / f"{name}.wav", samples, RATE)
    archived(folder / "in", out=folder / "out", model=tiny_folder)
    return folder


def like(archive: Path, vector: object, limit: int = 10, words: str | None = None, **more: Any) -> SearchResults:
    with open_source(str(archive)) as source:
        searcher = SoundSearcher(needs_archive(source), ignore)
        return searcher.nearest(np.array(vector, np.float32), Conditions(**more), limit, words=words)


def test_a_clip_is_nearest_to_itself_and_what_is_silent_is_near_to_nothing(recorded: Path, tiny_folder: Path) -> None:
    with closing(ArchiveSource(str(recorded / "out"))) as source:
        vector = clip_vector(captioner_of(source, str(tiny_folder), 1), recorded / "in" / "high.wav")
    results = like(recorded / "out", vector)
    assert Path(results.hits[0].source).stem == "high"
    assert {Path(hit.source).stem for hit in results.hits} == {"high", "low", "noise"}
    assert results.hits[0].similarity == pytest.approx(1.0, abs=2e-3)
    assert results.total == 3


def test_another_model_or_none_is_refused(recorded: Path, tmp_path: Path) -> None:
    other = write_tiny_bundle(tmp_path / "other", seed=7).folder
    with closing(ArchiveSource(str(recorded / "out"))) as source:
        with pytest.raises(BundleError, match="the archive was made with another model"):
            captioner_of(source, str(other), 1)
        with pytest.raises(BundleError, match=r"--like needs the archive's model .* name its folder with --model"):
            captioner_of(source, str(tmp_path / "nowhere"))


def test_a_clip_that_is_silent_or_no_sound_is_refused(captioner: Captioner, recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"quiet\.wav is silent"):
        clip_vector(captioner, recorded / "in" / "quiet.wav")
    (tmp_path / "text.wav").write_text("a dog barks")
    with pytest.raises(AudioError):
        clip_vector(captioner, tmp_path / "text.wav")


ROWS = (
    Row("a dog barks", "a", embedding=NEAR, time=0.0),
    Row("silence", "b", silent=True),
    Row("a dog howls", "c", embedding=FAR, time=100.0),
    Row("rain", "d", embedding=(1.0,) * (DIM - 1) + (0.5,), time=200.0),
)


def found_in(results: SearchResults) -> str:
    return "".join(hit.source for hit in results.hits)


def test_words_and_conditions_narrow_a_search_by_sound(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "out", ROWS[:3], ROWS[3:])
    assert found_in(like(archive, NEAR)) == "adc"
    assert found_in(like(archive, NEAR, words="dogs")) == "ac"
    assert found_in(like(archive, NEAR, since=50.0)) == "dc"
    assert found_in(like(archive, FAR, 1)) == "c"
    assert like(archive, NEAR, words="xylophone") == SearchResults((), 0)


def test_in_an_archive_without_one_sound_that_could_be_read_nothing_is_near(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "out", [])
    assert like(archive, NEAR) == like(archive, NEAR, silent=False) == SearchResults((), 0)


def test_a_journal_has_no_sounds_to_compare(tmp_path: Path) -> None:
    from edgecap.live.sinks.journal import Journal

    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")
    with (
        pytest.raises(DataError, match="is a journal, which has no embeddings"),
        open_source(str(tmp_path / "events.db")) as source,
    ):
        needs_archive(source)
    journal.close()


def matrices(archive: Path) -> list[Path]:
    return sorted((archive / ".search").iterdir())


def test_the_matrix_of_a_large_archive_is_kept_and_made_anew_when_a_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_STORED", 3)
    archive = write_archive(tmp_path / "out", ROWS[:3], ROWS[3:])
    assert found_in(like(archive, NEAR)) == "adc"
    (first,) = matrices(archive)
    kept = (first / "rows").stat().st_ino
    assert found_in(like(archive, NEAR)) == "adc"
    assert (first / "rows").stat().st_ino == kept

    changed = [Row("a dog barks", "a", embedding=FAR, time=0.0), *ROWS[1:3]]
    write_shard(archive, 0, changed)
    assert found_in(like(archive, NEAR)) == "dac"
    (second,) = matrices(archive)
    assert second.name != first.name

    write_shard(archive, 2, [Row("thunder", "e", embedding=NEAR)])
    assert found_in(like(archive, NEAR)) == "edac"
    (archive / CAPTIONS / shard_name(2)).unlink()
    assert found_in(like(archive, NEAR)) == "dac"
    assert len(matrices(archive)) == 1


def test_a_matrix_that_was_not_finished_is_never_used_and_a_damaged_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_STORED", 3)
    archive = write_archive(tmp_path / "out", ROWS)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            like(archive, NEAR)
    assert matrices(archive) == []
    (archive / ".search" / "building-left").mkdir()
    assert found_in(like(archive, NEAR)) == "adc"
    place = next(path for path in matrices(archive) if path.name != "building-left")
    (place / "rests").write_bytes(b"123")
    with pytest.raises(DataError, match=r"is damaged .* remove it, and search again"):
        like(archive, NEAR)


def test_an_archive_that_may_not_be_written_has_its_matrix_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_STORED", 3)
    monkeypatch.setenv("EDGECAP_CACHE", str(tmp_path / "cache"))
    archive = write_archive(tmp_path / "out", ROWS)
    monkeypatch.setattr("os.access", lambda *_: False)
    messages: Messages = []
    with closing(ArchiveSource(str(archive))) as source:
        SoundSearcher(source, notifier(messages))
    assert not (archive / ".search").exists()
    assert len(list((tmp_path / "cache" / "search").glob("*/*/rows"))) == 1
    assert "embeddings of 4 windows, once" in messages[0][1]


def test_embeddings_of_another_size_are_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "out", ROWS)
    with pytest.raises(DataError, match="the clip has an embedding of 3 values, the archive's have 8"):
        like(archive, (1.0, 2.0, 3.0))
    write_archive(tmp_path / "wrong", ROWS, settings=(archive / "archive.json").read_bytes().replace(b": 8", b": 7"))
    with pytest.raises(DataError, match=r"shard-000000\.parquet cannot be read"):
        like(tmp_path / "wrong", (1.0,) * 7)
