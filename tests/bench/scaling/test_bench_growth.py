"""Cost as work grows: what is run, fitted and drawn, and an interrupted run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from edgecap_bench import cli
from edgecap_bench.figures.results import Subject
from edgecap_bench.harness.board_state import BoardState
from edgecap_bench.harness.child import Channel
from edgecap_bench.reports.measurement import Measurement, read_measurement, write_measurement
from edgecap_bench.reports.registry import format_of
from edgecap_bench.reports.tables import html, markdown
from edgecap_bench.scaling import growth
from edgecap_bench.scaling.report import draw, growth_page
from edgecap_bench.scaling.results import Curve, Growth, Hour, Point
from support.bench_parts import bench, measured


def points(pairs: dict[float, float], resident: float = 0.0) -> list[Point]:
    return [Point(x=x, seconds=[seconds] * 6, resident_bytes=int(90e6 + resident * x)) for x, seconds in pairs.items()]


@pytest.fixture
def grown() -> Measurement[Growth]:
    """2 ms for each second of sound, 1 ms a beam on top of 10, 5 ms a stream; two threads are 1.6 times as fast."""
    curves = [
        Curve(name="length", points=points({1: 0.02, 10: 0.02, 60: 0.12, 600: 1.2})),
        Curve(name="beams", points=points({beam: 0.01 + 0.001 * beam for beam in range(1, 9)})),
        Curve(name="streams", points=points({1: 0.005, 8: 0.04, 32: 0.16}, resident=300e3)),
        Curve(name="threads", points=points({1: 0.016, 2: 0.01})),
    ]
    hour = Hour(
        audio_seconds=3600,
        seconds=7.2,
        processor_seconds=7.0,
        joules=35.0,
        resident_bytes=[90_000_000] * 360,
        growth_bytes=100_000.0,
    )
    result = Growth(
        threads=1,
        rounds=6,
        tokens=12,
        clips=["hum"],
        subject=Subject(name="tiny", runtime="onnx", precision="fp32", size_bytes=1, sha256={}),
        curves=curves,
        hour=hour,
        before=BoardState(50.0, False, None),
        after=BoardState(60.0, False, None),
        energy="RAPL",
    )
    return measured(result)


def changed(measurement: Measurement[Growth], **body: Any) -> Measurement[Growth]:
    return Measurement(measurement.header, replace(measurement.body, **body))


def test_slopes_are_those_of_the_points(grown: Measurement[Growth]) -> None:
    curves = grown.body.curves
    length, beams, _, threads = (curve.line() for curve in curves)
    assert length is not None
    assert length.slope == pytest.approx(0.002)  # the second below the window is left out
    assert length.exponent == pytest.approx(1.0)
    assert beams is not None
    assert [beams.slope, beams.intercept] == pytest.approx([0.001, 0.01])
    assert curves[2].memory_slope() == pytest.approx(300e3)
    assert threads is not None
    assert threads.exponent == pytest.approx(-math.log2(1.6))
    assert Curve(name="beams", points=curves[1].points[:1]).line() is None


def test_the_page_shows_slopes_the_hour_and_whether_memory_is_flat(grown: Measurement[Growth]) -> None:
    text = markdown(growth_page(grown))
    for fact in (
        "2 ms a second of sound",
        "1 ms a beam",
        "5 ms a stream",
        "300 kB a stream",
        "0.200%",
        "35 J",
        "| growth of memory | 100 kB | at most 4 MB | yes |",
        "50.0 °C",
    ):
        assert fact in text
    assert grown.body.hour is not None
    leaking = changed(grown, hour=replace(grown.body.hour, growth_bytes=5e6))
    assert "| growth of memory | 5 MB | at most 4 MB | NO |" in markdown(growth_page(leaking))
    assert '<td class="failed">NO</td>' in html(growth_page(leaking))


def test_a_file_comes_back_and_makes_a_section_with_its_picture(grown: Measurement[Growth], tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    write_measurement(file, grown)
    assert read_measurement(file, Growth) == grown
    section = format_of(Growth.FORMAT).section([file])
    assert "plots/growth.png" in section.text
    section.plots["growth.png"](tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_what_there_is_of_an_interrupted_run_is_drawn(grown: Measurement[Growth], tmp_path: Path) -> None:
    draw(changed(grown, curves=grown.body.curves[:1], hour=None), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_more_streams_take_more_memory_and_every_point_is_timed_every_round(tiny_folder: Path) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.reports: list[tuple[float, float | None]] = []

        def progress(self, done: float, total: float | None, label: str = "") -> None:
            self.reports.append((done, total))

    channel = Recorder()
    spec = {"model": str(tiny_folder), "clips": None, "rounds": 2, "threads": 1, "tokens": 3}
    answer = growth.curve(cast(Channel, channel), json.dumps({**spec, "curve": "streams", "values": [1, 3]}))
    one, three = answer["points"]
    assert [(point["x"], len(point["seconds"])) for point in (one, three)] == [(1, 2), (3, 2)]
    assert three["resident_bytes"] >= one["resident_bytes"] > 20e6
    assert channel.reports == [(1, 3), (2, 3), (3, 3)]


def test_bench_grows_everything_and_writes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(growth, "LENGTHS", (1, 10, 20))
    monkeypatch.setattr(growth, "BEAMS", (1, 2))
    monkeypatch.setattr(growth, "STREAMS", (1, 2))
    file, plot, report = (tmp_path / f"growth.{suffix}" for suffix in ("json", "png", "html"))
    arguments = ("--model", tiny_folder, "--growth", "--rounds", 1, "--tokens", 2, "--long", 45, "--even-busy")
    done = bench(capsys, *arguments, "--json-file", file, "--plot", plot, "--report", report)
    assert (done.code, done.err) == (0, "")
    measurement = read_measurement(file, Growth)
    by_name = {curve.name: [point.x for point in curve.points] for curve in measurement.body.curves}
    assert list(by_name) == ["length", "beams", "streams", "threads"]
    assert (by_name["length"], by_name["beams"], by_name["streams"]) == ([1, 10, 20], [1, 2], [1, 2])
    assert by_name["threads"][0] == 1
    hour = measurement.body.hour
    assert hour is not None
    assert (hour.audio_seconds, len(hour.resident_bytes)) == (45, 5)
    assert hour.processor_seconds > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in report.read_text()
    assert "--growth" in measurement.header.command


def test_control_c_keeps_complete_curves(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(target: str, spec: dict[str, Any], **more: object) -> dict[str, Any]:
        if spec["curve"] == "beams":
            raise KeyboardInterrupt
        return {"points": [{"x": x, "seconds": [1.0], "resident_bytes": 1} for x in (1, 2)]}

    monkeypatch.setattr(growth, "run_measurement", run)
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=[str(tiny_folder)], growth=True, even_busy=True, json=tmp_path / "g.json")
    assert ended.value.exit_code == 130
    measurement = read_measurement(tmp_path / "g.json", Growth)
    assert measurement.header.partial
    assert ([curve.name for curve in measurement.body.curves], measurement.body.hour) == (["length"], None)
    assert "PARTIAL" in capsys.readouterr().out
