"""Where the time of an ONNX graph goes: ONNX Runtime's own profile, summed by kind of operator."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

from edgecap_bench.comparison.results import OperatorTime
from edgecap_bench.counting.macs import zeros
from edgecap_bench.counting.onnx_file import read_graph

RUNS = 8
WARM_UP = 2


def profile_graph(path: Path, beam: int, threads: int, times: int = 1) -> list[OperatorTime]:
    """Operators of one graph, greatest time first; seconds and counts are of `times` runs, which make one clip.

    Measured on zeros, several runs after a warm-up. Profiling itself costs a little for each node, so that shares are
    truer than sums. Raises BundleError for a graph that does not run.
    """
    from edgecap.errors import BundleError
    from edgecap.inference.onnx_session import import_onnxruntime

    onnxruntime = import_onnxruntime()
    feeds = zeros(read_graph(path), {"beams": beam})
    with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for _ in range(WARM_UP + RUNS):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise BundleError(
                f"{path.name} does not run on zeros, so it has no profile "
                f"({(str(error).splitlines() or [type(error).__name__])[0]})"
            ) from error
    found: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found[event["args"]["op_name"]].append(event["dur"] / 1e6)
    operators = []
    for operator, durations in found.items():
        count = len(durations) // (WARM_UP + RUNS)
        late = durations[WARM_UP * count :]
        operators.append(
            OperatorTime(graph=path.stem, operator=operator, seconds=sum(late) / RUNS * times, count=count * times)
        )
    return sorted(operators, key=lambda each: -each.seconds)
