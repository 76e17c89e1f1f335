"""JSON and TOML of strangers: whatever is wrong with a document, nesting without end too, is one kind of error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edgecap.util.limits import MOST_NESTED

TOO_DEEP = f"its lists and tables are nested more than {MOST_NESTED} levels deep"


def from_json(text: bytes | str, *, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:  # noqa: ANN401
    """What a JSON document holds; `pairs` makes objects, a dict by default. Raises ValueError."""
    return _parsed(lambda: json.loads(text, object_pairs_hook=pairs))


def from_toml(text: str) -> dict[str, Any]:
    """What a TOML document holds. Raises ValueError, mostly `tomllib.TOMLDecodeError`."""
    import tomllib  # a caption needs none

    document: dict[str, Any] = _parsed(lambda: tomllib.loads(text))
    return document


def _parsed(parse: Callable[[], Any]) -> Any:  # noqa: ANN401
    try:
        document = parse()
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    level = [document]
    for _ in range(MOST_NESTED):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return document
    raise ValueError(TOO_DEEP)
