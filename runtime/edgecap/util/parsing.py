"""Addresses, URLs and durations as users write them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from edgecap.errors import ConfigError

LOOPBACK = "127.0.0.1"
LARGEST_PORT = 65_535
MOST_DIGITS = 10
"""Of a number that a user types; Python refuses to read thousands of them."""
SECONDS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
"""Unit of a duration to seconds."""
HOURS = re.compile("([01]?[0-9]|2[0-3])-([01]?[0-9]|2[0-4])")


def parse_address(address: str) -> tuple[str, int]:
    """ "[HOST:]PORT" as (host, port); without a host it is this machine alone. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or len(port) > MOST_DIGITS or int(port) > LARGEST_PORT:
        raise ConfigError(f"invalid address {address!r}; use PORT or HOST:PORT")
    return host.strip("[]") or LOOPBACK, int(port)


def host_of(url: str) -> str:
    """The host of an http or https URL that can be requested as it is. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        if host and parts.scheme in {"http", "https"}:
            if parts.username is not None:
                raise ConfigError(
                    f"the URL for {host!r} contains a user, which is not supported; put a key into its path or query"
                )
            if url.isascii() and url.isprintable() and " " not in url:
                host.encode("idna")  # as urllib does it: a label may be empty or too long
                return host
            raise ConfigError(
                f"the URL for {host!r} contains characters that none may hold; percent-encode them (a space as %20)"
            )
    except ValueError:  # an invalid port, or an invalid address in brackets
        pass
    shown = re.match(r"(\w+:/*)?([^/?#]*@)?([^/?#@]*)", url)  # what follows may be a key
    start = f"{shown[1] or ''}{shown[3]}" if shown else ""
    raise ConfigError(f"invalid URL {start!r}; it must be http:// or https://, a host, and a port up to 65535 if any")


def host_is_name(host: str) -> bool:
    """Whether it can be looked up as the name or address of a host, without a scheme, user or port."""
    try:
        host.encode("idna")  # as the resolver does it: a label may be empty or too long
    except UnicodeError:
        return False
    return bool(host) and host.isprintable() and not any(character in host for character in " /@[]\"'")


def parse_duration(text: str) -> float:
    """ "90m", "12h", "30d" or "4w" in seconds. Raises ConfigError."""
    if text[-1:] not in SECONDS or not text[:-1].isdecimal() or len(text) > MOST_DIGITS:
        raise ConfigError(f"invalid duration {text!r}; use a number and m, h, d or w, as in 30d")
    return int(text[:-1]) * SECONDS[text[-1]]


def parse_hours(text: str) -> tuple[int, int]:
    """ "22-5" as hours of a day, from the first to before the second; they may cross midnight. Raises ConfigError."""
    hours = HOURS.fullmatch(text)
    if hours is None:
        raise ConfigError(f"invalid hours {text!r}; use two hours of a day, as in 22-5")
    return int(hours[1]), int(hours[2])


def within_hours(hour: int, hours: tuple[int, int]) -> bool:
    """Whether an hour of a day, 0 to 23, is one of those."""
    first, last = hours
    return first <= hour < last if first < last else hour >= first or hour < last
