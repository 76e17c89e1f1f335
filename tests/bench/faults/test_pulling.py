"""What is concluded of a pull's times."""

from __future__ import annotations

import pytest

from edgecap_bench.faults.pulling import criteria
from edgecap_bench.harness.timing import summarise


@pytest.mark.parametrize(("seconds", "kept"), [(0.26, True), (0.27, False)])
def test_a_pull_is_held_to_curl_and_hashing(seconds: float, kept: bool) -> None:
    times = {"curl and sha256sum": summarise([0.2] * 3), "download": summarise([seconds] * 3)}
    times["edgecap pull"] = summarise([0.5] * 3)  # told, and not held to anything
    assert [row.kept for row in criteria(times)] == [True, True, True, True, kept]
