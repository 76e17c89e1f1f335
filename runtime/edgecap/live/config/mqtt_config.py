"""The section [mqtt] of the configuration: a broker, how it is reached, and what edgecap is called there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgecap.errors import ConfigError
from edgecap.live.config.options import broker_address, option
from edgecap.util.limits.bounded import Queue
from edgecap.util.parsing import host_is_name

Port = Annotated[int, Meta(ge=1, le=65535)]
TOPIC = re.compile(r"(?!\$)[^#+/\s\x00-\x1f]+(/[^#+/\s\x00-\x1f]+)*")
"""MQTT topics without wildcards or empty levels; those that begin with $ are the broker's."""


@dataclass(frozen=True, kw_only=True)
class MqttConfig:
    """An MQTT broker; used where `host` is set."""

    host: str | None = option(
        None,
        "--mqtt [USER@]HOST[:PORT]",
        "Send events to an MQTT broker, announced to Home Assistant. Password: [mqtt] in --config.",
        parse=broker_address,
        sink="mqtt:open_mqtt",
        host=str,
    )
    port: Port | None = None
    """Without it 1883, or 8883 with TLS."""
    user: str | None = None
    """Name of the listener's user at the broker."""
    password: str | None = None
    """The user's password; `password_file` keeps it out of this file."""
    password_file: str | None = None
    """A file whose first line is the password."""
    tls: bool = False
    """Encrypted; so is what has a `ca` or a `certificate`."""
    ca: str | None = None
    """A PEM file with the authority that signed the broker's certificate; without it those of the system."""
    certificate: str | None = None
    """A PEM file with the certificate by which the broker knows edgecap."""
    key: str | None = None
    """A PEM file with the private key of `certificate`, where that does not hold it."""
    topic: str = "edgecap"
    """Topics begin with this and the node."""
    node: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description="up to 64 letters, digits, _ and -")] | None
    ) = None
    """What identifies this listener; without it a random one that lasts."""
    discovery: str = "homeassistant"
    """Home Assistant's prefix; empty announces nothing."""
    queue: Queue = 500
    """Messages kept while the broker is away; the oldest are dropped first."""

    def __post_init__(self) -> None:
        """Raise ConfigError for what no broker takes."""
        if self.host is not None and not host_is_name(self.host):
            raise ConfigError(f"mqtt.host: {self.host!r} is no name or address of a host; name one, as broker.lan")
        for key in ("topic", "discovery"):
            topic = getattr(self, key)
            if not (TOPIC.fullmatch(topic) or (key == "discovery" and not topic)):
                raise ConfigError(
                    f"mqtt.{key}: {topic!r} cannot begin topics: it needs words with / between them, without #, + and "
                    "spaces, as home/edgecap"
                )
        if self.user is None and (self.password is not None or self.password_file is not None):
            raise ConfigError("mqtt.password needs mqtt.user; set the user's name too")
        if self.password is not None and self.password_file is not None:
            raise ConfigError("mqtt.password and mqtt.password_file are both set; remove one")
        if self.key is not None and self.certificate is None:
            raise ConfigError("mqtt.key needs mqtt.certificate; set the file of the certificate too")

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls or self.ca is not None or self.certificate is not None
