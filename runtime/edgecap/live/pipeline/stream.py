"""The log-mel of a stream: each frame is computed once, when its last sample has come.

A window of the stream equals the log-mel of the same stretch cut out and taken whole, but for the two frames
at either end (half a Fourier window): there a clip is reflected because it has nothing beyond its ends, and a
stream has, so the stream uses the real neighbours. The beginning of the stream is reflected as a clip's is. The
logarithm is part of a frame and computed once too; only the window's own level and the floor below its maximum are
applied to each window anew, as the model was trained with those of each clip.
"""

from __future__ import annotations

import numpy as np

from edgecap.audio.frontend import FrontEnd, logarithm, mel_frames, normalised
from edgecap.types import LogMel, Waveform

FRAMES_AT_ONCE = 50
"""Frames worth waiting for where nothing needs them sooner: half a second, as a batch of `AlarmDetector`."""


class MelStream:
    """A ring of the newest log-mel frames of a stream of samples."""

    def __init__(self, front_end: FrontEnd, window_frames: int) -> None:
        """`window_frames` is the most frames that `window` gives."""
        self.frame_seconds = front_end.hop_length / front_end.sample_rate
        self._front_end = front_end
        self._ring = np.empty((window_frames, front_end.n_mels), np.float32)
        self.most = window_frames
        self.end = 0
        """Number of the frame that comes next; a restart leaves a gap of a window in the numbers."""
        self._next = 0
        self._held = 0
        self._rest: Waveform = np.empty(0, np.float32)
        self._begun = False

    @property
    def frames(self) -> int:
        """Frames that the next window will have."""
        return self._held

    def push(self, samples: Waveform, least: int = 1) -> int:
        """Take samples (n,) float32 at the model's rate; the number of frames that were added to those held.

        Fewer than `least` wait for the next call: a few at a time cost as much as many. Of more than a window at once
        only the newest frames are computed.
        """
        front_end = self._front_end
        self._rest = np.concatenate((self._rest, samples))
        if not self._begun:
            half = front_end.n_fft // 2
            if self._rest.size <= half:
                return 0
            self._rest = np.concatenate((self._rest[half:0:-1], self._rest))
            self._begun = True
        complete = max(0, (self._rest.size - front_end.n_fft) // front_end.hop_length + 1)
        if complete < least:
            return 0
        wanted = min(complete, len(self._ring))
        if wanted:
            first = (complete - wanted) * front_end.hop_length
            stretch = self._rest[first : first + (wanted - 1) * front_end.hop_length + front_end.n_fft]
            self._keep(logarithm(mel_frames(stretch, front_end), front_end))
            self._rest = self._rest[complete * front_end.hop_length :].copy()
        self.end += complete
        return complete

    def window(self, most: int | None = None) -> LogMel:
        """Log-mel of the newest frames, at most `most`, with their own level and floor: a copy, (n_mels, frames)."""
        return np.ascontiguousarray(normalised(self.newest(most), self._front_end).T)

    def newest(self, count: int | None = None) -> LogMel:
        """The newest frames, at most `count`, without a window's level and floor: a copy, (n, n_mels)."""
        count = self._held if count is None else min(count, self._held)
        first = self._next - count
        if first >= 0:
            return self._ring[first : self._next].copy()
        return np.concatenate((self._ring[first:], self._ring[: self._next]))

    def restart(self) -> None:
        """Forget everything: the next samples do not continue those before."""
        self.end += self.most
        self._held, self._begun, self._rest = 0, False, np.empty(0, np.float32)

    def _keep(self, frames: LogMel) -> None:
        size, count = len(self._ring), len(frames)
        first = min(count, size - self._next)
        self._ring[self._next : self._next + first] = frames[:first]
        self._ring[: count - first] = frames[first:]
        self._next = (self._next + count) % size
        self._held = min(size, self._held + count)
