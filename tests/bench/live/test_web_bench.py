"""What is wished of the live page is told kept or not as it was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.errors import MissingDependencyError, ResultError
from edgecap_bench.harness.machine import this_machine
from edgecap_bench.live.chromium import chromium
from edgecap_bench.live.page_result import FORMAT, FORMAT_VERSION, PageResult, findings, section, write_page

GOOD = PageResult(
    format=FORMAT,
    format_version=FORMAT_VERSION,
    date="2026-01-01T00:00:00+00:00",
    command="x",
    machine=this_machine(),
    versions={},
    page_bytes=40_000,
    seconds=10.0,
    told=300,
    taken=300,
    dropped=0,
    update_seconds=0.0005,
    pictures=299,
    picture_seconds=[0.033, 0.034, 0.05],
    longest_task_seconds=0.0,
    server_share=0.01,
)


def test_a_light_and_smooth_page_keeps_all_wishes() -> None:
    assert all(one.kept for one in findings(GOOD))


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("weight of the page", {"page_bytes": 60_001}),
        ("updates", {"taken": 299}),
        ("updates", {"dropped": 1}),
        ("pictures", {"pictures": 279}),
        ("between two pictures", {"picture_seconds": [0.033, 0.051, 0.06]}),
        ("between two pictures", {"picture_seconds": [], "pictures": 280}),
        ("longest task", {"longest_task_seconds": 0.06}),
    ],
)
def test_each_wish_can_fail(name: str, worse: dict[str, object]) -> None:
    assert [one.name for one in findings(replace(GOOD, **worse)) if not one.kept] == [name]


def test_a_result_becomes_a_section_and_one_of_another_version_does_not(tmp_path: Path) -> None:
    write_page(tmp_path / "page.json", GOOD)
    text = section([tmp_path / "page.json"]).text
    assert text.startswith("## The live page at 30 updates a second")
    assert "| weight of the page | 40.0 kB | at most 60 kB | yes |" in text
    write_page(tmp_path / "page.json", replace(GOOD, format_version=99))
    with pytest.raises(ResultError):
        section([tmp_path / "page.json"])


def test_without_chromium_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="apt install chromium chromium-driver"), chromium(tmp_path):
        pass
