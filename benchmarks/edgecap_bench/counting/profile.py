"""Where the time of an ONNX graph goes: ONNX Runtime's own profile, summed by kind of operator."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from edgecap.errors import BundleError
from edgecap.inference.onnx_session import open_graph
from edgecap_bench.counting.macs import zero_inputs

RUNS = 8
WARM_UP = 2


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
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        session = open_graph(graph, threads, profile=Path(folder) / "profile")
        feeds = zero_inputs(session, {"beams": beam})
        try:
            for _ in range(WARM_UP + RUNS):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise BundleError(f"{name} does not run on zeros, so it has no profile ({error})") from error
    durations: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        if event["args"]["op_name"] != "Loop":  # its time is that of the nodes in it
            durations[event["args"]["op_name"]].append(event["dur"] / 1e6)
    operators = []
    for operator, seconds in durations.items():
        count = len(seconds) // (WARM_UP + RUNS)
        counted = sum(seconds[WARM_UP * count :]) / RUNS
        operators.append(OperatorTime(graph=name, operator=operator, seconds=counted * times, count=count * times))
    return sorted(operators, key=lambda each: -each.seconds)
