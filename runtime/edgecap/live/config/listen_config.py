"""The configuration of listening: a TOML file, the command line on top, and the same by keyword from Python.

`edgecap.live.config.config_file` reads and writes it. What is None is not set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Keep = Annotated[str, Meta(pattern=r"^[0-9]+[mhdw]$")]
"""Minutes, hours, days or weeks."""
TOKEN = r"^[A-Za-z0-9._~-]{12,128}\Z"
"""Signs that an address and a cookie carry as they are."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where the sound comes from: a microphone, unless `file` or `stdin` says otherwise."""

    device: str | list[str] | None = None
    """Microphone by number, name or a part of its name; a list of them is listened to at once."""
    wait: bool = False
    """Wait for a microphone that is not there at the start."""
    file: str | None = None
    stdin: bool = False
    """Raw s16le samples from standard input."""
    rate: Annotated[int, Meta(ge=100, le=1_536_000)] = 16_000
    """Of standard input, hertz."""
    channels: Annotated[int, Meta(ge=1, le=64)] = 1
    """Of standard input."""
    speed: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    """Of a file or standard input; 0 is as fast as captions are made, with nothing dropped."""


@dataclass(frozen=True, kw_only=True)
class MicrophoneConfig:
    """One of several microphones: a table [[microphones]] for each, in place of `source.device`."""

    device: str
    """Number, name or a part of the name."""
    name: str | None = None
    """What it is called in events, as "kitchen"; its own name where none is given."""
    gate: Literal["auto", "off"] | Annotated[float, Meta(ge=-120, le=0)] | None = None
    """Its own gate; that of [stream] where none is given."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What captions."""

    name: str | None = None
    """A name or a folder."""
    threads: Count | None = 1
    """One thread is enough for a caption every two seconds, and leaves the board to others."""
    beam: Annotated[int, Meta(ge=1, le=32)] | None = None


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How the stream is walked."""

    window: Seconds | None = None
    hop: Seconds = 2.0
    gate: Literal["auto", "off"] | Annotated[float, Meta(ge=-120, le=0)] = "auto"
    """A running noise floor, none, or a fixed level in dBFS."""
    novelty: Annotated[float, Meta(ge=0, le=2)] = 0.998
    """Cosine of embeddings from which on the decoder is skipped; above 1 it always runs."""
    duration: Seconds | None = None
    """Stop after so much sound."""


@dataclass(frozen=True, kw_only=True)
class EventsConfig:
    """When an event begins and ends (`edgecap.live.events.event.EventSettings`)."""

    close_after: Seconds = 8.0
    longest: Seconds = 600.0
    cooldown: Annotated[float, Meta(ge=0)] = 8.0
    min_score: Annotated[float, Meta(le=0)] = -1.5
    same_words: Share = 0.5
    same_sound: Share = 0.85
    only: list[str] = field(default_factory=list)
    ignore: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where events go."""

    json: bool = False
    updates: bool = False
    """Tell every caption of an event, not only its beginning and end."""
    plain: bool = False
    """One line for each event on a terminal too."""
    hearing: bool = False
    """Tell of each window what was heard: level, gate, the best captions and their scores."""
    srt: str | None = None
    vtt: str | None = None
    csv: str | None = None
    exec: str | None = None
    webhook: str | None = None
    hook_on: Literal["begin", "end", "both"] = "begin"
    """Which changes `exec` and `webhook` get."""
    journal: str | None = None
    keep: Keep = "30d"
    """How long the journal keeps events: minutes, hours, days or weeks."""
    keep_audio: str | None = None
    """A folder for the sound of each event. Without it no sound is stored anywhere."""
    keep_audio_for: Keep = "7d"
    """How long these sounds are kept."""
    metrics: str | None = None
    """[HOST:]PORT of Prometheus metrics."""


@dataclass(frozen=True, kw_only=True)
class MqttConfig:
    """An MQTT broker; used where `host` is set."""

    host: str | None = None
    port: Port | None = None
    """1883, or 8883 with TLS."""
    user: str | None = None
    password: str | None = None
    password_file: str | None = None
    """A file whose first line is the password."""
    tls: bool = False
    topic: Annotated[str, Meta(pattern=r"^[^#+\s/][^#+\s]*$")] = "edgecap"
    """Topics begin with this and the node."""
    node: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Name of this listener; the machine's where none is given."""
    discovery: str = "homeassistant"
    """Home Assistant's prefix; empty announces nothing."""
    queue: Count = 500
    """Messages kept while the broker is away; the oldest go first."""


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """The live web page; served where `address` is set."""

    address: str | None = None
    """[HOST:]PORT; this machine alone where no host is named."""
    token: Annotated[str, Meta(pattern=TOKEN)] | None = None
    """What a visitor must know. Made anew at each start where none is set and other machines may visit."""
    token_file: str | None = None
    """A file whose first line is the token."""
    hosts: list[str] = field(default_factory=list)
    """Further names under which the page is asked for, as that of a proxy in front of it."""


@dataclass(frozen=True, kw_only=True)
class ListenConfig:
    """All of it."""

    source: SourceConfig = field(default_factory=SourceConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    web: WebConfig = field(default_factory=WebConfig)
    microphones: list[MicrophoneConfig] = field(default_factory=list)


def microphones(config: ListenConfig) -> list[MicrophoneConfig | None]:
    """The microphones to listen to; one None is the system's own, or what a file or standard input stands in for."""
    if config.source.file is not None or config.source.stdin:
        return [None]
    if config.microphones:
        return [*config.microphones]
    device = config.source.device
    if device is None or device == []:
        return [None]
    return [MicrophoneConfig(device=each) for each in ([device] if isinstance(device, str) else device)]
