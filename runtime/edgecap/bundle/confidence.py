"""`confidence.json` of a bundle: what `edgecap.confidence` computes a caption's probability from.

It is fitted after the model (`edgecap train confidence`), and belongs to its vocabulary and its encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from edgecap.errors import ManifestError
from edgecap.util.documents import from_json
from edgecap.util.limits import MOST_CONFIDENCE, MOST_SOUND_SOURCES
from edgecap.util.schema import SchemaError, convert
from edgecap.util.text import cleaned

FILE_NAME = "confidence.json"
AGAIN = "fit it again with edgecap train confidence"

Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
Text = Annotated[str, Meta(min_length=1, max_length=200)]


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """A sound source that captions name."""

    name: Text
    tokens: Annotated[tuple[int, ...], Meta(max_length=10_000)]
    """Ids of the words that name it."""
    group: Annotated[int, Meta(ge=0)]
    """Index of the group that it belongs to."""


@dataclass(frozen=True, kw_only=True)
class ConfidenceSpec:
    """All of the file: sources, what is said instead of them, and three fitted logistic functions.

    `edgecap.confidence.features` says what the features are. The columns of the projection are one for each source and
    a last one for whether the sound is that of any source, and not noise or a fault.
    """

    sources: Annotated[tuple[SourceSpec, ...], Meta(min_length=2, max_length=MOST_SOUND_SOURCES)]
    groups: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=MOST_SOUND_SOURCES)]
    """What is said of a group's sources where it is not sure which."""
    unclear: Text
    """What is said where nothing is sure."""
    embedding_dim: Annotated[int, Meta(ge=1, le=65_536)]
    projection: Annotated[str, Meta(max_length=MOST_CONFIDENCE)]
    """int8 in base64, (embedding_dim, sources + 1), row by row."""
    scales: tuple[Number, ...]
    """What each column is multiplied by, (sources + 1,)."""
    offsets: tuple[Number, ...]
    """What is added to each then, (sources + 1,)."""
    right: tuple[Number, ...]
    """Weights of the features, then a constant: whether the caption's main source is right."""
    broad: tuple[Number, ...]
    """Likewise, whether its group is."""

    def __post_init__(self) -> None:
        """Raises ValueError for lengths that do not fit each other."""
        columns = len(self.sources) + 1
        if len(self.scales) != columns or len(self.offsets) != columns:
            raise ValueError(f"scales and offsets must have {columns} numbers each")
        if len(self.right) != len(self.broad):
            raise ValueError("right and broad must have as many numbers")
        if any(source.group >= len(self.groups) for source in self.sources):
            raise ValueError("a source's group does not exist")


def parse_confidence(text: bytes, *, place: str) -> ConfidenceSpec:
    """The file's text to a `ConfidenceSpec`; `place` names it in errors. Raises ManifestError."""
    try:
        document = cleaned(from_json(text))
    except ValueError as error:
        raise ManifestError(f"{place} is not JSON ({error}); {AGAIN}") from error
    try:
        return convert(document, ConfidenceSpec)
    except SchemaError as error:
        raise ManifestError(f"{place}: {error}; {AGAIN}") from error


def render_confidence(spec: ConfidenceSpec) -> bytes:
    """A `ConfidenceSpec` to the file's text."""
    return msgspec.json.encode(spec) + b"\n"
