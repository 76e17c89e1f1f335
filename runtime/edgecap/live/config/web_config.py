"""The section [web] of the configuration: where the page is served, and to whom."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated

from msgspec import Meta

from edgecap.errors import ConfigError
from edgecap.live.config.options import address_host, option

TOKEN = r"^[A-Za-z0-9._~-]{12,128}\Z"
"""Characters that need no escaping in URLs and cookies."""


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """The live web page; served where `address` is set."""

    address: str | None = option(
        None,
        "--web [HOST:]PORT",
        "Serve the live page: to this machine alone, or with a token where a host such as 0.0.0.0 is named.",
        sink="edgecap.web.page:open_page",
        host=address_host,
    )
    token: Annotated[str, Meta(pattern=TOKEN, description="12 to 128 letters, digits, . _ ~ and -")] | None = None
    """What visitors must present. A new one at each start where none is set and other machines may visit."""
    token_file: str | None = None
    """A file whose first line is the token."""
    hosts: list[str] = field(default_factory=list)
    """Further host names under which browsers request the page, such as that of a proxy in front of it."""
    frames: list[str] = field(default_factory=list)
    """Origins whose pages may show this one in a frame, as http://homeassistant.local:8123. None by default."""
    ingress: str | None = None
    """Address of a proxy that lets in its own users alone, as Home Assistant's 172.30.32.2: it needs no token."""

    def __post_init__(self) -> None:
        """Raise ConfigError for what is no origin or no address of one machine."""
        for origin in self.frames:
            if not re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?", origin):
                raise ConfigError(f"web.frames: {origin!r} is no origin, as http://homeassistant.local:8123")
        try:
            alone = self.ingress is None or ip_address(self.ingress).is_unspecified
        except ValueError as error:
            raise ConfigError(f"web.ingress: {self.ingress!r} is no IP address, as 172.30.32.2") from error
        if self.ingress is not None and alone:
            raise ConfigError(f"web.ingress: {self.ingress} means any machine; name the address of the proxy alone")
