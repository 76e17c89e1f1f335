"""The child process of a measurement: runs one function on given cores and reports on a pipe.

    python child.py PIPE CORES MODULE:FUNCTION [ARGUMENT ...]

Started by `edgecap_bench.harness.process`. The function is called with a `Channel` and the arguments (strings); what it
returns, a dictionary or None, is sent as the result with the peak memory of the process. Messages are JSON objects, one
a line: {"progress": [DONE, TOTAL]}, {"part": …}, {"result": …}, {"error": TEXT, "exit_code": CODE}.

This module imports only what every interpreter has loaded at its start, so that an import that is measured is not made
faster by it.
"""

import os
import sys

TYPE_CHECKING = False  # importing the module typing would shorten the imports that are measured
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any


class Channel:
    """The child's end of the pipe, and the requests on its standard input."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def send(self, **message: object) -> None:
        """Send one message to the parent."""
        import json

        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]

    def progress(self, done: float, total: float | None, label: str = "") -> None:
        """Report how much is done."""
        self.send(progress=[done, total])

    def part(self, part: "Mapping[str, object]") -> None:
        """Send what is measured so far, so that it is kept where the run is cut short."""
        self.send(part=part)

    def serve(self, requests: "Mapping[str, Callable[..., Any]]") -> None:
        """Answer requests until standard input ends: each is a line, a JSON list of a name and its arguments."""
        for name, *arguments in self._requests():
            self.send(result=requests[name](*arguments))

    @staticmethod
    def _requests() -> "Iterator[list[Any]]":
        import json

        for line in sys.stdin:
            yield json.loads(line)


def memory(field: str) -> int:
    """Bytes of resident memory of this process: "VmHWM" its peak, "VmRSS" now."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - pathlib is not loaded at the start
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not report {field}")


def main() -> None:
    """Run the function that the command line names."""
    pipe, cores, target, *arguments = sys.argv[1:]
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    channel = Channel(int(pipe))
    module, _, function = target.partition(":")
    try:
        __import__(module)
        result = getattr(sys.modules[module], function)(channel, *arguments)
    except Exception as error:
        code = getattr(error, "exit_code", None)  # of an EdgecapError, whose module may not be imported here
        if code is None:
            raise
        channel.send(error=str(error), exit_code=code)
    else:
        channel.send(result={**(result or {}), "peak_bytes": memory("VmHWM")})


if __name__ == "__main__":
    main()
