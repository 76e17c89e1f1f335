"""A board's file: written by one command, read into the tables of RESULTS.md and of the README."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from edgecap.errors import ResultError
from edgecap_bench import cli
from edgecap_bench import commands as modes
from edgecap_bench.boards import report as boards_report
from edgecap_bench.boards.report import BEGIN, END, readme_table, section, submission_page, with_boards
from edgecap_bench.boards.submission import Submission, models_here, read_submission, write_submission
from edgecap_bench.harness.board_state import Condition
from edgecap_bench.reports.tables import markdown

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def submitted(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Submission:
    """One board's file, measured with next to no rounds."""
    file = tmp_path_factory.mktemp("board") / "board.json"
    cli.bench(model=[str(tiny_folder)], submit_file=file, rounds=1, starts=1, tokens=2, long=0, even_busy=True)
    return read_submission(file)


def quiet(submission: Submission, **machine: object) -> Submission:
    """As if measured on a quiet board."""
    contest = replace(
        submission.contest,
        noisy=False,
        before=Condition(48.0, False, 1500.0),
        after=Condition(61.0, False, 1500.0),
        machine=replace(submission.contest.machine, **machine),
    )
    assert submission.figures is not None
    return replace(submission, contest=contest, figures=replace(submission.figures, noisy=False))


def pi(submission: Submission) -> Submission:
    return quiet(submission, board="Raspberry Pi 5 Model B Rev 1.0", architecture="aarch64", governor="ondemand")


def test_a_boards_file_holds_times_figures_captions_and_where_from(submitted: Submission, tiny_folder: Path) -> None:
    assert [entrant.key for entrant in submitted.contest.entrants if entrant.recorded is None] == [tiny_folder.name]
    assert any(entrant.recorded for entrant in submitted.contest.entrants)
    assert submitted.figures is not None
    assert "cold start" in {figure.name for figure in submitted.figures.figures}
    assert [len(each.captions) for each in submitted.said] == [4]
    assert not submitted.partial
    assert "--submit-file FILE" in submitted.contest.command


def test_boards_become_a_table_with_heat_and_equal_captions(submitted: Submission, tmp_path: Path) -> None:
    write_submission(tmp_path / "here.json", quiet(submitted, architecture="x86_64"))
    write_submission(tmp_path / "pi.json", pi(submitted))
    text = section([tmp_path / "here.json", tmp_path / "pi.json"]).text
    assert "Raspberry Pi 5 Model B" in text
    assert "48.0 °C, not held back, 1500 MHz; 61.0 °C, not held back, 1500 MHz" in text
    assert "governor ondemand" in text
    assert text.count("4 of 4") == 2
    said = submitted.said[0]
    other = replace(pi(submitted), said=[replace(said, captions=["something else", *said.captions[1:]])])
    write_submission(tmp_path / "pi.json", other)
    assert "3 of 4" in section([tmp_path / "here.json", tmp_path / "pi.json"]).text
    assert "nothing to compare" in section([tmp_path / "pi.json"]).text


def test_the_readmes_table_stands_between_its_marks(submitted: Submission, tmp_path: Path) -> None:
    write_submission(tmp_path / "pi.json", pi(submitted))
    table = readme_table([tmp_path / "pi.json"])
    readme = f"# top\n{BEGIN}\nold\n{END}\nend\n"
    filled = with_boards(readme, table)
    assert filled == f"# top\n{BEGIN}\n{table}\n{END}\nend\n"
    assert with_boards(filled, table) == filled
    assert with_boards("# no marks\n", table) == "# no marks\n"
    assert "Raspberry Pi 5" in table


def test_files_of_other_versions_and_unfinished_ones_are_refused(submitted: Submission, tmp_path: Path) -> None:
    file = tmp_path / "board.json"
    write_submission(file, pi(submitted))
    document = json.loads(file.read_text())
    for change, words in (
        ({"format_version": 9}, "format version 9"),
        ({"format": "edgecap-bench"}, "no result"),
        ({"contest": {**document["contest"], "format_version": 8}}, "part of format version 8"),
        ({"contest": {**document["contest"], "noisy": True}}, "busy machine"),
        ({"figures": None}, "cut short"),
        ({"said": 3}, "damaged"),
    ):
        file.write_text(json.dumps({**document, **change}))
        with pytest.raises(ResultError, match=words):
            section([file])


def test_control_c_after_the_comparison_keeps_it(
    submitted: Submission, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(modes, "measure", stopped)
    monkeypatch.setattr(modes.compare, "run", lambda *_, **__: submitted.contest)
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=[str(tiny_folder)], submit_file=tmp_path / "b.json", even_busy=True)
    assert ended.value.exit_code == 130
    found = read_submission(tmp_path / "b.json")
    assert found.partial
    assert found.contest == submitted.contest
    assert "PARTIAL" in markdown(submission_page(found))


def test_models_that_cannot_run_here_are_told_and_the_same_one_is_taken_once(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path))
    for name in ("one", "two", "broken"):
        shutil.copytree(tiny_folder, tmp_path / "models" / name)
    manifest = tmp_path / "models" / "broken" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 99'))
    found, left_out = models_here()
    assert Path(found[0]).name == "one"
    assert "two" not in [Path(path).name for path in found]
    assert len(left_out) == 1
    assert "format version 99" in left_out[0]


def test_a_board_without_a_name_is_called_by_its_processor(submitted: Submission) -> None:
    named = quiet(submitted, board="", processor="A Chip")
    assert submission_page(named).title.startswith("A Chip")
    assert boards_report.SHORT[0] == "Board"
