"""What a hop costs in a stream: the frames that are new, the encoder over the window, the decoder.

As `edgecap.live` does it: each log-mel frame is computed once (`MelStream`), the window is encoded anew.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edgecap.live.pipeline.stream import MelStream
from edgecap.types import Waveform

if TYPE_CHECKING:
    from edgecap_bench.candidates.runners import BundleRunner


def hop_times(
    runner: BundleRunner, samples: Waveform, *, every: float, count: int, beam: int, tokens: int
) -> list[float]:
    """Seconds that each of `count` hops of `every` seconds takes; `samples` is repeated as a stream without end."""
    step = round(every * runner.rate)
    stream = MelStream(runner.manifest.front_end, runner.manifest.encoder.window_frames)
    stream.push(np.concatenate((samples, samples[:step])))
    taken = []
    for number in range(count):
        new = np.take(samples, np.arange(number * step, (number + 1) * step), mode="wrap")
        begin = time.perf_counter()
        stream.push(new)
        runner.decode(runner.encode(stream.window()), beam, tokens)
        taken.append(time.perf_counter() - begin)
    return taken
