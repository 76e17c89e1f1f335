"""Sixteen streams at once in one process on one core, at real speed, each decoding every window."""

from __future__ import annotations

import threading
import time
from itertools import count
from pathlib import Path

from edgecap.captioner import Captioner
from edgecap.live.listener import Listener
from edgecap.live.loop import DRAIN_SECONDS, steps
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.sources.file_source import FileSource

ALWAYS_DECODE = 2.0
"""No two windows are as alike as this cosine, so that nothing is spared."""


def run(files: list[Path], *, model: str | None, seconds: float, hop: float) -> dict[str, float]:
    """Listen to all files for so long: hops without a caption, captions, share of one core, slowest caption."""
    captioner = Captioner.load(model, threads=1)
    rate = captioner.manifest.front_end.sample_rate
    sources = [FileSource(file, rate, speed=1.0, sleep=lambda _seconds: None) for file in files]
    worker, ids = CaptionWorker(), count(1)
    listeners = [
        Listener(
            captioner,
            source,
            ListenerSettings(window=captioner.window, hop=hop, novelty=ALWAYS_DECODE, phase=number * hop / len(files)),
            lambda *_: None,
            worker,
            ids=ids,
            number=number,
        )
        for number, source in enumerate(sources)
    ]
    began, worked = time.monotonic(), time.process_time()
    for _ in steps(listeners, threading.Event(), seconds):
        pass
    share = (time.process_time() - worked) / (time.monotonic() - began)
    worker.close(DRAIN_SECONDS)
    for source in sources:
        source.close()
    statuses = [listener.status for listener in listeners]
    return {
        "dropped": sum(status.dropped for status in statuses),
        "captions": sum(status.captions for status in statuses),
        "lost": sum(status.lost for status in statuses),
        "share": share,
        "slowest": max(status.slowest for status in statuses),
        "hop": max(status.hop for status in statuses),
    }
