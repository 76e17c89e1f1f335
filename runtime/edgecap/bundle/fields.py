"""Parts of a manifest: its kinds of text, and what it says about the graph of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

FileName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=128,
        description="a name of at most 128 letters, digits, . _ and -, a letter or digit first",
    ),
]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits in lower case")]
RuntimeName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_-]*$",
        max_length=32,
        description="a name of at most 32 lower-case letters, digits, _ and -, a letter first",
    ),
]


@dataclass(frozen=True, kw_only=True)
class StreamingSpec:
    """The graph `stream`: the encoder of a stream, which takes only what came since the call before."""

    lag: Annotated[int, Meta(ge=0, le=1_000)]
    """Newest memory frames that are not final, because what comes next changes them."""
    lead: Annotated[int, Meta(ge=0, le=100_000)]
    """Log-mel frames before its own that a memory frame depends on."""
    reach: Annotated[int, Meta(ge=0, le=100_000)]
    """Log-mel frames after its own that it depends on."""
