"""Where an export may go, and what it is called: told before any work is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from edgecap.bundle.fields import FileName
from edgecap.errors import OutputError
from edgecap_export.output_paths import LONGEST_NAME, check_free, check_writable, model_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tiny", "tiny"),
        ("best model (2)", "best-model-2"),
        ("..hidden", "hidden"),
        ("été", "t"),
        ("", "model"),
        ("雨", "model"),
        ("x" * 300, "x" * LONGEST_NAME),
        ("-" * 9, "model"),
    ],
)
def test_any_text_becomes_a_name_that_manifests_take(text: str, name: str) -> None:
    rule = get_args(FileName)[1]
    assert model_name(text) == name
    assert re.fullmatch(rule.pattern, name)
    assert len(name) <= rule.max_length == LONGEST_NAME


def test_only_a_bundle_is_replaced_and_only_when_told(tmp_path: Path) -> None:
    photographs, bundle, empty = (tmp_path / name for name in ("photographs", "bundle", "empty"))
    for folder in (photographs, bundle, empty):
        folder.mkdir()
    (photographs / "mother.jpg").touch()
    (bundle / "manifest.json").touch()
    for force in (True, False):
        with pytest.raises(OutputError, match="not a bundle"):
            check_free(photographs, force)
        with pytest.raises(OutputError, match="not a bundle"):
            check_free(photographs / "mother.jpg", force)
        check_free(empty, force)
        check_free(tmp_path / "new", force)
    with pytest.raises(OutputError, match="--force"):
        check_free(bundle, False)
    check_free(bundle, True)


def test_a_place_below_a_file_or_where_nothing_may_be_made_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "folder" / "bundle")
    for place in (tmp_path / "file" / "bundle", Path("/proc/bundle")):
        with pytest.raises(OutputError, match="cannot be written"):
            check_writable(place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
