"""Counted work does not grow unnoticed: multiply-adds, operators, bytes and allocations against the committed file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import BUNDLED
from edgecap.errors import ResultError
from edgecap_bench.counting.cost_regression import (
    ALLOCATIONS,
    COMMAND,
    COUNTED,
    STUDENTS,
    TOLERANCES,
    count,
    differences,
    main,
    read_counts,
    write_counts,
)
from edgecap_bench.counting.macs import onnx_multiply_adds


def test_counted_work_is_that_of_the_committed_file() -> None:
    # effb2-trm takes the same way and four times as long: the command counts it too
    committed = {subject: read_counts()[subject] for subject in (ALLOCATIONS, "tiny")}
    changes = differences(committed, count(["tiny"]))
    assert not changes, "\n".join([*changes, f"if that was intended, type: {COMMAND} --update"])


@pytest.mark.parametrize("name", STUDENTS)
def test_a_shipped_model_does_the_work_of_its_counted_architecture(name: str) -> None:
    bundle = load_bundle(BUNDLED / name)
    expected = read_counts()[name]["multiply-adds, encode"]
    assert onnx_multiply_adds(bundle.path("encode")) == pytest.approx(expected, rel=0.001)


def test_each_kind_of_count_has_its_own_tolerance() -> None:
    before = {"tiny": {"multiply-adds, encode": 100.0, "operators, encode": 100.0, "bytes, encode": 100.0}}
    assert differences(before, before) == []
    within = {"tiny": {"multiply-adds, encode": 100.0, "operators, encode": 104.0, "bytes, encode": 98.5}}
    assert differences(before, within) == []
    beyond = {"tiny": {"multiply-adds, encode": 101.0, "operators, encode": 94.0, "bytes, encode": 103.0}}
    assert len(differences(before, beyond)) == 3
    assert "multiply-adds, encode was 100 and is 101 (+1.0%), allowed 0%" in differences(before, beyond)[1]
    assert differences(before, {"tiny": {"multiply-adds, encode": 100.0}})[0].endswith("is no longer counted")
    assert differences({}, before)[0].endswith("is not yet counted")
    counts = read_counts()
    for subject, name in ((subject, name) for subject, named in counts.items() for name in named):
        rise = 1.001 + TOLERANCES[name.split(",")[0]]  # of any one count alone
        risen = {**counts[subject], name: max(1.0, rise * counts[subject][name])}
        (line,) = differences(counts, {**counts, subject: risen})
        assert line.startswith(f"{subject}: {name} was")


def test_every_committed_count_has_a_tolerance() -> None:
    names = {name.split(",")[0] for counts in read_counts().values() for name in counts}
    assert names == set(TOLERANCES)


def test_counts_come_back_from_their_file(tmp_path: Path) -> None:
    counts = {"tiny": {"parameters": 5.0}}
    write_counts(counts, tmp_path / "counted.json")
    assert read_counts(tmp_path / "counted.json") == counts


def test_an_unknown_argument_is_refused_before_anything_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dance"]) == 2
    assert "--update" in capsys.readouterr().err


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    document = json.loads(COUNTED.read_text())
    (tmp_path / "c.json").write_text(json.dumps({**document, "format_version": 9}))
    with pytest.raises(ResultError, match="format version 9"):
        read_counts(tmp_path / "c.json")
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(ResultError, match="cannot be read"):
        read_counts(tmp_path / "c.json")
