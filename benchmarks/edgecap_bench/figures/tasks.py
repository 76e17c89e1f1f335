"""What is measured in a new process: an import, a command, a long file.

Each function runs in a child (`edgecap_bench.harness.child`). This module imports nothing at its top, not even
`__future__`, so that what is measured loads everything itself.
"""

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgecap_bench.harness.child import Channel


def import_module(channel: "Channel", module: str) -> "dict[str, Any]":
    """Seconds that the first import of `module` takes."""
    begin = time.perf_counter()
    __import__(module)
    return {"seconds": time.perf_counter() - begin}


def command(channel: "Channel", *arguments: str) -> None:
    """`edgecap ARGUMENT ...` as a user runs it. Ends the process where it fails."""
    from edgecap.cli import run

    code = run(list(arguments))
    if code:
        raise SystemExit(code)


def long_file(channel: "Channel", spec: str) -> "dict[str, Any]":
    """Caption a file window by window; `spec` is JSON: model, threads, file, windows (their number).

    The times (since the model was loaded) and resident bytes after each window, and the processor time.
    """
    import json

    from edgecap.captioner import Captioner
    from edgecap_bench.harness.child import memory

    options = json.loads(spec)
    captioner = Captioner.load(options["model"], threads=options["threads"])
    resident: list[int] = []
    seconds: list[float] = []
    begin, processor = time.perf_counter(), time.process_time()
    for _ in captioner.caption_file(options["file"]):
        resident.append(memory("VmRSS"))
        seconds.append(time.perf_counter() - begin)
        channel.progress(len(resident), options["windows"])
    return {"resident_bytes": resident, "seconds": seconds, "processor_seconds": time.process_time() - processor}
