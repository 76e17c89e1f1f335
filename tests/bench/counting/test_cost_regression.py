"""Counted work does not grow unnoticed: multiply-adds, operators, bytes and allocations against the committed file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import BUNDLED
from edgecap.errors import ResultError
from edgecap_bench.counting import cost_regression as counted
from edgecap_bench.counting.cost_regression import COUNTED, TOLERANCES, count, differences, main, read_counts
from edgecap_bench.counting.macs import onnx_multiply_adds


def test_counted_work_is_that_of_the_committed_file() -> None:
    changed = differences(read_counts(), count())
    assert not changed, "\n".join(
        [*changed, "if that was meant, type: python -m edgecap_bench.counting.cost_regression --update"]
    )


def test_the_shipped_model_does_the_work_of_its_counted_architecture() -> None:
    bundle = load_bundle(BUNDLED / "tiny")
    if bundle.manifest.runtime != "onnx":
        pytest.skip("the shipped model is not of ONNX Runtime, whose graphs are counted")
    expected = read_counts()["tiny"]["multiply-adds, encode"]
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


def test_every_committed_count_has_a_tolerance() -> None:
    names = {name.split(",")[0] for counts in read_counts().values() for name in counts}
    assert names == set(TOLERANCES)


def test_one_command_compares_and_one_updates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(counted, "COUNTED", tmp_path / "counted.json")
    monkeypatch.setattr(counted, "count", lambda: {"tiny": {"parameters": 5}})
    monkeypatch.setattr(counted, "read_counts", lambda: read_counts(tmp_path / "counted.json"))
    assert main([]) == 1
    assert "--update" in capsys.readouterr().err
    assert main(["--update"]) == 0
    assert main([]) == 0
    monkeypatch.setattr(counted, "count", lambda: {"tiny": {"parameters": 6}})
    assert main([]) == 1
    assert "parameters was 5 and is 6" in capsys.readouterr().out
    assert main(["--dance"]) == 2


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    document = json.loads(COUNTED.read_text())
    (tmp_path / "c.json").write_text(json.dumps({**document, "format_version": 9}))
    with pytest.raises(ResultError, match="format version 9"):
        read_counts(tmp_path / "c.json")
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(ResultError, match="cannot be read"):
        read_counts(tmp_path / "c.json")
