"""Types of numbers that are checked where a file is read; apart from the limits, because msgspec takes time to load."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgecap.util.limits import LARGEST_BEAM, MOST_WORDS

Rate = Annotated[int, Meta(ge=100, le=384_000)]
"""Samples per second of a model."""
Transform = Annotated[int, Meta(ge=1, le=8_192)]
"""Samples of a Fourier transform, its window or its hop."""
Bands = Annotated[int, Meta(ge=1, le=1_024)]
"""Mel bands."""
Frames = Annotated[int, Meta(ge=1, le=100_000)]
"""Log-mel frames of a window, and what is counted in them."""
Width = Annotated[int, Meta(ge=1, le=16_384)]
"""Values of an embedding or a layer."""
Layers = Annotated[int, Meta(ge=1, le=64)]
Heads = Annotated[int, Meta(ge=1, le=256)]
Tokens = Annotated[int, Meta(ge=1, le=256)]
"""Tokens of a caption."""
Positions = Annotated[int, Meta(ge=1, le=4_096)]
Words = Annotated[int, Meta(ge=1, le=MOST_WORDS)]
"""Words of a vocabulary."""
Beam = Annotated[int, Meta(ge=1, le=LARGEST_BEAM)]
Threads = Annotated[int, Meta(ge=1, le=1_024)]
Queue = Annotated[int, Meta(ge=1, le=100_000)]
"""What waits in memory."""
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
"""At most a year of 365 days."""
Bytes = Annotated[int, Meta(ge=0, le=4 << 30)]
"""Of one file of a bundle."""
Metric = Annotated[float, Meta(ge=-1e9, le=1e9)]
