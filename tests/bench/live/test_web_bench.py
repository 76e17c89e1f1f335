"""What is wanted of the live page is kept or missed, as it was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecap.errors import MissingDependencyError, ResultError
from edgecap_bench.live.chromium import chromium
from edgecap_bench.live.page_result import PageUpdates, criteria
from edgecap_bench.reports.measurement import write_measurement
from edgecap_bench.reports.registry import format_of
from support.bench_parts import measured, with_header

GOOD = PageUpdates(
    page_bytes=40_000,
    seconds=10.0,
    sent=300,
    received=300,
    dropped=0,
    update_seconds=0.0005,
    pictures=299,
    picture_seconds=[0.033, 0.034, 0.05],
    longest_task_seconds=0.0,
    server_share=0.01,
)


def test_a_light_and_smooth_page_keeps_everything_wanted() -> None:
    assert all(one.kept for one in criteria(GOOD))


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("weight of the page", {"page_bytes": 80_001}),
        ("updates", {"received": 299}),
        ("updates", {"dropped": 1}),
        ("pictures", {"pictures": 279}),
        ("between two pictures", {"picture_seconds": [0.033, 0.051, 0.06]}),
        ("between two pictures", {"picture_seconds": [], "pictures": 280}),
        ("longest task", {"longest_task_seconds": 0.06}),
    ],
)
def test_everything_wanted_can_be_missed(name: str, worse: dict[str, Any]) -> None:
    assert [one.name for one in criteria(replace(GOOD, **worse)) if not one.kept] == [name]


def test_a_result_becomes_a_section_and_one_of_another_version_does_not(tmp_path: Path) -> None:
    file, entry = tmp_path / "page.json", format_of(PageUpdates.FORMAT)
    write_measurement(file, measured(GOOD))
    text = entry.section([file]).text
    assert text.startswith("## The live page at 30 updates a second")
    assert "| weight of the page | 40.0 kB | at most 80 kB | yes |" in text
    write_measurement(file, with_header(measured(GOOD), format_version=99))
    with pytest.raises(ResultError, match="format version 99"):
        entry.section([file])


def test_without_chromium_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="apt install chromium chromium-driver"), chromium(tmp_path):
        pass
