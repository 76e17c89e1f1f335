"""How many processor threads a listener uses, and why: one, unless a hop is in danger.

A second thread makes a caption cost twice the processor time and little faster (benchmarks/RESULTS.md, "Throughput and
streams"), so it is worth its electricity only where captions would otherwise not keep up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgecap.captioner import Captioner
from edgecap.errors import OperatorError
from edgecap.inference.session import usable_cores
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.pipeline.hop_control import SHARE_LIMIT

MOST_THREADS = 4
"""More than this never helped a model of this size; the cores of a Raspberry Pi."""


@dataclass(frozen=True)
class ThreadChoice:
    """A number of threads and its reason."""

    threads: int
    reason: str
    """A phrase for people, without a full stop."""


def choose_threads(seconds: float, *, hop: float, streams: int, asked: int | None, cores: int) -> ThreadChoice:
    """The threads of a listener whose captions take `seconds` each on one thread; `asked` is the user's number."""
    share = seconds * streams / hop
    if asked is not None:
        return ThreadChoice(asked, "as configured")
    if share <= SHARE_LIMIT:
        return ThreadChoice(1, f"captions need {100 * share:.1f} % of a hop on one, and a second costs twice the work")
    if cores == 1:
        return ThreadChoice(1, f"captions need {100 * share:.0f} % of a hop, and there is one core")
    return ThreadChoice(min(MOST_THREADS, cores), f"captions need {100 * share:.0f} % of a hop on one")


def load_listening(
    config: ListenConfig, streams: int, *, cores: int | None = None, clock: Callable[[], float] = time.perf_counter
) -> tuple[Captioner, ThreadChoice]:
    """The model of a listener with `streams` sources, rehearsed, and its threads. Raises as `Captioner.load` does."""
    asked, beam = config.model.threads, config.model.beam
    captioner = Captioner.load(config.model.name, threads=asked, streams=True)
    rehearse(captioner, beam)
    began = clock()
    rehearse(captioner, beam)
    choice = choose_threads(
        clock() - began,
        hop=config.stream.hop,
        streams=max(1, streams),
        asked=asked,
        cores=usable_cores() if cores is None else cores,
    )
    if choice.threads != (asked or 1):
        captioner = Captioner.load(config.model.name, threads=choice.threads, streams=True)
        rehearse(captioner, beam)
    return captioner, choice


def slower_way(captioner: Captioner) -> str:
    """Why each hop is encoded whole although the model could encode only what is new; empty where that is not so.

    Raises BundleError for a model whose encoder of streams is wrong.
    """
    try:
        captioner.stream_encoder()
    except OperatorError as error:
        return f"each hop is encoded whole, which takes longer: {error}"
    return ""


def rehearse(captioner: Captioner, beam: int | None) -> None:
    """Caption a moment of silence, so that a model that cannot do this fails now and not with the first sound.

    Raises BundleError.
    """
    front_end = captioner.manifest.front_end
    captioner.decode(captioner.encode(np.full((front_end.n_mels, 1), front_end.silence, np.float32)), beam)
