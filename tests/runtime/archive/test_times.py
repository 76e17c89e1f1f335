from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgecap.archive.inputs.times import later, moment, time_in_cell, time_in_name, zone
from edgecap.errors import ConfigError

EVENING = datetime(2026, 11, 28, 18, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    [
        "20261128_184500.WAV",  # AudioMoth
        "/rec/24F3190361DA0000_20261128_184500T.WAV",  # AudioMoth that was triggered
        "s3://reserve/SM4_20261128_184500.wav",
        "20261128T184500Z.flac",
        "20261128T194500+0100_owl.flac",
        "20261128184500.ogg",
        "mic-2026-11-28T18:45:00Z.wav",
        "2026-11-28T19-45-00+01:00.wav",
        "2026-11-28_18-45-00.mp3",
        "2026-11-28 18.45.00.mp3",
        "http://host/20261128_184500.wav?start=20200101_000000",
        "20261399_000000_20261128_184500.wav",  # what is no date is passed over
    ],
)
def test_the_time_in_a_name(name: str) -> None:
    assert time_in_name(name, UTC) == EVENING


@pytest.mark.parametrize(
    "name",
    [
        "dog.wav",
        "12345678.WAV",
        "120261128_184500.wav",
        "20261328_184500.wav",
        "20261128.wav",
        "20261128_18.wav",
        "00010203040506.wav",
    ],
)
def test_a_name_without_a_time(name: str) -> None:
    assert time_in_name(name, UTC) is None


def test_old_audiomoth_names_are_seconds_in_hexadecimal() -> None:
    assert time_in_name("/rec/5E90A4D4.WAV", zone("Europe/Berlin")) == datetime(2020, 4, 10, 16, 54, 44, tzinfo=UTC)
    assert time_in_name("5e90a4d4.wav", UTC) is None


def test_a_time_without_a_zone_is_in_the_named_one() -> None:
    berlin = zone("Europe/Berlin")
    assert time_in_name("20261128_194500.wav", berlin) == EVENING
    assert time_in_name("20260728_204500.wav", berlin) == datetime(2026, 7, 28, 18, 45, tzinfo=UTC)  # summer
    assert time_in_name("20261128T184500Z.wav", berlin) == EVENING
    assert time_in_cell("2026-11-28 19:45:00", berlin) == EVENING


@pytest.mark.parametrize("cell", ["2026-11-28T18:45:00Z", EVENING, EVENING.replace(tzinfo=None), EVENING.timestamp()])
def test_the_time_in_a_cell(cell: object) -> None:
    assert time_in_cell(cell, UTC) == EVENING


def test_cells_that_hold_no_time() -> None:
    assert [time_in_cell(cell, UTC) for cell in (None, "  ", float("nan"))] == [None] * 3
    for cell in ("yesterday", True):
        with pytest.raises(ValueError, match=r"isoformat|no time"):
            time_in_cell(cell, UTC)


def test_a_time_zone_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="no time zone 'Mars/Olympus'"):
        zone("Mars/Olympus")
    with pytest.raises(ConfigError, match="no time zone"):
        zone("../etc")


def test_times_that_no_calendar_has_are_none() -> None:
    assert moment(EVENING.timestamp()) == EVENING
    assert [moment(seconds) for seconds in (1e12, -1e12, 1e30, float("nan"), float("inf"))] == [None] * 5
    assert later(EVENING, 1e12) is later(None, 1.0) is None
