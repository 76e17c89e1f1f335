"""Result files and the page made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.errors import OutputError, ResultError
from edgecap_bench import report
from edgecap_bench.figures.report import figures_page, rows, section
from edgecap_bench.harness.machine import Machine, processor, this_machine, versions
from edgecap_bench.reports.registry import parts
from edgecap_bench.reports.results import Figure, Result, Settings, Subject, read_result, write_result
from edgecap_bench.reports.tables import amount, count, markdown

RESULTS = Path(report.BENCHMARKS) / "results"


@pytest.fixture
def result() -> Result:
    return Result(
        format="edgecap-bench",
        format_version=1,
        date="2025-01-02T03:04:05+00:00",
        command="edgecap bench --rounds 3",
        machine=Machine(
            board="",
            processor="A Processor",
            architecture="x86_64",
            cores=2,
            memory_bytes=4 << 30,
            system="A System 1",
            kernel="Linux 6",
            governor="performance",
        ),
        versions={"python": "3.11.2"},
        subject=Subject(
            name="tiny", runtime="onnx", precision="fp32", size_bytes=1_234_567, sha256={"encode": "0" * 64}
        ),
        settings=Settings(rounds=3, starts=1, threads=1, beam=3, clips=["a.wav", "b.wav"], steps=[9, 11]),
        figures=[
            Figure(name="front end", unit="s", sample=[0.004, 0.005, 0.0051], target=0.006),
            Figure(name="cold start", unit="s", sample=[2.5], target=2.0),
            Figure(name="encoder", unit="s", sample=[0.0009, 0.001, 0.0012]),
        ],
        others_before=0.0,
        others_during=0.01,
        noisy=False,
    )


def test_a_result_comes_back_as_it_was_written(result: Result, tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format_version": 2}, "format version 2 and this edgecap reads 1"),
        ({"format": "other"}, "no result of edgecap bench"),
        ({"figures": "none"}, "damaged"),
        ({"noisy": None}, "damaged"),
    ],
)
def test_a_file_of_another_kind_or_version_is_refused(
    result: Result, tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    path = tmp_path / "r.json"
    write_result(path, result)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ResultError, match=complaint):
        read_result(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"r\.json"):
        read_result(tmp_path / "r.json")
    with pytest.raises(ResultError, match="cannot be read"):
        read_result(tmp_path / "missing.json")


def test_a_folder_that_cannot_be_written_to_leaves_nothing(result: Result, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_result(tmp_path / "missing" / "r.json", result)
    assert not any(tmp_path.iterdir())


def test_a_target_is_kept_by_the_median(result: Result) -> None:
    assert [figure.reached for figure in result.figures] == [True, False, None]


def test_a_table_says_median_spread_target_and_verdict(result: Result) -> None:
    assert rows(result) == [
        ("front end", "5 ms", "4 to 5.1 ms", "5.1 ms", "at most 6 ms", "yes"),
        ("cold start", "2.5 s", "one run", "", "at most 2 s", "NO"),
        ("encoder", "1 ms", "900 µs to 1.2 ms", "1.2 ms", "", ""),
    ]


def test_amounts_have_three_digits_and_a_unit() -> None:
    assert [amount(value, "s") for value in (0.0, 1.5e-6, 0.0123456, 75.0)] == ["0 µs", "1.5 µs", "12.3 ms", "75 s"]
    assert [amount(value, "B") for value in (-512.0, 91_900_000.0, 2.5e9)] == ["-512 B", "91.9 MB", "2500 MB"]
    assert (amount(0.9997, "s"), amount(999.8e6, "B"), count(999_700)) == ("1000 ms", "1000 MB", "1000 k")


def test_the_page_names_machine_versions_command_and_date(result: Result) -> None:
    page = markdown(figures_page(result))
    for fact in (
        "A Processor",
        "python 3.11.2",
        "edgecap bench --rounds 3",
        "2025-01-02",
        "governor performance",
        "9 to 11 decoder steps",
        "| front end | 5 ms |",
    ):
        assert fact in page


@pytest.mark.parametrize(("fault", "complaint"), [({"noisy": True}, "busy machine"), ({"partial": True}, "cut short")])
def test_the_page_takes_only_whole_results_of_a_quiet_machine(
    result: Result, tmp_path: Path, fault: dict[str, bool], complaint: str
) -> None:
    write_result(tmp_path / "bad.json", replace(result, **fault))
    with pytest.raises(ResultError, match=complaint):
        section([tmp_path / "bad.json"])


@pytest.mark.parametrize("content", ['{"format": "edgecap-bench-dance"}', '{"format": 3}', "[]", "{"])
def test_a_file_of_no_known_kind_is_not_left_out_in_silence(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(ResultError, match=r"odd\.json"):
        parts(tmp_path)


def test_the_published_page_is_that_of_the_published_results() -> None:
    page = report.BENCHMARKS / "RESULTS.md"
    assert page.exists() == any(RESULTS.glob("*.json"))
    if page.exists():
        found = parts(RESULTS)
        assert page.read_text(encoding="utf-8") == report.page(found)
        shown = {path.name for path in (report.BENCHMARKS / "plots").glob("*")}
        assert shown == {name for part in found for name in part.plots}


def test_writing_the_page_without_results_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "BENCHMARKS", tmp_path)
    assert report.main() == 1
    assert "edgecap bench --json" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_writing_the_page_makes_it_from_all_results(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "BENCHMARKS", tmp_path)
    (tmp_path / "results").mkdir()
    write_result(tmp_path / "results" / "a.json", result)
    other = replace(result, subject=replace(result.subject, name="second"))
    write_result(tmp_path / "results" / "b.json", other)
    assert report.main() == 0
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert page == report.page(parts(tmp_path / "results"))
    assert page.index("## second") < page.index("## tiny")


def test_this_machine_is_described_without_its_name() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > 0
    assert machine.kernel
    assert {"python", "edgecap", "numpy", "onnxruntime"} <= versions().keys()
    assert processor("processor : 0\nmodel name\t: A Chip 3000\n") == "A Chip 3000"
    assert processor("processor : 0\n") == ""
