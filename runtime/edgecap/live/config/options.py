"""How a key of the configuration is given on the command line, and which sink it opens.

The options of `edgecap listen`, the sinks that `edgecap.live.sinks.registry` opens and the network rules of the service
are all made from these, so a new sink is one module and one key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from edgecap.errors import ConfigError
from edgecap.util.parsing import host_is_name, parse_address

ANY_HOST = "*"
"""A host that is not known beforehand."""


@dataclass(frozen=True)
class Option:
    """An option of `edgecap listen`, and the sink that it opens."""

    flags: tuple[str, ...]
    metavar: str | None
    """None for a switch."""
    help: str
    parse: Callable[[str], Mapping[str, object]] | None = None
    """The text of the option as keys of the section; without it the value is that of the key."""
    sink: str = ""
    """"MODULE:FUNCTION" that opens a sink from a `SinkContext`, where the key is set; of `edgecap.live.sinks` if the
    module has no dot."""
    stores: bool = False
    """Whether the sink keeps events: it gets an event before anything shows it."""
    events: bool = True
    """Whether the sink takes events, so that rules can choose them."""
    host: Callable[[str], str | None] | None = None
    """The host that the sink connects to or listens at, from the value of the key; None needs no network."""

    @property
    def output(self) -> str:
        """What rules call the sink: "keep_audio" for --keep-audio."""
        return self.flags[0].removeprefix("--").replace("-", "_")


def option(default: Any, usage: str, help: str, **more: Any) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A field with an `Option`; `usage` is its flags and metavar, as "--device -d NUMBER|NAME"."""
    words = usage.split()
    metavar = None if words[-1].startswith("-") else words.pop()
    return field(default=default, metadata={"option": Option(tuple(words), metavar, help, **more)})


def gate_level(text: str) -> Mapping[str, object]:
    """--gate: "auto", "off" or a level. Raises ConfigError."""
    if text in {"auto", "off"}:
        return {"gate": text}
    try:
        return {"gate": float(text)}
    except ValueError as error:
        raise ConfigError(f"--gate takes auto, off or a level in dBFS, not {text!r}") from error


def broker_address(text: str) -> Mapping[str, object]:
    """--mqtt: "[USER@]HOST[:PORT]". Raises ConfigError."""
    match = re.fullmatch(r"(?:([^@]+)@)?([^@:]+|\[[^]]+\])(?::(\d{1,5}))?", text)
    if match is None:
        raise ConfigError(f"--mqtt takes [USER@]HOST[:PORT], not {text!r}")
    user, host, port = match.groups()
    return {"host": host.strip("[]"), "user": user, "port": int(port) if port else None}


def address_host(address: str) -> str | None:
    """The host of "[HOST:]PORT"; None for the path of a socket. Raises ConfigError."""
    return None if address.startswith("/") else parse_address(address)[0]


def camera_host(url: str, key: str) -> str:
    """The host of an address rtsp://…; `key` is named in the error, the address is not. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # an invalid port, or an invalid address in brackets
        host = ""
    if not host_is_name(host) or parts.scheme not in {"rtsp", "rtsps"}:
        raise ConfigError(f"{key}: this is no address of a camera; write rtsp://USER@HOST:PORT/PATH")
    if not url.isascii() or not url.isprintable() or any(sign in " '\"\\" for sign in url):
        raise ConfigError(
            f"{key}: the address at {host} contains characters that none may hold; percent-encode them (a space as %20)"
        )
    return host
