"""A live microphone to captions, one each hop.

Bounded by construction: the ring and the window are all the sound that is held. Whoever captions too
slowly loses hops, not memory: the next caption is of the newest window, and the lost hops are counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.errors import DeviceError
from edgecap.frontend import Samples
from edgecap.microphone import Microphone
from edgecap.resample import Resampler
from edgecap.samples import to_mono

POLL_SECONDS = 0.1
DEAF_SECONDS = 3.0
"""A microphone that gives nothing for this long is taken for lost."""


@dataclass
class ListenCounts:
    """What happened while listening."""

    captions: int = 0
    skipped: int = 0
    """Hops without a caption because the one before took too long."""
    dropped: float = 0.0
    """Seconds of sound that were never looked at."""


class Listener:
    """Captions the newest window of a microphone each hop."""

    def __init__(
        self, captioner: Captioner, microphone: Microphone, *, window: float, hop: float, beam: int | None = None
    ) -> None:
        """`window` and `hop` in seconds, as `Captioner.caption_file` takes them."""
        captioner.windows(0.0, window=window, hop=hop)  # its ValueError is this one's
        rate = captioner.manifest.front_end.sample_rate
        self.counts = ListenCounts()
        self._captioner, self._microphone, self._beam = captioner, microphone, beam
        self._rate, self._hop = rate, round(hop * rate)
        self._resampler = Resampler(microphone.sample_rate, rate)
        self._window: Samples = np.empty(0, np.float32)
        self._length = round(window * rate)
        self._heard = 0
        self._due = self._hop

    def captions(self, stop: threading.Event, duration: float | None = None) -> Iterator[Caption]:
        """Captions until `stop` is set, or `duration` seconds were heard.

        The first comes after one hop, so it may be of less than a window. Times are seconds since
        listening began. Raises DeviceError where the microphone falls silent for good.
        """
        last = time.monotonic()
        while not stop.is_set() and (duration is None or self._heard < duration * self._rate):
            if self._take():
                last = time.monotonic()
            elif not self._microphone.active or time.monotonic() - last > DEAF_SECONDS:
                raise DeviceError(f"the microphone {self._microphone.device.name!r} gives no more sound; plug it in "
                                  "again and start anew")
            if self._heard >= self._due:
                yield self._caption()
            else:
                stop.wait(POLL_SECONDS)

    def _take(self) -> bool:
        """Move what the ring holds into the window; whether there was anything."""
        block, lost = self._microphone.ring.read()
        if not len(block):
            return False
        self.counts.dropped += lost / self._microphone.sample_rate
        samples = self._resampler.push(to_mono(block))
        self._heard += samples.size + round(lost / self._microphone.sample_rate * self._rate)
        self._window = np.concatenate((self._window, samples))[-self._length :]
        return True

    def _caption(self) -> Caption:
        late = (self._heard - self._due) // self._hop
        self.counts.skipped += late
        self.counts.captions += 1
        self._due += (late + 1) * self._hop
        end = self._heard / self._rate
        caption = self._captioner.caption(self._window, self._rate, beam=self._beam)
        return replace(caption, start=end - self._window.size / self._rate, end=end)
