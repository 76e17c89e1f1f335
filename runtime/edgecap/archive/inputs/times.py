"""When a recording was made: from the name that its recorder gave it, or from a table's cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edgecap.archive.addresses import path_in
from edgecap.errors import ConfigError

_ZONE = r"(Z|[+-]\d\d:?\d\d)?"
_PATTERNS = (
    # 20261128_184500 as AudioMoth, Song Meter and others write it, 20261128T184500Z, 20261128184500; a zone only behind
    # a T, since a number may follow
    re.compile(rf"(?<!\d)(\d{{4}})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d){_ZONE}(?!\d)"),
    re.compile(r"(?<!\d)(\d{4})(\d\d)(\d\d)[_\- ]?(\d\d)(\d\d)(\d\d)()(?!\d)"),
    # 2026-11-28T18:45:00+01:00, 2026-11-28_18-45-00, 2026-11-28 18.45.00
    re.compile(rf"(?<!\d)(\d{{4}})-(\d\d)-(\d\d)T(\d\d)[:.\-h]?(\d\d)[:.\-m]?(\d\d)(?:[.,]\d+)?{_ZONE}(?!\d)"),
    re.compile(r"(?<!\d)(\d{4})-(\d\d)-(\d\d)[_\- ](\d\d)[:.\-_]?(\d\d)[:.\-_]?(\d\d)()(?!\d)"),
)
_HEXADECIMAL = re.compile(r"([0-9A-F]{8})\.WAV")
"""Names of AudioMoth's firmware before 1.2: seconds since 1970."""
FIRST_AUDIOMOTH, LAST_AUDIOMOTH = 0x58685B00, 0x7FFFFFFF
FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Of recordings; a number in a name that says another one is no time."""


def zone(name: str) -> tzinfo:
    """The time zone of a name such as "Europe/Berlin" or "UTC". Raises ConfigError."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"there is no time zone {name!r}; name one as Europe/Berlin, or UTC") from error


def time_in_name(address: str, default: tzinfo) -> datetime | None:
    """When a recording began, in UTC, by its file's name; None where that says nothing. `default` is its time zone."""
    name = path_in(address).rstrip("/").rpartition("/")[2]
    if match := _HEXADECIMAL.fullmatch(name):
        seconds = int(match[1], 16)
        if FIRST_AUDIOMOTH <= seconds <= LAST_AUDIOMOTH:
            return datetime.fromtimestamp(seconds, UTC)
    return next(_times(name, default), None)


def time_in_cell(value: object, default: tzinfo) -> datetime | None:
    """A cell of a manifest's column `time`, in UTC; None for an empty one. Raises ValueError."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value, UTC)  # seconds since 1970
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError(f"{value!r} is no time")
    return _utc(value, default)


def moment(seconds: float) -> datetime | None:
    """The time of so many seconds since 1970; None where no calendar has it, as for a damaged file's."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def later(time: datetime | None, seconds: float) -> datetime | None:
    """So many seconds later; None where no calendar has it."""
    try:
        return None if time is None else time + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _times(name: str, default: tzinfo) -> Iterator[datetime]:
    for pattern in _PATTERNS:
        for match in pattern.finditer(name):
            *numbers, sign = match.groups()
            try:
                local = datetime(*map(int, numbers))  # type: ignore[arg-type]
                if not FIRST_YEAR <= local.year <= LAST_YEAR:
                    continue
                yield _utc(local, _offset(sign) or default)
            except (ValueError, OverflowError):  # as the 13th month: it is some other number
                continue


def _offset(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text == "Z":
        return UTC
    return datetime.strptime(text, "%z").tzinfo


def _utc(time: datetime, default: tzinfo) -> datetime:
    if time.tzinfo is None:
        time = time.replace(tzinfo=default)
    return time.astimezone(UTC)
