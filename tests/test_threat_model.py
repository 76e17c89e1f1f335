"""The threat model promises nothing that no test holds."""

from __future__ import annotations

import re
from collections import Counter

from support.source_tree import REPOSITORY

ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (REPOSITORY / "docs" / "threat-model.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith("|--")
][1:]
NAME = re.compile(r"`(test_\w+)`")


def test_every_promise_names_its_tests_and_each_exists_once() -> None:
    defined = Counter(
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert len(ROWS) > 20
    for _, promise, tests in ROWS:
        assert NAME.findall(tests), f"no test holds: {promise}"
        for name in NAME.findall(tests):
            assert defined[name] == 1, f"{name} is defined {defined[name]} times; it should hold: {promise}"


def test_every_place_that_an_attacker_may_touch_has_a_promise() -> None:
    places = {match[1] for attacker, *_ in ROWS if (match := re.match(r"\*\*(.+?)\*\*", attacker))}
    assert places >= {"Microphone", "Sound files", "Models", "Net", "Page", "Broker", "Environment"}
