"""The log-mel of windows that overlap, without computing the frames that they share again.

Each window's log-mel has the bits that it has alone: a frame is shared where both windows hold all of its samples, not
where a clip's end is reflected, and the level, the floor and the logarithm are each window's own.
"""

from __future__ import annotations

import numpy as np

from edgecap.audio.frontend import FrontEnd, compress, log_mel, mel_of_spectra, reflected, spectra
from edgecap.types import LogMel, Waveform


class SharedFrames:
    """The log-mel of the windows of one sound, in their order."""

    def __init__(self, front_end: FrontEnd, hop: int) -> None:
        """`hop` is the samples from one window to the next."""
        self._front_end, self._hop = front_end, hop
        self._edge = -(-front_end.n_fft // 2 // front_end.hop_length)
        """Frames at a clip's beginning that its reflection is part of."""
        self._start = 0
        """Samples before the last window."""
        self._before: LogMel | None = None
        """Frames of the last window, without those at its end that its reflection is part of."""

    def __call__(self, start: int, samples: Waveform) -> LogMel:
        """Log-mel (n_mels, frames) of the window (n,) that begins at `start`, as `edgecap.audio.frontend.log_mel`."""
        front_end, hop = self._front_end, self._front_end.hop_length
        if self._hop % hop or self._hop + 2 * self._edge * hop >= samples.size:
            return log_mel(samples, front_end)
        inner = (samples.size - front_end.n_fft // 2) // hop + 1
        spectrum = self._spectra((start - self._start) // hop, inner, reflected(samples, front_end))
        self._start, self._before = start, spectrum[:inner]
        return np.ascontiguousarray(compress(mel_of_spectra(spectrum, front_end), front_end).T)

    def _spectra(self, shift: int, inner: int, padded: Waveform) -> LogMel:
        """`spectra` of a window that begins `shift` frames behind the last one."""
        front_end, edge = self._front_end, self._edge
        if self._before is None or not len(shared := self._before[shift + edge : shift + inner]):
            return spectra(padded, front_end)
        hop = front_end.hop_length
        first = spectra(padded[: (edge - 1) * hop + front_end.n_fft], front_end)
        rest = spectra(padded[(edge + len(shared)) * hop :], front_end)
        return np.concatenate((first, shared, rest))
