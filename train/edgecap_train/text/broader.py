"""Groups of sound sources, and what is said of each where it is not sure which source it is (`tables/broader.toml`)."""

from __future__ import annotations

from collections.abc import Sequence

from edgecap.bundle.confidence import SourceSpec
from edgecap_train.text import load_table
from edgecap_train.text.main_source import SOURCES, named_sources

_TABLE = load_table("broader")
UNCLEAR: str = _TABLE["unclear"]
"""What is said where nothing is sure."""
STATEMENTS: tuple[str, ...] = tuple(_TABLE["groups"])
"""What is said of each group."""
GROUP_OF: dict[str, int] = {
    source: index for index, sources in enumerate(_TABLE["groups"].values()) for source in sources
}
"""Source → index of its group."""


def source_words(vocabulary: Sequence[str]) -> tuple[SourceSpec, ...]:
    """All sources, with the ids of the words of a vocabulary that name them."""
    named = [named_sources(word) for word in vocabulary]
    return tuple(
        SourceSpec(
            name=source,
            tokens=tuple(token for token, sources in enumerate(named) if source in sources),
            group=GROUP_OF[source],
        )
        for source in SOURCES
    )
