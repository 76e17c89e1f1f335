"""Where the time of an ONNX graph goes: ONNX Runtime's own profile, summed by kind of operator."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecap.errors import BundleError
from edgecap.inference.onnx_session import open_graph
from edgecap_bench.counting.macs import zero_inputs

RUNS = 8
WARM_UP = 2
EVENT_SUFFIX = "_kernel_time"
"""Ends the name of an event, behind that of its node."""


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """One kind of operator in one graph."""

    graph: str
    operator: str
    seconds: float
    """For one clip."""
    count: int
    """Nodes run for one clip."""


def profile_graph(graph: Path | bytes, beam: int, threads: int, times: int = 1, *, name: str) -> list[OperatorTime]:
    """Operators of one graph, greatest time first; seconds and counts are of `times` runs, which make one clip.

    `name` is what they are listed under. What is in a loop is counted as often as it runs. Measured on zeros, several
    runs after a warm-up. Profiling costs a little for each node, so shares are more exact than sums. Raises BundleError
    for a graph that does not run.
    """
    durations: dict[str, list[float]] = defaultdict(list)
    for event in node_events(graph, {"beams": beam}, threads, name=name):
        durations[event["args"]["op_name"]].append(event["dur"] / 1e6)
    operators = []
    for operator, seconds in durations.items():
        count, each = len(seconds) // RUNS, sum(seconds) / RUNS
        operators.append(OperatorTime(graph=name, operator=operator, seconds=each * times, count=count * times))
    return sorted(operators, key=lambda each: -each.seconds)


def node_events(graph: Path | bytes, sizes: Mapping[str, int], threads: int, *, name: str) -> list[dict[str, Any]]:
    """ONNX Runtime's events of the nodes in RUNS runs of a graph on zeros, in order, as many for each run.

    `sizes` gives the graph's named axes, `name` is what an error calls it. A node in a loop has an event each time that
    it runs. Raises BundleError for a graph that does not run.
    """
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        session = open_graph(graph, threads, profile=Path(folder) / "profile")
        feeds = zero_inputs(session, sizes)
        try:
            for _ in range(WARM_UP + RUNS):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise BundleError(f"{name} does not run on zeros, so it has no profile ({error})") from error
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(EVENT_SUFFIX)]
    nodes = [event for event in nodes if event["args"]["op_name"] != "Loop"]  # its time is that of the nodes in it
    return nodes[len(nodes) * WARM_UP // (WARM_UP + RUNS) :]
