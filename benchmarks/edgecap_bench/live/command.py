"""The command line of a listener that is measured."""

from __future__ import annotations

import sys

EVERY_EVENT = ("--min-score", "-99", "--cooldown", "0", "--settle", "0")
"""Each sound gets its event, whatever its score."""


def listen_command(*more: str, model: str | None) -> list[str]:
    """`edgecap listen --json` with every event, further arguments, and a model, the default one for None."""
    chosen = ["--model", model] if model else []
    return [sys.executable, "-m", "edgecap", "listen", "--json", *EVERY_EVENT, *more, *chosen]
