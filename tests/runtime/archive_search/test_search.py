"""Searches of an archive by words and by conditions, and what is no archive, or a damaged one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import pytest

from edgecap.archive.schema import CAPTIONS, SETTINGS, shard_name
from edgecap.archive_search.conditions import Conditions, parse_when
from edgecap.archive_search.search import Searcher, SearchResults, open_source
from edgecap.archive_search.summary import summarise
from edgecap.errors import ConfigError, DataError
from support.archives.rows import Row, write_archive, write_shard

DAY = datetime(2026, 11, 27).timestamp()
"""A midnight here."""
HOUR = 3600.0
ROWS = (
    Row("a dog barks", "/sounds/garden/a.wav", 0.0, DAY + 2 * HOUR, 0.9, level=-10.0),
    Row("a dog barks", "/sounds/street/b.wav", 10.0, DAY + 12 * HOUR, 0.4, level=-40.0, tags=("our dog", 'a "tag"')),
    Row("dogs are barking near water", "/sounds/street/b.wav", 20.0, DAY + 23 * HOUR, 0.6),
    Row("rain is falling", "/sounds/rain.wav", 0.0, None, None, -0.1),
    Row("silence", "/sounds/rain.wav", 10.0, None, None, None, -120.0, silent=True),
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"), ROWS[:2], ROWS[2:])


def search(archive: Path, words: str | None = None, limit: int = 10, **more: Any) -> SearchResults:
    conditions = Conditions(**more)
    with open_source(str(archive)) as source:
        searcher = Searcher(source)
        return searcher.newest(conditions, limit) if words is None else searcher.by_words(words, conditions, limit)


def places(results: SearchResults) -> list[tuple[str, float]]:
    return [(hit.source.rpartition("/")[2], hit.start) for hit in results.hits]


def test_the_best_caption_comes_first_then_the_most_confident(archive: Path) -> None:
    results = search(archive, "dog barking near the water")
    assert places(results) == [("b.wav", 20.0), ("a.wav", 0.0), ("b.wav", 10.0)]
    assert results.total == 3


def test_the_total_counts_what_the_limit_cuts_off(archive: Path) -> None:
    results = search(archive, "barking", 1)
    assert (len(results.hits), results.total) == (1, 3)


def test_a_hit_has_all_that_the_archive_says(archive: Path) -> None:
    (hit,) = search(archive, "dog", tag="our dog").hits
    document = hit.document()
    assert document.pop("rank") == pytest.approx(1.0, abs=0.99)
    assert document == {
        "source": "/sounds/street/b.wav",
        "time": datetime.fromtimestamp(DAY + 12 * HOUR).astimezone().isoformat(),
        "caption": "a dog barks",
        "start": 10.0,
        "end": 20.0,
        "confidence": 0.4,
        "score": -0.5,
        "similarity": None,
        "level": -40.0,
        "tags": ["our dog", 'a "tag"'],
    }


def test_without_words_the_newest_come_first_and_those_without_a_time_last(archive: Path) -> None:
    assert places(search(archive, silent=False)) == [
        ("b.wav", 20.0),
        ("b.wav", 10.0),
        ("a.wav", 0.0),
        ("rain.wav", 0.0),
    ]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"since": DAY + 12 * HOUR}, [("b.wav", 20.0), ("b.wav", 10.0)]),
        ({"until": DAY + 12 * HOUR}, [("a.wav", 0.0)]),
        ({"hours": (22, 5)}, [("b.wav", 20.0), ("a.wav", 0.0)]),
        ({"hours": (12, 13)}, [("b.wav", 10.0)]),
        ({"source": "*/street/*"}, [("b.wav", 20.0), ("b.wav", 10.0)]),
        ({"source": "*/rain.wav"}, [("rain.wav", 0.0), ("rain.wav", 10.0)]),
        ({"min_level": -30.0, "source": "*/garden/*"}, [("a.wav", 0.0)]),
        ({"min_confidence": 0.55}, [("b.wav", 20.0), ("a.wav", 0.0), ("rain.wav", 0.0)]),
        ({"tag": 'a "tag"'}, [("b.wav", 10.0)]),
        ({"tag": "tag"}, []),
        ({"source": "'; DROP TABLE x --"}, []),
    ],
)
def test_conditions_narrow(archive: Path, conditions: dict[str, Any], expected: Sequence[tuple[str, float]]) -> None:
    assert places(search(archive, **conditions)) == expected


def test_a_shard_that_is_added_between_two_searches_is_searched(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "out", ROWS[:1])
    assert search(archive, "rain").total == 0
    write_shard(archive, 1, ROWS[3:])
    (archive / CAPTIONS / f".{shard_name(2)}.1.tmp").write_bytes(b"half")
    assert search(archive, "rain").total == 1


def test_signs_of_patterns_in_the_folders_name_are_no_patterns(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "all [our] 'sounds' {2026}*?", ROWS)
    assert search(archive, "rain").total == 1


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not an archive \(it has no archive\.json\)"), open_source(str(tmp_path)):
        pass
    with pytest.raises(DataError, match="cannot be read"), open_source(str(tmp_path / "nowhere")):
        pass
    (tmp_path / "notes.txt").write_text("a dog barks")
    with (
        pytest.raises(DataError, match="is neither an archive nor a journal"),
        open_source(str(tmp_path / "notes.txt")),
    ):
        pass


def test_an_archive_without_captions_yet_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no captions yet"), open_source(str(write_archive(tmp_path / "out"))):
        pass


@pytest.mark.parametrize("settings", [b"", b"{}", b'{"format": 99}', b"\xff"])
def test_settings_of_another_version_or_damaged_are_refused(tmp_path: Path, settings: bytes) -> None:
    archive = write_archive(tmp_path / "out", ROWS, settings=settings)
    with pytest.raises(DataError, match=rf"{SETTINGS} cannot be used"), open_source(str(archive)):
        pass


@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_a_damaged_shard_is_named(tmp_path: Path, keep: int) -> None:
    archive = write_archive(tmp_path / "out", ROWS, ROWS)
    shard = archive / CAPTIONS / shard_name(1)
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{shard_name(1)} cannot be read .* edgecap archive makes it anew"):
        search(archive, "dog")


def test_times_are_read_as_people_write_them() -> None:
    assert parse_when("2026-11-27") == DAY
    assert parse_when("2026-11-27", end=True) == datetime(2026, 11, 28).timestamp()
    assert parse_when("2026-11-27 12:00", end=True) == DAY + 12 * HOUR
    assert parse_when("2026-11-27T12:00:00+00:00") == 1_795_780_800.0
    assert parse_when("2d", now=DAY) == DAY - 48 * HOUR
    assert parse_when("90m") == pytest.approx(time.time() - 5400, abs=60)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-11-31", "-3h", "9999999999999d", "0001-01-01"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="invalid"):
        parse_when(text)


def test_a_bracket_in_a_pattern_is_a_sign_like_others(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "out", [Row("rain", "/rec [1]/a.wav"), Row("rain", "/rec 1/b.wav")])
    assert places(search(archive, source="/rec [1]/*")) == [("a.wav", 0.0)]
    assert places(search(archive, source="*[1?*")) == [("a.wav", 0.0)]


def test_times_at_the_ends_of_the_calendar_are_shown_in_any_zone_and_those_beyond_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beyond = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 50, tzinfo=UTC))
    ends = (datetime(6, 6, 30, tzinfo=UTC), datetime(9986, 6, 30, tzinfo=UTC), *beyond)
    archive = write_archive(tmp_path / "out", [Row("rain", time=end.timestamp()) for end in ends])
    try:
        for zone in ("Asia/Tokyo", "America/New_York", "UTC"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            years = [str(hit.document()["time"])[:4] for hit in search(archive, hours=(0, 24)).hits]
            assert years == ["9986", "0006"]
            assert [hit.time for hit in search(archive).hits][-2:] == [None, None]
            with open_source(str(archive)) as source:
                summary = summarise(source, Conditions())
                assert (len(summary.hours), summary.undated) == (2, 2)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_shard_that_is_removed_or_out_of_reach_while_it_is_searched_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = fsspec.filesystem("memory")
    with TemporaryDirectory() as folder:
        memory.put(f"{write_archive(Path(folder) / 'out', ROWS)}/", "/reach-test/", recursive=True)

    opened = type(memory)._open

    def refuse(system: Any, path: str, *more: Any, **options: Any) -> Any:
        if "shard" in path:
            raise ConnectionError("the line is dead")
        return opened(system, path, *more, **options)

    try:
        with open_source("memory://reach-test") as source, monkeypatch.context() as line:
            line.setattr(type(memory), "_open", refuse)
            with pytest.raises(DataError, match=r"the line is dead\); check the address, the network and your rights"):
                source.rows("SELECT source FROM windows")
        with open_source("memory://reach-test") as source:
            memory.rm(f"/reach-test/{CAPTIONS}/{shard_name(0)}")
            with pytest.raises(DataError, match=r"shard-000000.parquet cannot be read \(it was removed meanwhile\)"):
                source.rows("SELECT source FROM windows")
    finally:
        memory.rm("/reach-test", recursive=True)


def test_a_search_that_takes_too_much_memory_ends_in_one_line(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecap.archive_search.parquet.search_memory", lambda: 32 << 20)
    with open_source(str(archive)) as source:
        assert source.rows("SELECT count(*) FROM windows") == [(5,)]
        with pytest.raises(DataError, match="takes more than 32 MiB, half of this machine's memory"):
            source.rows("SELECT list(i) FROM range(100000000) t(i)")
