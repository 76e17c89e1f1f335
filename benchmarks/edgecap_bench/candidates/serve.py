"""What runs in the processes of a comparison: making random weights, and one loaded candidate that answers requests.

Both functions run in a child (`edgecap_bench.harness.child`).
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgecap.types import Waveform
from edgecap_bench.candidates.runner import Candidate, Runner, open_runner
from edgecap_bench.harness.child import Channel, memory
from edgecap_bench.harness.clips import load_clips


def make_weights(channel: Channel, spec: str) -> None:
    """Write a published model with random weights: its checkpoint, and its graphs or its bundle into a new folder.

    `spec` is JSON: kind ("teacher" or "student"), checkpoint, folder, tokens, threads.
    """
    import torch

    from edgecap_bench.candidates.random_weights import make_student, make_teacher

    options = json.loads(spec)
    checkpoint, folder = Path(options["checkpoint"]), Path(options["folder"])
    torch.set_num_threads(options["threads"])
    if options["kind"] == "teacher":
        make_teacher(checkpoint, folder, options["tokens"])
    else:
        make_student(checkpoint, folder)


def serve_candidate(channel: Channel, spec: str) -> None:
    """Load a candidate, report that it is loaded, then answer requests, whose names are methods of `LoadedCandidate`.

    `spec` is JSON: candidate (its fields), threads, beam, tokens, clips (a folder or null).
    """
    options = json.loads(spec)
    runner = open_runner(Candidate(**options["candidate"]), options["threads"])
    loaded = time.time()
    clips = load_clips(options["clips"] and Path(options["clips"]), runner.rate, runner.length)
    names = [clip.name for clip in clips]
    channel.send(result={"loaded": loaded, "clips": names, "seconds": runner.length / runner.rate})
    candidate = LoadedCandidate(
        runner, [clip.samples for clip in clips], options["beam"], options["tokens"], options["threads"]
    )
    channel.serve({name: getattr(candidate, name) for name in ("turn", "warm_up", "burst", "hops", "size", "profile")})


class LoadedCandidate:
    """A loaded candidate and the requests that it answers."""

    def __init__(self, runner: Runner, sounds: list[Waveform], beam: int, tokens: int, threads: int) -> None:
        self._runner, self._sounds = runner, sounds
        self._beam, self._tokens, self._threads = beam, tokens, threads

    def turn(self, number: int) -> dict[str, Any]:
        """One clip, twice: the first run refills the caches that the others emptied, the second is timed."""
        self._caption(number)
        processor = time.process_time()
        stages = self._caption(number)
        return {"stages": stages, "processor": time.process_time() - processor, "peak_bytes": memory("VmHWM")}

    def warm_up(self) -> None:
        """One caption that is not counted."""
        self._caption(0)

    def burst(self, seconds: float) -> dict[str, float]:
        """Captions one after the other for that long, at least one."""
        begin, processor, done = time.perf_counter(), time.process_time(), 0
        while not done or time.perf_counter() - begin < seconds:
            self._caption(done)
            done += 1
        taken = time.perf_counter() - begin
        return {"captions": done, "seconds": taken, "processor_seconds": time.process_time() - processor}

    def hops(self, every: float, count: int) -> list[float]:
        """Seconds of hops in a stream; empty for a candidate that does not stream."""
        from edgecap_bench.candidates.bundle_runner import BundleRunner, hop_times

        if not isinstance(self._runner, BundleRunner) or not self._runner.streams:
            return []
        return hop_times(self._runner, self._sounds[0], every=every, count=count, beam=self._beam, tokens=self._tokens)

    def size(self) -> dict[str, int]:
        """Parameters and multiply-adds."""
        return asdict(self._runner.size(self._beam, self._tokens))

    def profile(self) -> list[dict[str, Any]]:
        """Where the time goes."""
        return [asdict(each) for each in self._runner.profile(self._beam, self._tokens, self._threads)]

    def _caption(self, number: int) -> dict[str, float]:
        """Seconds of each stage of one clip, and of all of them."""
        samples = self._sounds[number % len(self._sounds)]
        begin = time.perf_counter()
        features = self._runner.front_end(samples)
        encoder_begin = time.perf_counter()
        encoded = self._runner.encode(features)
        decoder_begin = time.perf_counter()
        self._runner.decode(encoded, self._beam, self._tokens)
        end = time.perf_counter()
        return {
            "front end": encoder_begin - begin,
            "encoder": decoder_begin - encoder_begin,
            "decoder": end - decoder_begin,
            "caption": end - begin,
        }
