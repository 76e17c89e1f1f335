"""The table of lowerings covers the table of runtimes, and a new lowering is a class and an entry."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.cli import run
from edgecap.errors import ConfigError
from edgecap.runtimes import RUNTIMES
from edgecap_export.runtimes import LOWERINGS, LoweringSpec, open_lowering, search_place

PARROT = """
class ParrotLowering:
    def recipe(self, precision, architecture):
        return f"{precision} for {architecture}"
"""


def test_every_runtime_can_be_exported_for() -> None:
    assert LOWERINGS.keys() == RUNTIMES.keys()


def test_a_new_lowering_is_a_class_and_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parrot_lowering.py").write_text(PARROT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(LOWERINGS, "parrot", LoweringSpec("parrot_lowering:ParrotLowering", "export", {"numpy": "1"}))
    monkeypatch.setitem(LOWERINGS, "absent", LoweringSpec("absent:Absent", "absent", {"no-such-package": "1"}))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("importlib.metadata.version", lambda package: "1.2")
            assert str(open_lowering("parrot").recipe("int8", "yamnet")) == "int8 for yamnet"
    finally:
        sys.modules.pop("parrot_lowering", None)
    assert run(["export", "--runtime", "absent"]) == 5
    assert 'pip install ".[absent]"' in capsys.readouterr().err
    assert run(["export", "--runtime", "tpu"]) == 2
    assert "parrot, absent or all" in capsys.readouterr().err.replace("\n", " ")


def test_a_search_in_the_graph_is_refused_where_the_runtime_has_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {search_place(runtime, None) for runtime in LOWERINGS} == {"in-graph"}
    assert {search_place(runtime, "outside") for runtime in LOWERINGS} == {"outside"}
    monkeypatch.setitem(LOWERINGS, "executorch", replace(LOWERINGS["executorch"], searches=False))
    assert search_place("executorch", None) == "outside"
    assert run(["export", "--runtime", "executorch", "--search", "in-graph"]) == ConfigError.exit_code
    message = capsys.readouterr().err.replace("\n", " ")
    assert "not yet for executorch; leave --search out, or type --runtime onnx or --runtime litert" in message
    assert run(["export", "--search", "elsewhere"]) == 2
    assert "use outside or in-graph" in capsys.readouterr().err.replace("\n", " ")
