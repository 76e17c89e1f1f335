"""Names for the two arrays that everything passes on: sound before the front end and after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]
"""Sound as float32 in [-1, 1]: shape (samples,), or (samples, channels) where it says so."""
LogMel = NDArray[np.float32]
"""Log-mel frames as `edgecap.audio.frontend.log_mel` gives them: shape (frames, mel bands)."""
