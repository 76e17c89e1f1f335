"""The child process of `edgecap_bench.scaling.batching`: captions, or where the time goes, or how memory grows."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import TypeVar

import numpy as np

from edgecap.audio.file import AudioFile
from edgecap.batching import BatchCaptioner, shared_frames
from edgecap.caption import Beam
from edgecap.captioner import Captioner
from edgecap.cli.console import write
from edgecap.inference.session import Encoded
from edgecap.types import LogMel, Waveform
from edgecap.util.files import to_json
from edgecap_bench.harness.child import memory

Result = TypeVar("Result")
EVERY, WARM = 100, 0.2
"""Memory is read each so many files, and counted behind this share of them."""


class _Stages:
    """Seconds of processor time of each stage, in whichever thread it runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, function: Callable[..., Result]) -> Callable[..., Result]:
        """The function, counted."""

        def run(*arguments: object) -> Result:
            begin = time.thread_time()
            try:
                return function(*arguments)
            finally:
                self.seconds[stage] += time.thread_time() - begin

        return run


class _TimedCaptioner(Captioner):
    """A captioner whose encoder and decoder are counted."""

    stages: _Stages

    def encode(self, frames: LogMel) -> Encoded:
        return self.stages.timed("encoder", super().encode)(frames)

    def decode(self, encoded: Encoded, beam: int | None = None) -> tuple[Beam, ...]:
        return self.stages.timed("decoder", super().decode)(encoded, beam)

    def decode_several(self, encoded: Sequence[Encoded], beam: int | None = None) -> list[tuple[Beam, ...]]:
        return self.stages.timed("decoder", super().decode_several)(encoded, beam)


class _TimedFile(AudioFile):
    """A sound whose decoding is counted."""

    stages: _Stages

    def mono(self) -> Iterator[Waveform]:
        blocks = super().mono()
        following = self.stages.timed("decode", lambda: next(blocks, None))
        while (block := following()) is not None:
            yield block


def show_stages(captioner: Captioner, batch: int | None, files: Sequence[str]) -> None:
    """Print the share of each stage in the processor time of a second turn."""
    stages = _Stages()
    timed = _TimedCaptioner(captioner.bundle, captioner._session, captioner.matcher)
    timed.stages = _TimedFile.stages = stages
    functions = vars(shared_frames)
    functions["log_mel"] = stages.timed("front end", functions["log_mel"])
    opened = stages.timed("decode", _TimedFile)
    for _ in range(2):
        stages.seconds.clear()
        begin = time.process_time()
        for _ in BatchCaptioner(timed, batch).caption_windows((file, opened(file)) for file in files):
            pass
        total = time.process_time() - begin
    stages.seconds["other"] = total - sum(stages.seconds.values())
    for stage in ("decode", "front end", "encoder", "decoder", "other"):
        seconds = stages.seconds[stage]
        write(f"{stage}: {1e3 * seconds / len(files):.2f} ms a file, {100 * seconds / total:.1f} %")


def show_memory(captioner: Captioner, batch: int | None, files: Sequence[str], count: int) -> None:
    """Print how resident memory grows over `count` files."""
    sizes = list[tuple[int, int]]()
    sounds = enumerate(islice(cycle(files), count), start=1)
    for done in BatchCaptioner(captioner, batch).caption_sounds(sounds):
        if done.key % EVERY == 0:
            sizes.append((done.key, memory("VmRSS")))
    counted = np.array([each for each in sizes if each[0] >= WARM * count], float)
    slope = float(np.polyfit(counted[:, 0], counted[:, 1], 1)[0])
    write(f"memory: {memory('VmHWM') / 1e6:.0f} MB at most, {slope:+.0f} bytes a file over {count:,} files")


def main() -> None:
    """Caption and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default=None)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--memory", type=int, default=0)
    given = parser.parse_intermixed_args()
    captioner = Captioner.load(given.model, threads=1)
    if given.stages:
        show_stages(captioner, given.batch, given.files)
    elif given.memory:
        show_memory(captioner, given.batch, given.files, given.memory)
    else:
        model = captioner.manifest.name
        for done in BatchCaptioner(captioner, given.batch).caption_sounds((file, file) for file in given.files):
            for caption in done.captions:
                write(to_json(caption.document(file=done.key, model=model)))


if __name__ == "__main__":
    main()
