"""`edgecap bench --compare`: contestants in turns, their work counted, their ratios, and runs that go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer

from edgecap.errors import BundleError, BusyMachineError, MeasurementError, MissingDependencyError, ResultError
from edgecap_bench import cli, report
from edgecap_bench.candidates.runners import BundleRunner
from edgecap_bench.comparison import compare
from edgecap_bench.comparison import comparison as contest
from edgecap_bench.comparison.report import comparison_page, section, sheets, title
from edgecap_bench.comparison.results import STAGES, Comparison, read_comparison, write_comparison
from edgecap_bench.harness import load
from edgecap_bench.harness.workers import MeasurementProcess
from edgecap_bench.reports.tables import html, markdown
from support.bench_parts import contest_of, entrant
from support.signals import noise

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def measured() -> Comparison:
    """A comparison whose teacher takes 1 s, 2 s, … and whose bundle a hundredth of that, save one slow round."""
    teacher = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    ours = [seconds / 100 for seconds in teacher[:-1]] + [0.6]
    return contest_of(
        entrant(
            "teacher", teacher, kind="teacher", parameters=171_000_000, size_bytes=690_000_000, random_weights=True
        ),
        entrant("tiny", ours),
        entrant("tiny int8", ours, precision="int8", size_bytes=20_000_000),
    )


def test_bundles_are_compared_in_turns_and_kept(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    file, report = tmp_path / "contest.json", tmp_path / "contest.md"
    done = edgecap(
        "bench",
        "--model",
        tiny_folder,
        "--compare",
        tiny_folder,
        "--rounds",
        3,
        "--tokens",
        5,
        "--even-busy",
        "--json",
        file,
        "--report",
        report,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = read_comparison(file)
    name = tiny_folder.name
    assert [each.key for each in found.entrants] == [name, f"{name} (2)"]
    assert (found.rounds, found.tokens, found.beam, found.partial) == (3, 5, 3, False)
    for each in found.entrants:
        assert {stage: len(times) for stage, times in each.seconds.items()} == dict.fromkeys(STAGES, 3)
        assert each.load_seconds > 0
        assert each.peak_bytes > 20e6
        assert each.parameters
        assert each.decoder_multiply_adds
        parts = zip(*(each.seconds[stage] for stage in STAGES[:3]), strict=True)
        np.testing.assert_allclose([sum(part) for part in parts], each.seconds["caption"])
    assert found.entrants[0].parameters == found.entrants[1].parameters
    assert f"| {name} (2) |" in report.read_text()
    assert str(tiny_folder.parent) not in file.read_text()
    assert found.command.startswith(f"edgecap bench --model {name} --compare {name} --rounds 3 --tokens 5")


def test_control_c_keeps_the_whole_rounds_marked_partial(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask, asked = MeasurementProcess.ask, []

    def interrupted(worker: MeasurementProcess, word: object) -> dict:
        asked.append(word)
        if len(asked) == 6:  # in the middle of the third round; the terminal tells the children too
            worker._process.send_signal(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return ask(worker, word)

    monkeypatch.setattr(MeasurementProcess, "ask", interrupted)
    with pytest.raises(typer.Exit) as ended:
        cli.bench(
            model=[str(tiny_folder)],
            compare=[str(tiny_folder)],
            rounds=50,
            even_busy=True,
            json=tmp_path / "contest.json",
        )
    assert ended.value.exit_code == 130
    assert "PARTIAL, 2 of 50 rounds" in capsys.readouterr().out
    found = read_comparison(tmp_path / "contest.json")
    assert found.partial
    assert found.entrants[0].parameters is None
    assert {len(times) for each in found.entrants for times in each.seconds.values()} == {2}


def test_results_of_both_kinds_make_one_page(
    monkeypatch: pytest.MonkeyPatch, measured: Comparison, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "BENCHMARKS", tmp_path)
    (tmp_path / "results").mkdir()
    write_comparison(tmp_path / "results" / "comparison.json", measured)
    assert report.main() == 0
    assert "### Ratios, round by round" in (tmp_path / "RESULTS.md").read_text()
    write_comparison(tmp_path / "results" / "busy.json", replace(measured, noisy=True))
    assert report.main() == 1


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--compare", "nobody"), 4, "no model called 'nobody'"),
        (("--compare", "{tiny}", "--clips", "nowhere"), 3, "no folder nowhere"),
        (("--compare", "{tiny}", "--clips", "{empty}"), 3, "holds no sound files"),
        (("--compare", "{tiny}", "--report", "table.txt"), 7, "neither .md nor .html"),
        (("--compare", "{tiny}", "--threads", 10_000), 2, "do not fit"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(  # noqa: PLR0917
    edgecap: Run, tiny_folder: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, complaint: str
) -> None:
    (tmp_path / "empty").mkdir()
    words = [str(word).format(tiny=tiny_folder, empty=tmp_path / "empty") for word in arguments]
    done = edgecap("bench", "--model", tiny_folder, "--rounds", 1, "--even-busy", *words)
    assert done.returncode == code
    assert complaint in re.sub(r"[\s│]+", " ", done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_missing_extra_without_a_record_is_named_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compare, "find_spec", lambda name: None if name == "transformers" else object())
    monkeypatch.setattr(compare, "RECORDED", tmp_path / "none.json")
    with pytest.raises(MissingDependencyError, match=r"--compare teacher needs transformers.*edgecap\[bench\]"):
        cli.bench(compare=["teacher"])
    assert compare.recorded_for(["some-bundle"]) == []


def test_nothing_recorded_is_used_where_the_real_ones_can_run() -> None:
    assert compare.recorded_for(["teacher", "reference", "tagger"]) == []


def test_a_busy_machine_is_not_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "look", lambda: 1.5)
    monkeypatch.setattr(compare, "contest", lambda *_: pytest.fail("measured"))
    with pytest.raises(BusyMachineError, match=r"take 1\.50 processor cores"):
        cli.bench(compare=["tiny"], json=tmp_path / "contest.json")
    assert not any(tmp_path.iterdir())


def test_a_comparison_that_was_disturbed_is_kept_but_called_no_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, measured: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "look", lambda: 0.0)
    monkeypatch.setattr(load.LoadMeter, "others", lambda self: 0.7)
    monkeypatch.setattr(compare, "contest", lambda *_: contest.Contested(measured.entrants, ["hum"], 10.0, False))
    with pytest.raises(BusyMachineError, match=r"take 0\.70 processor cores"):
        cli.bench(compare=["tiny"], json=tmp_path / "contest.json")
    assert read_comparison(tmp_path / "contest.json").noisy
    assert "NO RESULT" in capsys.readouterr().out


def test_ratios_are_formed_round_by_round(measured: Comparison) -> None:
    teacher, tiny, _ = measured.entrants
    ratio = tiny.times_faster_than(teacher)
    assert (ratio.median, ratio.low, ratio.count) == (pytest.approx(100.0), pytest.approx(10.0), 6)


def test_tables_say_what_is_kept_and_what_is_missed(measured: Comparison) -> None:
    by_title = {sheet.title: sheet.rows for sheet in sheets(measured)}
    ratios = {row[0]: row for row in by_title["Ratios, round by round"]}
    assert ratios["tiny"][1:] == ("teacher", "100.0", "10.0 to 100.0", "too wide", "at least 40", "yes")
    assert ratios["tiny int8"][5:] == ("at least 80", "yes")
    shares = [row for row in by_title["Shares of the teacher"] if row[0] == "tiny int8"]
    assert shares == [
        ("tiny int8", "bytes", "2.90%", "at most 2.0%", "NO"),
        ("tiny int8", "parameters, as published", "2.92%", "at most 6.8%", "yes"),
        ("tiny int8", "multiply-adds", "100.00%", "", ""),
    ]
    page, text = html(comparison_page(measured)), markdown(comparison_page(measured))
    assert "<td class=no>NO</td>" in page
    assert "Random weights: teacher." in text
    assert "<script" not in page


def test_a_comparison_comes_back_from_its_file_and_others_do_not(measured: Comparison, tmp_path: Path) -> None:
    file = tmp_path / "contest.json"
    write_comparison(file, measured)
    assert read_comparison(file) == measured
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "format_version": 99}))
    with pytest.raises(ResultError, match="format version 99"):
        read_comparison(file)
    file.write_text(json.dumps({"format": "edgecap-bench"}))
    with pytest.raises(ResultError, match="no result of edgecap bench"):
        read_comparison(file)


def test_only_whole_results_of_a_quiet_machine_are_published(measured: Comparison, tmp_path: Path) -> None:
    write_comparison(tmp_path / "c.json", measured)
    assert title(measured) in section([tmp_path / "c.json"]).text
    for bad, fault in (({"noisy": True}, "busy"), ({"partial": True}, "cut short")):
        write_comparison(tmp_path / "c.json", replace(measured, **bad))
        with pytest.raises(ResultError, match=fault):
            section([tmp_path / "c.json"])


def test_a_bundle_makes_as_many_tokens_as_it_is_told(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = BundleRunner(str(tiny_folder), 1)
    encoded = runner.encode(runner.front_end(noise(runner.length / runner.rate)))
    steps = []
    decoder = runner._session.decoder(encoded, 3)
    monkeypatch.setattr(runner._session, "decoder", lambda *_: lambda *step: (steps.append(step), decoder(*step))[1])
    runner.decode(encoded, 3, 7)
    assert len(steps) == 7
    with pytest.raises(BundleError, match="--tokens"):
        runner.decode(encoded, 3, 10_000)


def test_times_are_kept_where_work_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = MeasurementProcess.ask

    def unable(worker: MeasurementProcess, word: object) -> dict:
        if word == "size":
            raise MeasurementError("a node QGemm is not known", 4)
        return ask(worker, word)

    monkeypatch.setattr(MeasurementProcess, "ask", unable)
    cli.bench(model=[str(tiny_folder)], compare=[str(tiny_folder)], rounds=1, even_busy=True, json=tmp_path / "c.json")
    assert "QGemm" in capsys.readouterr().out
    assert {each.parameters for each in read_comparison(tmp_path / "c.json").entrants} == {None}


def test_a_contestant_that_dies_says_why(tmp_path: Path) -> None:
    spec = {
        "entry": {"key": "x", "kind": "reference", "path": str(tmp_path / "none.safetensors")},
        "beam": 3,
        "tokens": 2,
        "threads": 1,
        "clips": None,
    }
    with (
        MeasurementProcess("run", spec, [], 1) as worker,
        pytest.raises(MeasurementError, match="cannot be read") as error,
    ):
        worker.answer()
    assert error.value.exit_code == 8
    with MeasurementProcess("dance", {}, [], 1) as worker, pytest.raises(MeasurementError, match="process ended"):
        worker.answer()
