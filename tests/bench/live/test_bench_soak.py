"""The soak and the figures of listening: what they conclude from what was seen, and a short run of the real thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgecap.errors import ResultError
from edgecap_bench.harness.machine import this_machine
from edgecap_bench.live.listen_result import FORMAT as LISTEN_FORMAT
from edgecap_bench.live.listen_result import ListenFigure, ListenResult, write_listen
from edgecap_bench.live.listen_result import section as listen_section
from edgecap_bench.live.soak import soak
from edgecap_bench.live.soak_result import (
    FORMAT,
    FORMAT_VERSION,
    Sample,
    SoakResult,
    Stamp,
    drift,
    figures,
    section,
    slope,
    write_soak,
)
from edgecap_bench.live.soak_sound import Day
from edgecap_bench.reports.results import read_document

HOUR = 3600.0


def result(*, growth: float = 0.0, handles: int = 0, late: float = 0.0, **more: object) -> SoakResult:
    """A day in which memory grows by `growth` bytes an hour, `handles` are left behind, and stamps drift by `late`."""
    samples = [
        Sample(
            heard=HOUR * hour,
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
    return SoakResult(
        **{  # type: ignore[arg-type]
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "date": "2026-01-01",
            "command": "x",
            "machine": this_machine(),
            "versions": {"edgecap": "0"},
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
            "last_words": "edgecap: note: stopped",
            "partial": False,
            **more,
        }
    )


def missed(found: SoakResult) -> set[str]:
    return {one.name for one in figures(found) if not one.kept}


def test_a_day_without_fault_keeps_all_wishes() -> None:
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
def test_each_fault_misses_its_wish(more: dict[str, float], names: set[str]) -> None:
    assert missed(result(**more)) == names  # type: ignore[arg-type]


def test_slopes_and_drifts() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2.0)
    assert slope([(0, 1)]) != slope([(0, 1)])  # not a number: too few to say
    assert drift([0.0] * 50 + [1.0] * 50) == 1.0
    assert drift([1.0]) != drift([1.0])  # not a number: too few to say


def test_a_soak_too_short_to_tell_of_memory_does_not_keep_the_wish() -> None:
    assert missed(result(samples=result().samples[:1])) == {"resident memory"}


def test_a_clip_that_is_heard_in_several_words_counts_once() -> None:
    found = result()
    twice = [Stamp(played=stamp.played, start=stamp.start + 2.5, began=stamp.began) for stamp in found.stamps[:600]]
    assert missed(result(stamps=[*found.stamps, *twice])) == set()


def test_a_soak_becomes_a_section_and_one_that_was_cut_short_does_not(tmp_path: Path) -> None:
    write_soak(tmp_path / "a.json", result())
    text = section([tmp_path / "a.json"]).text
    assert "## Soak: 24.0 hours of sound at 20.0 times its speed" in text
    assert "| resident memory | " in text
    assert "| threads | 3 | constant | yes |" in text
    write_soak(tmp_path / "b.json", result(partial=True))
    with pytest.raises(ResultError, match="cut short"):
        section([tmp_path / "b.json"])


def test_the_day_is_the_same_each_time_and_says_where_clips_began() -> None:
    first, second = Day(None), Day(None)
    assert b"".join(first.block(0.5) for _ in range(60)) == second.block(30.0)
    assert first.played == second.played
    began = first.played[0]
    assert first.began(began + 0.1) == began
    assert first.began(began - 5.0) is None


def test_a_short_soak_of_the_real_listener(tiny_folder: Path, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(soak)
    CliRunner().invoke(
        app,
        [
            "--hours",
            "0.02",
            "--speed",
            "20",
            "--every",
            "0.5",
            "--model",
            str(tiny_folder),
            "--json",
            str(tmp_path / "soak.json"),
        ],
    )
    found = read_document(tmp_path / "soak.json", FORMAT, FORMAT_VERSION, SoakResult)
    assert found.exit_code == 0, found.last_words
    assert not found.partial
    assert found.samples[-1].heard == pytest.approx(72.0, abs=0.5)
    assert found.played >= 1
    assert found.beats >= 1
    assert {sample.threads for sample in found.samples[-3:]} == {found.samples[-1].threads}
    assert "stopped after" in found.last_words


def test_figures_of_listening_become_a_section_unless_the_machine_was_busy(tmp_path: Path) -> None:
    def write(noisy: bool) -> Path:
        measured = [
            ListenFigure("processor in quiet", 0.5, "% of one core", 0.7, "0 captions"),
            ListenFigure("overflows", 2.0, "", 0.0, "in 60 minutes"),
        ]
        write_listen(
            tmp_path / "a.json",
            ListenResult(
                format=LISTEN_FORMAT,
                format_version=1,
                date="2026-01-01",
                command="x",
                machine=this_machine(),
                versions={},
                model="tiny",
                precision="int8",
                measured=measured,
                others_before=0.0,
                noisy=noisy,
            ),
        )
        return tmp_path / "a.json"

    text = listen_section([write(False)]).text
    assert "| processor in quiet | 0.5 % of one core | at most 0.7 % of one core | yes | 0 captions |" in text
    assert "| overflows | 2 | at most 0 | NO |" in text
    with pytest.raises(ResultError, match="busy machine"):
        listen_section([write(True)])
