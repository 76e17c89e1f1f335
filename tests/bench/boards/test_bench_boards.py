"""A board's file: written by one command, read into the tables of RESULTS.md and of the README."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from edgecap.bundle.manifest import FORMAT_VERSION
from edgecap.errors import ResultError
from edgecap_bench import cli, commands
from edgecap_bench.boards.report import Board, board_page, readme_table
from edgecap_bench.boards.submission import Submission
from edgecap_bench.candidates.selection import runnable_models
from edgecap_bench.harness.board_state import BoardState
from edgecap_bench.report import filled
from edgecap_bench.reports.measurement import Measurement, read_measurement, write_measurement
from edgecap_bench.reports.registry import format_of
from edgecap_bench.reports.tables import markdown
from support.bench_parts import with_header


@pytest.fixture(scope="module")
def submitted(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """One board's file, measured with as few rounds as possible."""
    file = tmp_path_factory.mktemp("board") / "board.json"
    cli.bench(model=[str(tiny_folder)], submit_file=file, rounds=1, starts=1, tokens=2, long=0, even_busy=True)
    return read_measurement(file, Submission)


def quiet(submitted: Board, **machine: Any) -> Board:
    """As if measured on a quiet board."""
    comparison = replace(
        submitted.body.comparison, before=BoardState(48.0, False, 1500.0), after=BoardState(61.0, False, 1500.0)
    )
    header = with_header(submitted, noisy=False, machine=replace(submitted.header.machine, **machine)).header
    return Measurement(header, replace(submitted.body, comparison=comparison))


def pi(submitted: Board) -> Board:
    return quiet(submitted, board="Raspberry Pi 5 Model B Rev 1.0", architecture="aarch64", governor="ondemand")


def section(*paths: Path) -> str:
    return format_of(Submission.FORMAT).section(paths).text


def test_a_boards_file_holds_times_figures_captions_and_where_from(submitted: Board, tiny_folder: Path) -> None:
    submission = submitted.body
    assert [each.key for each in submission.measured] == [tiny_folder.name]
    assert any(each.recorded for each in submission.comparison.candidates)
    assert submission.figures is not None
    assert "cold start" in {figure.name for figure in submission.figures.figures}
    assert [len(each.captions) for each in submission.captions] == [4]
    assert not submitted.header.partial
    assert "--submit-file FILE" in submitted.header.command


def test_boards_become_a_table_with_heat_and_equal_captions(submitted: Board, tmp_path: Path) -> None:
    here, there = tmp_path / "here.json", tmp_path / "pi.json"
    write_measurement(here, quiet(submitted, architecture="x86_64"))
    write_measurement(there, pi(submitted))
    text = section(here, there)
    assert "Raspberry Pi 5 Model B" in text
    assert "48.0 °C, not throttled, 1500 MHz; 61.0 °C, not throttled, 1500 MHz" in text
    assert "governor ondemand" in text
    assert text.count("4 of 4") == 2
    board, captions = pi(submitted), submitted.body.captions[0]
    other = replace(captions, captions=["something else", *captions.captions[1:]])
    write_measurement(there, Measurement(board.header, replace(board.body, captions=[other])))
    assert "3 of 4" in section(here, there)
    assert "nothing to compare" in section(there)


def test_the_readmes_table_stands_between_its_marks(submitted: Board) -> None:
    table = readme_table([pi(submitted)])
    begin, end = "<!-- boards: written by python -m edgecap_bench.report -->", "<!-- end of boards -->"
    readme = filled(f"# top\n{begin}\nold\n{end}\nend\n", {"boards": table})
    assert readme == f"# top\n{begin}\n{table}\n{end}\nend\n"
    assert filled(readme, {"boards": table}) == readme
    assert filled("# no marks\n", {"boards": table}) == "# no marks\n"
    assert "Raspberry Pi 5" in table


def test_files_of_other_versions_and_unfinished_ones_are_refused(submitted: Board, tmp_path: Path) -> None:
    file = tmp_path / "board.json"
    write_measurement(file, pi(submitted))
    document = json.loads(file.read_text())
    for change, words in (
        ({"format_version": 9}, "format version 9"),
        ({"format": "edgecap-bench"}, "format 'edgecap-bench'"),
        ({"noisy": True}, "busy machine"),
        ({"partial": True}, "cut short"),
        ({"captions": 3}, "damaged"),
    ):
        file.write_text(json.dumps({**document, **change}))
        with pytest.raises(ResultError, match=words):
            section(file)


def test_control_c_after_the_comparison_keeps_it(
    submitted: Board, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "measure_figures", interrupted)
    monkeypatch.setattr(commands, "compare", lambda *_: (submitted.body.comparison, False))
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=[str(tiny_folder)], submit_file=tmp_path / "b.json", even_busy=True)
    assert ended.value.exit_code == 130
    board = read_measurement(tmp_path / "b.json", Submission)
    assert board.header.partial
    assert board.body.figures is None
    assert board.body.comparison == submitted.body.comparison
    assert "PARTIAL" in markdown(board_page(board))


def test_models_that_cannot_run_here_are_named_and_the_same_one_is_taken_once(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path))
    for name in ("one", "two", "broken"):
        shutil.copytree(tiny_folder, tmp_path / "models" / name)
    manifest = tmp_path / "models" / "broken" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 99'))
    folders, left_out = runnable_models()
    assert Path(folders[0]).name == "one"
    assert "two" not in [Path(folder).name for folder in folders]
    (line,) = left_out
    assert "format version 99" in line


def test_a_board_without_a_name_is_called_by_its_processor(submitted: Board) -> None:
    assert board_page(quiet(submitted, board="", processor="A Chip")).title.startswith("A Chip")
