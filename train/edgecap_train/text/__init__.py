"""Captions as words: reading, vocabularies, what words mean. The word lists are TOML files in `tables/`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def load_table(name: str) -> dict[str, Any]:
    """The word list `tables/NAME.toml`."""
    return tomllib.loads((Path(__file__).parent / "tables" / f"{name}.toml").read_text(encoding="utf-8"))
