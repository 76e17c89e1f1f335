"""The two kinds of arrays that modules exchange: sound before the front end and after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]
"""Sound as float32 in [-1, 1]: shape (samples,), or (samples, channels) where stated."""
LogMel = NDArray[np.float32]
"""Log-mel spectrogram as `log_mel` gives it: shape (mel bands, frames), or transposed where stated."""
