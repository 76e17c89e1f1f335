"""One measurement in a process of its own, kept on given cores.

    python child.py PIPE CORES import MODULE
    python child.py PIPE CORES command ARGUMENT...
    python child.py PIPE CORES stages JSON
    python child.py PIPE CORES walk JSON
    python child.py PIPE CORES grow JSON
    python child.py PIPE CORES judge JSON

Started by `edgecap_bench.harness.processes`; answers on the pipe, a JSON object a line: {"progress": [DONE, TOTAL]},
{"part": …} and at last {"result": …}. Nothing is imported before the measurement that would make it look faster.
"""

import os
import sys
import time


def main() -> None:
    """Run the task of the command line."""
    pipe, cores, task, *arguments = sys.argv[1:]
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    tasks = {"import": _import, "command": _command, "stages": _stages, "walk": _walk, "grow": _grow, "judge": _judge}
    result = tasks[task](int(pipe), arguments)
    tell(int(pipe), result={**result, "peak_bytes": memory("VmHWM")})


def tell(pipe: int, **message: object) -> None:
    """Send one line to the parent."""
    import json

    os.write(pipe, json.dumps(message).encode() + b"\n")


def memory(field: str) -> int:
    """Bytes of resident memory of this process: "VmHWM" its peak, "VmRSS" now."""
    from pathlib import Path

    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not tell {field}")


def _import(_: int, arguments: list[str]) -> dict[str, object]:
    begin = time.perf_counter()
    __import__(arguments[0])
    return {"seconds": time.perf_counter() - begin}


def _command(_: int, arguments: list[str]) -> dict[str, object]:
    from edgecap.cli import run

    return {"code": run(arguments)}


def _stages(pipe: int, arguments: list[str]) -> dict[str, object]:
    import json
    from dataclasses import asdict
    from pathlib import Path

    from edgecap_bench.figures.stages import measure_stages

    spec = json.loads(arguments[0])
    spec["clips"] = spec["clips"] and Path(spec["clips"])
    return asdict(measure_stages(**spec, progress=lambda done, total: tell(pipe, progress=[done, total])))


def _walk(pipe: int, arguments: list[str]) -> dict[str, object]:
    import json

    from edgecap.captioner import Captioner

    spec = json.loads(arguments[0])
    captioner = Captioner.load(spec["model"], threads=spec["threads"])
    resident, seconds = [], []
    begin, processor = time.perf_counter(), time.process_time()
    for _ in captioner.caption_file(spec["file"]):
        resident.append(memory("VmRSS"))
        seconds.append(time.perf_counter() - begin)
        tell(pipe, progress=[len(resident), spec["windows"]])
    return {"resident_bytes": resident, "seconds": seconds, "processor_seconds": time.process_time() - processor}


def _grow(pipe: int, arguments: list[str]) -> dict[str, object]:
    import json

    from edgecap_bench.scaling.growth import grow

    spec = json.loads(arguments[0])
    return {"points": grow(**spec, progress=lambda done, total: tell(pipe, progress=[done, total]))}


def _judge(pipe: int, arguments: list[str]) -> dict[str, object]:
    import json

    from edgecap_bench.quality.quality import judge

    return judge(**json.loads(arguments[0]), part=lambda **message: tell(pipe, **message))


if __name__ == "__main__":
    main()
