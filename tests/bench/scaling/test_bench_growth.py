"""Cost as work grows: what is run, what is fitted, what is drawn, and a run cut short. No time is judged."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer

from edgecap.errors import ResultError
from edgecap_bench import cli
from edgecap_bench.harness.board_state import Condition
from edgecap_bench.harness.machine import this_machine
from edgecap_bench.harness.processes import Measurement
from edgecap_bench.reports.results import Subject
from edgecap_bench.reports.tables import html, markdown
from edgecap_bench.scaling import growth
from edgecap_bench.scaling.growth import BEAMS, STREAMS, grow
from edgecap_bench.scaling.report import draw, growth_page, section
from edgecap_bench.scaling.results import FORMAT, FORMAT_VERSION, Curve, Growth, Hour, Point, read_growth, write_growth

Run = Callable[..., subprocess.CompletedProcess[str]]


def points(pairs: dict[float, float], resident: float = 0.0) -> list[Point]:
    return [Point(x=x, seconds=[seconds] * 6, resident_bytes=int(90e6 + resident * x)) for x, seconds in pairs.items()]


@pytest.fixture
def grown() -> Growth:
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
    return Growth(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        date="2026-11-23T04:00:00+00:00",
        command="edgecap bench",
        machine=this_machine(),
        versions={"python": "3.11"},
        threads=1,
        rounds=6,
        tokens=12,
        clips=["hum"],
        subject=Subject(name="tiny", runtime="onnx", precision="fp32", size_bytes=1, sha256={}),
        curves=curves,
        hour=hour,
        before=Condition(50.0, False, None),
        after=Condition(60.0, False, None),
        energy="RAPL",
        others_before=0.0,
        others_during=0.0,
        noisy=False,
        partial=False,
    )


def test_slopes_are_those_of_the_points(grown: Growth) -> None:
    lines = {curve.name: curve.line() for curve in grown.curves}
    assert lines["length"].slope == pytest.approx(0.002)  # the second below the window is left out
    assert lines["length"].exponent == pytest.approx(1.0)
    assert (lines["beams"].slope, lines["beams"].intercept) == (pytest.approx(0.001), pytest.approx(0.01))
    assert grown.curves[2].memory_slope() == pytest.approx(300e3)
    assert lines["threads"].exponent == pytest.approx(-np.log2(1.6))
    assert Curve(name="beams", points=grown.curves[1].points[:1]).line() is None


def test_the_page_tells_slopes_the_hour_and_whether_memory_is_flat(grown: Growth) -> None:
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
    leaking = replace(grown, hour=replace(grown.hour, growth_bytes=5e6))
    assert "| growth of memory | 5 MB | at most 4 MB | NO |" in markdown(growth_page(leaking))
    assert "<td class=no>NO</td>" in html(growth_page(leaking))


def test_a_file_comes_back_and_makes_a_section_with_its_picture(grown: Growth, tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    write_growth(file, grown)
    assert read_growth(file) == grown
    part = section([file])
    assert "plots/growth.png" in part.text
    part.plots["growth.png"](tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    for fault, words in (({"noisy": True}, "busy"), ({"partial": True}, "cut short")):
        write_growth(file, replace(grown, **fault))
        with pytest.raises(ResultError, match=words):
            section([file])
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 7'))
    with pytest.raises(ResultError, match="format version 7"):
        read_growth(file)


def test_what_is_there_of_a_run_cut_short_is_drawn(grown: Growth, tmp_path: Path) -> None:
    draw(replace(grown, curves=grown.curves[:1], hour=None, partial=True), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_more_streams_take_more_memory_and_every_point_is_timed_every_round(tiny_folder: Path) -> None:
    told = []
    found = grow(
        str(tiny_folder),
        None,
        rounds=2,
        threads=1,
        tokens=3,
        curve="streams",
        values=[1, 3],
        progress=lambda done, total: told.append((done, total)),
    )
    assert [(point["x"], len(point["seconds"])) for point in found] == [(1, 2), (3, 2)]
    assert found[1]["resident_bytes"] >= found[0]["resident_bytes"] > 20e6
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_bench_grows_everything_and_writes_it(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    file, plot, report = tmp_path / "g.json", tmp_path / "g.png", tmp_path / "g.html"
    done = edgecap(
        "bench",
        "--model",
        tiny_folder,
        "--growth",
        "--rounds",
        1,
        "--tokens",
        2,
        "--long",
        45,
        "--even-busy",
        "--json",
        file,
        "--plot",
        plot,
        "--report",
        report,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = read_growth(file)
    by_name = {curve.name: [point.x for point in curve.points] for curve in found.curves}
    assert list(by_name) == ["length", "beams", "streams", "threads"]
    assert (by_name["length"][0], by_name["length"][-1]) == (1, 600)
    assert (by_name["beams"], by_name["streams"]) == (list(BEAMS), list(STREAMS))
    assert by_name["threads"][0] == 1
    assert found.hour is not None
    assert (found.hour.audio_seconds, len(found.hour.resident_bytes)) == (45, 5)
    assert found.hour.processor_seconds > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in report.read_text()
    assert "--growth" in found.command


def test_control_c_keeps_whole_curves(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(self: Measurement, task: str, spec: str, **more: object) -> dict:
        if '"beams"' in spec:
            raise KeyboardInterrupt
        return {"points": [{"x": x, "seconds": [1.0], "resident_bytes": 1} for x in (1, 2)]}

    monkeypatch.setattr(growth.Measurement, "run", run)
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=[str(tiny_folder)], growth=True, even_busy=True, json=tmp_path / "g.json")
    assert ended.value.exit_code == 130
    found = read_growth(tmp_path / "g.json")
    assert (found.partial, [curve.name for curve in found.curves], found.hour) == (True, ["length"], None)
    assert "PARTIAL" in capsys.readouterr().out
