"""The soak and the figures of listening: what they conclude, and a short run of the real listener."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edgecap.errors import ResultError
from edgecap_bench.live.listen_result import ListenFigure, Listening
from edgecap_bench.live.soak import soak
from edgecap_bench.live.soak_result import Sample, Soak, Stamp, criteria, drift, slope
from edgecap_bench.live.soak_sound import SoakSound
from edgecap_bench.reports.measurement import read_measurement, write_measurement
from edgecap_bench.reports.registry import format_of
from support.bench_parts import measured

HOUR = 3600.0


def result(*, growth: float = 0.0, handles: int = 0, late: float = 0.0, **more: Any) -> Soak:
    """A day in which memory grows by `growth` bytes an hour, `handles` are left behind, and stamps drift by `late`."""
    samples = [
        Sample(
            sound_seconds=HOUR * hour,
            seconds=HOUR * hour / 20,
            resident_bytes=round(1e8 + growth * hour),
            handles=9 + handles * hour,
            threads=3,
            processor_seconds=hour,
        )
        for hour in range(25)
    ]
    stamps = [
        Stamp(
            played=60.0 * place,
            start=60.0 * place + late * place / 1000,
            began=1e9 + 60.0 * place + late * place / 1000,
        )
        for place in range(1000)
    ]
    fields: dict[str, Any] = {
        "model": "tiny",
        "hours": 24.0,
        "speed": 20.0,
        "samples": samples,
        "stamps": stamps,
        "played": 1000,
        "events": 1000,
        "beats": 400,
        "longest_beat": 10.0,
        "exit_code": 0,
        "summary": "edgecap: note: stopped",
    }
    return Soak(**{**fields, **more})


def missed(result: Soak) -> set[str]:
    return {criterion.name for criterion in criteria(result) if not criterion.kept}


def test_a_day_without_fault_keeps_everything_wanted() -> None:
    assert missed(result()) == set()


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"growth": 2e6}, {"resident memory"}),
        ({"growth": 0.5e6}, set()),
        ({"handles": 1}, {"open handles"}),
        ({"late": 1.0}, {"drift of beginnings against the sound"}),
        ({"exit_code": 1}, {"end"}),
        ({"beats": 0}, {"watchdog"}),
        ({"longest_beat": 31.0}, {"watchdog"}),
    ],
)
def test_each_fault_misses_its_criterion(more: dict[str, Any], names: set[str]) -> None:
    assert missed(result(**more)) == names


def test_slopes_and_drifts() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2.0)
    assert slope([(0, 1)]) != slope([(0, 1)])  # not a number: too few points
    assert drift([0.0] * 50 + [1.0] * 50) == 1.0
    assert drift([1.0]) != drift([1.0])  # not a number: too few points


def test_a_soak_too_short_to_tell_of_memory_misses_it() -> None:
    assert missed(result(samples=result().samples[:1])) == {"resident memory"}


def test_a_clip_with_several_events_counts_once() -> None:
    stamps = result().stamps
    twice = [Stamp(played=stamp.played, start=stamp.start + 2.5, began=stamp.began) for stamp in stamps[:600]]
    assert missed(result(stamps=[*stamps, *twice])) == set()


def test_a_soak_becomes_a_section_and_an_interrupted_one_does_not(tmp_path: Path) -> None:
    entry = format_of(Soak.FORMAT)
    write_measurement(tmp_path / "a.json", measured(result()))
    text = entry.section([tmp_path / "a.json"]).text
    assert "## Soak: 24.0 hours of sound at 20.0 times its speed" in text
    assert "| resident memory | " in text
    assert "| threads | 3 | constant | yes |" in text
    write_measurement(tmp_path / "b.json", measured(result(), partial=True))
    with pytest.raises(ResultError, match="cut short"):
        entry.section([tmp_path / "b.json"])


def test_the_day_is_the_same_each_time_and_says_where_clips_began() -> None:
    first, second = SoakSound(None), SoakSound(None)
    assert b"".join(first.block(0.5) for _ in range(60)) == second.block(30.0)
    assert first.played == second.played
    began = first.played[0]
    assert first.clip_at(began + 0.1) == began
    assert first.clip_at(began - 5.0) is None


def test_a_short_soak_of_the_real_listener(tiny_folder: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(soak)
    arguments = ["--hours", "0.02", "--speed", "20", "--every", "0.5", "--model", str(tiny_folder)]
    CliRunner().invoke(app, [*arguments, "--json-file", str(tmp_path / "soak.json")])
    measurement = read_measurement(tmp_path / "soak.json", Soak)
    result = measurement.body
    assert result.exit_code == 0, result.summary
    assert not measurement.header.partial
    assert result.samples[-1].sound_seconds == pytest.approx(72.0, abs=0.5)
    assert result.played >= 1
    assert result.beats >= 1
    assert {sample.threads for sample in result.samples[-3:]} == {result.samples[-1].threads}
    assert "stopped after" in result.summary


def test_figures_of_listening_become_a_section_unless_the_machine_was_busy(tmp_path: Path) -> None:
    figures = [
        ListenFigure("processor in quiet", 0.5, "% of one core", 0.7, "0 captions"),
        ListenFigure("overflows", 2.0, "", 0.0, "in 60 minutes"),
    ]
    listening = Listening(model="tiny", precision="int8", measured=figures)
    entry, file = format_of(Listening.FORMAT), tmp_path / "a.json"
    write_measurement(file, measured(listening))
    text = entry.section([file]).text
    assert "| processor in quiet | 0.5 % of one core | at most 0.7 % of one core | yes | 0 captions |" in text
    assert "| overflows | 2 | at most 0 | NO |" in text
    write_measurement(file, measured(listening, noisy=True))
    with pytest.raises(ResultError, match="busy machine"):
        entry.section([file])
