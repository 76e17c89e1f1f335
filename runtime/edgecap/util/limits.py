"""Largest numbers that files of strangers may hold: far above what any model needs, and small enough for a board.

docs/limits.md lists them for people; a test holds the two together.
"""

from __future__ import annotations

import os
from typing import Annotated

from msgspec import Meta

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
MOST_WORDS = 200_000
Words = Annotated[int, Meta(ge=1, le=MOST_WORDS)]
"""Words of a vocabulary."""
LARGEST_BEAM = 32
Beam = Annotated[int, Meta(ge=1, le=LARGEST_BEAM)]
Threads = Annotated[int, Meta(ge=1, le=1_024)]
Queue = Annotated[int, Meta(ge=1, le=100_000)]
"""What waits in memory."""
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
"""At most a year of 365 days."""
Bytes = Annotated[int, Meta(ge=0, le=4 << 30)]
"""Of one file of a bundle."""
Metric = Annotated[float, Meta(ge=-1e9, le=1e9)]

MOST_NESTED = 64
"""Levels of lists and tables in each other; deeper ones would end whatever walks through them."""
MOST_FILES = 100
"""Files of a bundle."""
MOST_WINDOW_SECONDS = 600.0
MOST_VALUES = 1 << 26
"""Numbers in one array: log-mel of a window, a decoder's cache for the largest beam (256 MiB)."""
MOST_WEIGHTS = 500_000_000
"""Numbers in the matrices of a network that is built from a configuration."""
MOST_WORD = 100
"""Characters of a word of a vocabulary."""
MOST_VOCABULARY = 16 << 20
"""Bytes of a vocabulary's file."""
MOST_SETTINGS = 1 << 20
"""Bytes of archive.json."""
MOST_CONFIGURATION = 1 << 20
"""Bytes of the configuration of a listener."""
MOST_TABLE = 1 << 30
"""Bytes of a table of sources."""
MOST_SHARD = 4 << 30
"""Bytes of a file of an archive."""
MOST_ROWS = 20_000_000
"""Rows of a Parquet file."""
MOST_UNPACKED = 1 << 30
"""Bytes of one column of a small Parquet file when it is unpacked."""
MOST_ADDRESS = 4_096
"""Characters of the address of a source."""
REQUESTS_AT_ONCE, REQUESTS_EACH_SECOND = 200, 50
"""Of one address to a server: a page takes thirty."""
MOST_ADDRESSES = 1_000
"""Of which a server knows how much they asked for."""


def search_memory() -> int:
    """Bytes that a search of an archive may take: half of this machine's memory, so that nothing else is ended."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def check_product(what: str, most: int, *factors: int) -> None:
    """Raise ValueError where the product of numbers is above `most`."""
    product = 1
    for factor in factors:
        product *= factor
    if product > most:
        raise ValueError(f"{what} would hold {product} numbers, at most {most} are allowed")


def check_transformer(words: int, width: int, layers: int, feed_forward: int) -> None:
    """Raise ValueError for a text decoder or encoder of more than `MOST_WEIGHTS`."""
    check_product("the network", MOST_WEIGHTS, words * width + layers * (8 * width**2 + 2 * width * feed_forward))
