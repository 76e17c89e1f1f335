"""Result files and the page made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import pytest

from edgecap.errors import OutputError, ResultError
from edgecap_bench import report
from edgecap_bench.faults.result import FaultResult, Faults, Round
from edgecap_bench.figures.report import figures_page
from edgecap_bench.figures.results import Figure, Figures, Settings, Subject
from edgecap_bench.harness.machine import Machine, processor, this_machine, versions
from edgecap_bench.reports import registry
from edgecap_bench.reports.measurement import Header, Measurement, read_measurement, write_measurement
from edgecap_bench.reports.registry import FORMATS, format_of, read_sections
from edgecap_bench.reports.tables import amount, count, markdown
from support.bench_parts import with_header

RESULTS = report.BENCHMARKS / "results"


def never(line: str) -> None:
    pytest.fail(line)


@pytest.fixture
def result() -> Measurement[Figures]:
    header = Header(
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
        others_before=0.0,
        others_during=0.01,
    )
    figures = Figures(
        subject=Subject(
            name="tiny", runtime="onnx", precision="fp32", size_bytes=1_234_567, sha256={"encode": "0" * 64}
        ),
        settings=Settings(rounds=3, starts=1, threads=1, beam=3, clips=["a.wav", "b.wav"], steps=[9, 11]),
        figures=[
            Figure(name="front end", unit="s", sample=[0.004, 0.005, 0.0051], target=0.006),
            Figure(name="cold start", unit="s", sample=[2.5], target=2.0),
            Figure(name="encoder", unit="s", sample=[0.0009, 0.001, 0.0012]),
        ],
    )
    return Measurement(header, figures)


def test_a_result_comes_back_as_it_was_written(result: Measurement[Figures], tmp_path: Path) -> None:
    write_measurement(tmp_path / "r.json", result)
    assert read_measurement(tmp_path / "r.json", Figures) == result
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format_version": 2}, "format version 2 and this edgecap reads 1"),
        ({"format": "other"}, "format 'other' and not 'edgecap-bench'"),
        ({"figures": "none"}, "damaged"),
        ({"noisy": None}, "damaged"),
    ],
)
def test_a_file_of_another_kind_or_version_is_refused(
    result: Measurement[Figures], tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    path = tmp_path / "r.json"
    write_measurement(path, result)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ResultError, match=complaint):
        read_measurement(path, Figures)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_file_that_is_not_a_result_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"r\.json"):
        read_measurement(tmp_path / "r.json", Figures)
    with pytest.raises(ResultError, match="cannot be read"):
        read_measurement(tmp_path / "missing.json", Figures)


def test_a_folder_that_cannot_be_written_to_leaves_nothing(result: Measurement[Figures], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_measurement(tmp_path / "file" / "r.json", result)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_target_is_kept_by_the_median(result: Measurement[Figures]) -> None:
    assert [figure.reached for figure in result.body.figures] == [True, False, None]


def test_a_table_says_median_spread_target_and_verdict(result: Measurement[Figures]) -> None:
    assert [row[:-1] for row in figures_page(result).sheets[0].rows] == [
        ("front end", "5 ms", "4 to 5.1 ms", "5.1 ms", "at most 6 ms", "yes"),
        ("cold start", "2.5 s", "one run", "", "at most 2 s", "NO"),
        ("encoder", "1 ms", "900 µs to 1.2 ms", "1.2 ms", "", ""),
    ]


def test_amounts_have_three_digits_and_a_unit() -> None:
    assert [amount(value, "s") for value in (0.0, 1.5e-6, 0.0123456, 75.0)] == ["0 µs", "1.5 µs", "12.3 ms", "75 s"]
    assert [amount(value, "B") for value in (-512.0, 91_900_000.0, 2.5e9)] == ["-512 B", "91.9 MB", "2500 MB"]
    assert (amount(0.9997, "s"), amount(999.8e6, "B"), count(999_700)) == ("1000 ms", "1000 MB", "1000 k")


def test_the_page_names_machine_versions_command_and_date(result: Measurement[Figures]) -> None:
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
def test_the_page_takes_only_complete_results_of_a_quiet_machine(
    result: Measurement[Figures], tmp_path: Path, fault: dict[str, bool], complaint: str
) -> None:
    write_measurement(tmp_path / "bad.json", with_header(result, **fault))
    with pytest.raises(ResultError, match=complaint):
        format_of("edgecap-bench").section([tmp_path / "bad.json"])


def test_rounds_that_were_counted_are_shown_though_they_were_cut_short(
    result: Measurement[Figures], tmp_path: Path
) -> None:
    done = FaultResult(name="kill -9", rounds=[Round(survived=True, reported=True, back=1.0)] * 7)
    header = replace(result.header, format=Faults.FORMAT, partial=True)
    write_measurement(tmp_path / "cut.json", Measurement(header, Faults(faults=[done], jobs=1, others=None)))
    text = format_of(Faults.FORMAT).section([tmp_path / "cut.json"]).text
    assert "PARTIAL: Faults" in text
    assert "| kill -9 | 7 of 7 |" in text


@pytest.mark.parametrize("content", ['{"format": "edgecap-bench-dance"}', '{"format": 3}', "[]", "{"])
def test_a_file_of_an_unknown_format_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(ResultError, match=r"odd\.json"):
        read_sections(tmp_path, never)


def test_every_format_of_the_registry_names_a_body_of_that_format_a_page_and_a_plot() -> None:
    for entry in FORMATS:
        assert entry.name == resolve_name(entry.body).FORMAT
        for name in filter(None, (entry.page, entry.plot, entry.summary)):
            assert callable(resolve_name(name))


def test_every_published_result_is_read_and_written_again_as_it_was(tmp_path: Path) -> None:
    for path in RESULTS.glob("*.json"):
        document = json.loads(path.read_bytes())
        measurement = format_of(document["format"]).read(path)
        write_measurement(tmp_path / path.name, measurement)
        again = json.loads((tmp_path / path.name).read_bytes())
        assert {key: again[key] for key in document} == document


def test_the_published_page_is_that_of_the_published_results() -> None:
    sections = read_sections(RESULTS, never)
    assert (report.BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8") == report.page(sections)
    pictures = {path.name for path in (report.BENCHMARKS / "plots").glob("*")}
    assert pictures == {name for section in sections for name in section.plots}


def test_a_format_whose_package_is_not_installed_is_left_out_with_a_line(
    result: Measurement[Figures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_measurement(tmp_path / "a.json", result)
    absent = registry.ResultFormat(
        name="edgecap-arm-lab", body="edgecap_bench.no_such_package.results:Lab", page="edgecap_bench.none:page"
    )
    monkeypatch.setattr(registry, "FORMATS", (format_of("edgecap-bench"), absent))
    (tmp_path / "lab.json").write_text(json.dumps({"format": "edgecap-arm-lab"}))
    lines: list[str] = []
    (section,) = read_sections(tmp_path, lines.append)
    assert section.text.startswith("## tiny")
    (line,) = lines
    assert line.startswith("lab.json left out: edgecap_bench.no_such_package is not part of this installation")


def test_writing_the_page_without_results_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(tmp_path) == ResultError.exit_code
    assert "edgecap bench --json-file" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_writing_the_page_makes_it_from_all_results_in_the_order_of_their_dates(
    result: Measurement[Figures], tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    write_measurement(tmp_path / "results" / "b.json", result)
    earlier = with_header(result, date="2024-01-01T00:00:00+00:00")
    earlier = replace(earlier, body=replace(result.body, subject=replace(result.body.subject, name="first")))
    write_measurement(tmp_path / "results" / "c.json", earlier)
    assert report.main(tmp_path) == 0
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert page == report.page(read_sections(tmp_path / "results", never))
    assert page.index("## first") < page.index("## tiny")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"b.png", "c.png"}


def test_this_machine_is_described_without_its_name() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > 0
    assert machine.kernel
    assert {"python", "edgecap", "numpy", "onnxruntime"} <= versions().keys()
    assert processor("processor : 0\nmodel name\t: A Chip 3000\n") == "A Chip 3000"
    assert processor("processor : 0\n") == ""
