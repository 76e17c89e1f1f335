"""How often a sound may be reported where it was not: "1/day" as false alarms an hour."""

from __future__ import annotations

import re

from edgecap.errors import ConfigError

HOURS = {"hour": 1.0, "day": 24.0, "week": 168.0, "month": 730.0}
HIGHEST = 60.0


def parse_rate(text: str) -> float:
    """ "1/day", "2/hour" or "3/week" in times an hour. Raises ConfigError."""
    match = re.fullmatch(r"(\d{1,4}(?:\.\d{1,3})?)\s*/\s*(hour|day|week|month)", text.strip())
    rate = float(match[1]) / HOURS[match[2]] if match else 0.0
    if not 0.0 < rate <= HIGHEST:
        raise ConfigError(f"invalid rate {text!r}; use a number and hour, day, week or month, as in 1/day")
    return rate


def show_rate(rate: float) -> str:
    """A rate an hour in the largest number of words that a person would use: "1/day"."""
    unit, hours = next(
        ((unit, hours) for unit, hours in HOURS.items() if rate * hours >= 0.995), ("month", HOURS["month"])
    )
    return f"{rate * hours:.3g}/{unit}"
