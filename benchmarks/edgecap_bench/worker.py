"""One contestant in a process of its own, run when it is told to.

    python worker.py PIPE CORES make JSON     write stand-ins for published models, and end
    python worker.py PIPE CORES run JSON      load a contestant, then do what standard input says, a word a line

Words: a number runs that clip, "size" counts parameters and work. Answers are JSON objects on the pipe, a line each.
Ctrl-C is the parent's business; a worker ends when its standard input does.
"""

import json
import os
import signal
import sys
import time


def main() -> None:
    """Run the task of the command line."""
    pipe, cores, task, spec = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    from edgecap.errors import EdgecapError

    try:
        (_make if task == "make" else _run)(int(pipe), json.loads(spec))
    except EdgecapError as error:
        _tell(int(pipe), error=str(error), exit_code=error.exit_code)


def _tell(pipe: int, **message: object) -> None:
    os.write(pipe, json.dumps(message).encode() + b"\n")


def _make(pipe: int, spec: dict[str, str | int | None]) -> None:
    from pathlib import Path

    import torch

    torch.set_num_threads(int(spec["threads"] or 1))
    from edgecap_bench import stand_ins

    if spec["what"] == "teacher":
        graphs = spec["graphs"] and Path(str(spec["graphs"]))
        stand_ins.make_teacher(Path(str(spec["checkpoint"])), graphs or None, int(spec["tokens"] or 0))
    else:
        stand_ins.make_student(Path(str(spec["checkpoint"])), Path(str(spec["bundle"])))
    _tell(pipe, done=True)


def _run(pipe: int, spec: dict[str, object]) -> None:
    from pathlib import Path

    from edgecap_bench.child import memory
    from edgecap_bench.clips import load_clips
    from edgecap_bench.runners import Entry, open_runner

    beam, tokens, threads = (int(str(spec[name])) for name in ("beam", "tokens", "threads"))
    runner = open_runner(Entry(**spec["entry"]), threads)  # type: ignore[arg-type]
    loaded = time.time()
    folder = Path(str(spec["clips"])) if spec["clips"] else None
    sounds = load_clips(folder, runner.rate, runner.length)
    _tell(pipe, loaded=loaded, clips=[sound.name for sound in sounds], seconds=runner.length / runner.rate)
    for line in sys.stdin:
        if line.strip() == "size":
            size = runner.size(beam, tokens)
            _tell(pipe, parameters=size.parameters, encoder=size.encoder_multiply_adds,
                  decoder=size.decoder_multiply_adds)
            continue
        samples = sounds[int(line) % len(sounds)].samples
        for _ in range(2):  # the first refills the caches that the others emptied; the second is timed
            begin = time.perf_counter()
            features = runner.front_end(samples)
            middle = time.perf_counter()
            encoded = runner.encode(features)
            late = time.perf_counter()
            runner.decode(encoded, beam, tokens)
            end = time.perf_counter()
        stages = {"front end": middle - begin, "encoder": late - middle, "decoder": end - late, "caption": end - begin}
        _tell(pipe, stages=stages, peak_bytes=memory("VmHWM"))


if __name__ == "__main__":
    main()
