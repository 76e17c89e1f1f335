"""What modules exchange: sound before the front end and after it, and messages for the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]
"""Sound as float32 in [-1, 1]: shape (samples,), or (samples, channels) where stated."""
LogMel = NDArray[np.float32]
"""Log-mel spectrogram as `log_mel` gives it: shape (mel bands, frames), or transposed where stated."""
Notify = Callable[[Literal["note", "warning"], str], None]
"""Takes a message for the user: its kind and one line. May be called from any thread."""
