"""`edgecap bench --compare`: candidates in turns, their work counted, their ratios, and runs that go wrong."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray

from edgecap.errors import BundleError, BusyMachineError, MeasurementError, ResultError
from edgecap.inference.decoding import DecodeStep
from edgecap.inference.onnx_session import OnnxSession
from edgecap.inference.session import Encoded
from edgecap_bench import cli, commands, report
from edgecap_bench.candidates.bundle_runner import BundleRunner
from edgecap_bench.candidates.runner import Candidate
from edgecap_bench.comparison.comparison import start_candidate
from edgecap_bench.comparison.report import comparison_page, sheets
from edgecap_bench.comparison.results import STAGES, Comparison
from edgecap_bench.harness import load
from edgecap_bench.harness.process import Cores, MeasurementProcess
from edgecap_bench.reports.measurement import read_measurement, write_measurement
from edgecap_bench.reports.registry import format_of
from edgecap_bench.reports.tables import html, markdown
from support.bench_parts import bench, candidate, comparison_of, measured
from support.signals import noise


@pytest.fixture
def comparison() -> Comparison:
    """A comparison whose teacher takes 1 s, 2 s, … and whose bundle a hundredth of that, save one slow round."""
    teacher = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    ours = [seconds / 100 for seconds in teacher[:-1]] + [0.6]
    return comparison_of(
        candidate(
            "teacher", teacher, kind="teacher", parameters=171_000_000, size_bytes=690_000_000, random_weights=True
        ),
        candidate("tiny", ours),
        candidate("tiny int8", ours, precision="int8", size_bytes=20_000_000),
    )


def test_bundles_are_compared_in_turns_and_everything_of_them_is_kept(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path
) -> None:
    file, report, plot = (tmp_path / f"comparison.{suffix}" for suffix in ("json", "md", "png"))
    arguments = ("--model", tiny_folder, "--compare", tiny_folder, "--rounds", 3, "--tokens", 5, "--even-busy")
    done = bench(capsys, *arguments, "--json-file", file, "--report", report, "--plot", plot)
    assert (done.code, done.err) == (0, "")
    measurement = read_measurement(file, Comparison)
    result, name = measurement.body, tiny_folder.name
    assert [each.key for each in result.candidates] == [name, f"{name} (2)"]
    assert (result.rounds, result.tokens, result.beam, measurement.header.partial) == (3, 5, 3, False)
    for each in result.candidates:
        assert {stage: len(times) for stage, times in each.seconds.items()} == dict.fromkeys(STAGES, 3)
        assert each.load_seconds > 0
        assert each.peak_bytes > 20e6
        assert each.parameters
        assert each.decoder_multiply_adds
        parts = zip(*(each.seconds[stage] for stage in STAGES[:3]), strict=True)
        np.testing.assert_allclose([sum(part) for part in parts], each.seconds["caption"])
        assert len(each.processor_seconds) == 3
        assert min(each.processor_seconds) > 0
        assert len(each.hops) > 5
        assert each.bursts[0].threads == 1
        assert each.bursts[0].captions >= 1
        assert each.profile
        assert set(each.graphs) == {"encode", "decode"}
    assert result.candidates[0].parameters == result.candidates[1].parameters
    assert result.before is not None
    assert result.after is not None
    assert result.took_seconds
    assert f"| {name} (2) |" in report.read_text()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "A hop of 2 s in a stream" in done.out
    assert str(tiny_folder.parent) not in file.read_text()
    command = f"edgecap bench --model {name} --compare {name} --rounds 3 --tokens 5"
    assert measurement.header.command.startswith(command)


def test_control_c_keeps_the_complete_rounds_marked_partial(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = MeasurementProcess.request
    requests: list[str] = []

    def interrupted(process: MeasurementProcess, name: str, *arguments: object) -> Any:
        requests.append(name)
        if len(requests) == 6:  # in the middle of the third round
            os.kill(os.getpid(), signal.SIGINT)
        return request(process, name, *arguments)

    monkeypatch.setattr(MeasurementProcess, "request", interrupted)
    models, file = [str(tiny_folder)], tmp_path / "comparison.json"
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=models, compare=models, rounds=50, even_busy=True, json=file)
    assert ended.value.exit_code == 130
    assert "PARTIAL, 2 of 50 rounds" in capsys.readouterr().out
    measurement = read_measurement(file, Comparison)
    assert measurement.header.partial
    assert measurement.body.candidates[0].parameters is None
    assert {len(times) for each in measurement.body.candidates for times in each.seconds.values()} == {2}


def test_the_page_of_results_has_comparisons_but_for_those_of_a_busy_machine(
    comparison: Comparison, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    write_measurement(tmp_path / "results" / "comparison.json", measured(comparison))
    assert report.main(tmp_path) == 0
    assert "### Ratios, round by round" in (tmp_path / "RESULTS.md").read_text()
    write_measurement(tmp_path / "results" / "busy.json", measured(comparison, noisy=True))
    assert report.main(tmp_path) == ResultError.exit_code


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--compare", "nobody"), 4, "no model called 'nobody'"),
        (("--compare", "{tiny}", "--clips", "nowhere"), 3, "no folder nowhere"),
        (("--compare", "{tiny}", "--clips", "{empty}"), 3, "holds no sound files"),
        (("--compare", "{tiny}", "--report", "table.txt"), 7, "neither .md nor .html"),
        (("--compare", "{tiny}", "--threads", 10_000), 2, "do not fit"),
        (("--compare", "{tiny}", "--runtime", "tensorrt"), 2, "unknown runtime 'tensorrt'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(  # noqa: PLR0917
    capsys: pytest.CaptureFixture[str],
    tiny_folder: Path,
    tmp_path: Path,
    arguments: tuple[object, ...],
    code: int,
    complaint: str,
) -> None:
    (tmp_path / "empty").mkdir()
    words = [str(word).format(tiny=tiny_folder, empty=tmp_path / "empty") for word in arguments]
    done = bench(capsys, "--model", tiny_folder, "--rounds", 1, "--even-busy", *words)
    assert (done.code, done.out) == (code, "")
    assert complaint in done.err
    assert "Traceback" not in done.err


def test_a_busy_machine_is_not_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "others_now", lambda: 1.5)
    monkeypatch.setattr(commands, "compare", lambda *_: pytest.fail("measured"))
    with pytest.raises(BusyMachineError, match=r"take 1\.50 processor cores"):
        cli.bench(compare=["tiny"], json=tmp_path / "comparison.json")
    assert not any(tmp_path.iterdir())


def test_a_comparison_that_was_disturbed_is_kept_but_marked_as_not_a_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, comparison: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "others_now", lambda: 0.0)
    monkeypatch.setattr(load.LoadMeter, "others", lambda self: 0.7)
    monkeypatch.setattr(commands, "compare", lambda *_: (comparison, False))
    with pytest.raises(BusyMachineError, match=r"take 0\.70 processor cores"):
        cli.bench(compare=["tiny"], json=tmp_path / "comparison.json")
    assert read_measurement(tmp_path / "comparison.json", Comparison).header.noisy
    assert "NOT A RESULT" in capsys.readouterr().out


def test_ratios_are_formed_round_by_round(comparison: Comparison) -> None:
    teacher, tiny, _ = comparison.candidates
    ratio = tiny.times_faster_than(teacher)
    assert [ratio.median, ratio.low, ratio.count] == pytest.approx([100.0, 10.0, 6])


def test_tables_say_what_is_kept_and_what_is_missed(comparison: Comparison) -> None:
    by_title = {sheet.title: sheet.rows for sheet in sheets(comparison)}
    ratios = {row[0]: row for row in by_title["Ratios, round by round"]}
    assert ratios["tiny"][1:] == ("teacher", "100.0", "10.0 to 100.0", "too wide", "at least 40", "yes")
    assert ratios["tiny int8"][5:] == ("at least 80", "yes")
    shares = [row for row in by_title["Shares of the teacher"] if row[0] == "tiny int8"]
    assert shares == [
        ("tiny int8", "bytes", "2.90%", "at most 2.0%", "NO"),
        ("tiny int8", "parameters, as published", "2.92%", "at most 6.8%", "yes"),
        ("tiny int8", "multiply-adds", "100.00%", "", ""),
    ]
    page = comparison_page(measured(comparison))
    assert '<td class="failed">NO</td>' in html(page)
    assert "Random weights: teacher." in markdown(page)


def test_what_was_counted_of_no_candidate_is_left_out_of_the_table() -> None:
    uncounted = {"parameters": None, "encoder_multiply_adds": None, "decoder_multiply_adds": None}
    one, other = candidate("one", [1.0], **uncounted), candidate("other", [1.0])
    assert "Parameters" not in sheets(comparison_of(one))[0].header
    table = sheets(comparison_of(one, other))[0]
    assert table.rows[0][table.header.index("Parameters")] == "not counted"


def test_a_comparison_comes_back_from_its_file_and_others_do_not(comparison: Comparison, tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    write_measurement(file, measured(comparison))
    assert read_measurement(file, Comparison).body == comparison
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "format_version": 99}))
    with pytest.raises(ResultError, match="format version 99"):
        read_measurement(file, Comparison)
    file.write_text(json.dumps({**document, "format": "edgecap-bench"}))
    with pytest.raises(ResultError, match="format 'edgecap-bench' and not 'edgecap-bench-comparison'"):
        read_measurement(file, Comparison)


def test_only_complete_results_of_a_quiet_machine_are_published(comparison: Comparison, tmp_path: Path) -> None:
    file, entry = tmp_path / "c.json", format_of(Comparison.FORMAT)
    write_measurement(file, measured(comparison))
    section = entry.section([file])
    assert "## 3 candidates, 6 rounds" in section.text
    assert list(section.plots) == ["c.png"]
    for fault, words in (({"noisy": True}, "busy"), ({"partial": True}, "cut short")):
        write_measurement(file, measured(comparison, **fault))
        with pytest.raises(ResultError, match=words):
            entry.section([file])


def test_a_bundle_makes_exactly_the_requested_tokens(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = BundleRunner(tiny_folder, 1)
    encoded = runner.encode(runner.front_end(noise(runner.length / runner.rate)))
    positions: list[int] = []
    decoder = OnnxSession.decoder

    def counted(session: OnnxSession, encoded: Encoded, beam: int) -> DecodeStep:
        decode = decoder(session, encoded, beam)

        def step(tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
            positions.append(position)
            return decode(tokens, position, parents)

        return step

    monkeypatch.setattr(OnnxSession, "decoder", counted)
    runner.decode(encoded, 3, 7)
    assert len(positions) == 7
    with pytest.raises(BundleError, match="--tokens"):
        runner.decode(encoded, 3, 10_000)


def test_times_are_kept_where_work_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = MeasurementProcess.request

    def unable(process: MeasurementProcess, name: str, *arguments: object) -> Any:
        if name == "size":
            raise MeasurementError("an operator QGemm is not known")
        return request(process, name, *arguments)

    monkeypatch.setattr(MeasurementProcess, "request", unable)
    monkeypatch.setattr(load, "all_cores", lambda: [])  # nor throughput with all threads
    file = tmp_path / "c.json"
    cli.bench(model=[str(tiny_folder)] * 2, rounds=1, tokens=2, even_busy=True, json=file)
    assert "QGemm" in capsys.readouterr().out
    candidates = read_measurement(file, Comparison).body.candidates
    assert {each.parameters for each in candidates} == {None}
    assert all(each.profile for each in candidates)


def test_a_candidate_that_does_not_load_says_why_with_its_exit_code(tmp_path: Path) -> None:
    missing = Candidate(key="x", kind="reference", path=str(tmp_path / "none.safetensors"))
    with (
        start_candidate(missing, Cores((), 1), beam=3, tokens=2, clips=None) as process,
        pytest.raises(MeasurementError, match="cannot be read") as error,
    ):
        process.result()
    assert error.value.exit_code == 8


def test_a_process_that_dies_is_an_error_of_its_last_line() -> None:
    with (
        MeasurementProcess("edgecap_bench.figures.tasks:dance", cores=Cores((), 1)) as process,
        pytest.raises(MeasurementError, match=r"process ended: .*dance"),
    ):
        process.request("turn", 0)
