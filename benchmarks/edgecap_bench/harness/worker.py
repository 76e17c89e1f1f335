"""One contestant in a process of its own, run when it is told to.

    python worker.py PIPE CORES make JSON     write stand-ins for published models, and end
    python worker.py PIPE CORES run JSON      load a contestant, then do what standard input says, a word a line

Words: a number runs that clip; "warm" captions once; "burst SECONDS" captions one after the other; "hop SECONDS
COUNT" takes hops of a stream; "size" counts parameters and work; "profile" tells where the time goes. Answers are JSON
objects on the pipe, a line each.
Ctrl-C is the parent's business; a worker ends when its standard input does.
"""

import json
import os
import signal
import sys
import time

TYPE_CHECKING = False  # the module typing is not loaded for what is never run
if TYPE_CHECKING:
    from edgecap.types import Waveform
    from edgecap_bench.candidates.runners import Runner


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
    from edgecap_bench.candidates import random_weights as stand_ins

    if spec["what"] == "teacher":
        graphs = spec["graphs"] and Path(str(spec["graphs"]))
        stand_ins.make_teacher(Path(str(spec["checkpoint"])), graphs or None, int(spec["tokens"] or 0))
    elif spec["what"] == "tagger":
        stand_ins.make_tagger(Path(str(spec["folder"])))
    else:
        stand_ins.make_student(Path(str(spec["checkpoint"])), Path(str(spec["bundle"])))
    _tell(pipe, done=True)


def _run(pipe: int, spec: dict[str, object]) -> None:
    from pathlib import Path

    from edgecap_bench.candidates.runners import Candidate, open_runner
    from edgecap_bench.harness.clips import load_clips

    beam, tokens, threads = (int(str(spec[name])) for name in ("beam", "tokens", "threads"))
    runner = open_runner(Candidate(**spec["entry"]), threads)  # type: ignore[arg-type]
    loaded = time.time()
    folder = Path(str(spec["clips"])) if spec["clips"] else None
    clips = load_clips(folder, runner.rate, runner.length)
    _tell(pipe, loaded=loaded, clips=[clip.name for clip in clips], seconds=runner.length / runner.rate)
    turns = _Turns(runner, [clip.samples for clip in clips], beam, tokens, threads)
    for line in sys.stdin:
        word, *more = line.split()
        answer = turns.turn(int(word)) if word.isdigit() else getattr(turns, word)(*map(float, more))
        _tell(pipe, **answer)


class _Turns:
    """A loaded contestant and all that it may be told to do."""

    def __init__(self, runner: "Runner", sounds: "list[Waveform]", beam: int, tokens: int, threads: int) -> None:
        self._runner, self._sounds = runner, sounds
        self._beam, self._tokens, self._threads = beam, tokens, threads

    def turn(self, number: int) -> dict[str, object]:
        """One clip, twice: the first run refills the caches that the others emptied, the second is timed."""
        from edgecap_bench.harness.child import memory

        self._caption(number)
        processor = time.process_time()
        stages = self._caption(number)
        return {"stages": stages, "processor": time.process_time() - processor, "peak_bytes": memory("VmHWM")}

    def warm(self) -> dict[str, object]:
        """One caption that nobody counts."""
        self._caption(0)
        return {}

    def burst(self, seconds: float) -> dict[str, object]:
        """Captions one after the other for that long, at least one."""
        begin, processor, done = time.perf_counter(), time.process_time(), 0
        while not done or time.perf_counter() - begin < seconds:
            self._caption(done)
            done += 1
        return {
            "captions": done,
            "seconds": time.perf_counter() - begin,
            "processor_seconds": time.process_time() - processor,
        }

    def hop(self, every: float, count: float) -> dict[str, object]:
        """Hops of a stream; none for what does not stream."""
        from edgecap_bench.candidates.runners import BundleRunner
        from edgecap_bench.candidates.streaming_step import hop_times

        if not isinstance(self._runner, BundleRunner) or not self._runner.streams:
            return {"hops": []}
        return {
            "hops": hop_times(
                self._runner, self._sounds[0], every=every, count=int(count), beam=self._beam, tokens=self._tokens
            )
        }

    def size(self) -> dict[str, object]:
        """Parameters and work."""
        size = self._runner.size(self._beam, self._tokens)
        return {
            "parameters": size.parameters,
            "encoder": size.encoder_multiply_adds,
            "decoder": size.decoder_multiply_adds,
        }

    def profile(self) -> dict[str, object]:
        """Where the time goes, for what can tell."""
        from dataclasses import asdict

        profile = getattr(self._runner, "profile", None)
        found = profile(self._beam, self._tokens, self._threads) if profile else []
        return {"profile": [asdict(each) for each in found]}

    def _caption(self, number: int) -> dict[str, float]:
        samples = self._sounds[number % len(self._sounds)]
        begin = time.perf_counter()
        features = self._runner.front_end(samples)
        middle = time.perf_counter()
        encoded = self._runner.encode(features)
        late = time.perf_counter()
        self._runner.decode(encoded, self._beam, self._tokens)
        end = time.perf_counter()
        return {"front end": middle - begin, "encoder": late - middle, "decoder": end - late, "caption": end - begin}


if __name__ == "__main__":
    main()
