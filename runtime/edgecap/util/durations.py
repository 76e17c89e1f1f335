"""Durations as users write them: 90m, 12h, 30d, 4w."""

from __future__ import annotations

from edgecap.errors import ConfigError

SECONDS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
"""Unit to seconds."""


def parse_duration(text: str) -> float:
    """ "90m", "12h", "30d" or "4w" in seconds. Raises ConfigError."""
    if text[-1:] not in SECONDS or not text[:-1].isdecimal():
        raise ConfigError(f"invalid duration {text!r}; use a number and m, h, d or w, as in 30d")
    return int(text[:-1]) * SECONDS[text[-1]]
