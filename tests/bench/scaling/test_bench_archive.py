"""What archives of any size cost, by the slopes of measured runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecap_bench.figures.results import Subject
from edgecap_bench.reports.measurement import MeasurementStart, read_measurement, write_measurement
from edgecap_bench.reports.registry import page_of
from edgecap_bench.scaling.archive_result import ArchiveScale, ArchiveTiming


def timing(engine: str, workers: int, *, clips: int, seconds: float, slope: float) -> ArchiveTiming:
    return ArchiveTiming(
        engine=engine,
        workers=workers,
        clips=clips,
        seconds=seconds,
        seconds_a_clip=slope,
        peak_bytes=800_000_000,
        bytes_a_clip=12.0,
        output_bytes=800 * clips,
        rows=clips,
    )


def test_a_long_run_is_foretold_by_a_short_one_and_collections_by_its_slope(tmp_path: Path) -> None:
    scale = ArchiveScale(
        subject=Subject(name="tiny", runtime="onnx", precision="int8", size_bytes=1, sha256={}),
        input_bytes_a_clip=100_000.0,
        runs=[
            timing("local", 1, clips=1_000, seconds=19.0, slope=0.018),
            timing("ray", 1, clips=1_000, seconds=27.0, slope=0.02),
            timing("ray", 2, clips=1_000, seconds=17.5, slope=0.021),
        ],
        resume_seconds=1.5,
        long=timing("ray", 2, clips=36_000, seconds=395.0, slope=0.022),
    )
    assert scale.runs[2].fixed_seconds == pytest.approx(7.0)
    assert scale.long is not None
    assert scale.foretold(scale.long) == pytest.approx(7.0 + 36_000 * 0.021 / 2)
    write_measurement(tmp_path / "archive.json", MeasurementStart("x").end(scale))
    page = page_of(read_measurement(tmp_path / "archive.json", ArchiveScale))
    _, ratios, collections = page.sheets
    assert [row[1] for row in ratios.rows] == ["1.5 s", "10.0%", "1.90 x", "385 s foretold, 395 s taken: -2.5%"]
    assert collections.rows[0][1:] == ("12", "0.2", "0.21", "4.76", "1.7")
    assert collections.rows[1][1] == "18,396"
