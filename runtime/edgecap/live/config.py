"""The configuration of listening: a TOML file, the command line on top, and the same by keyword from Python.

Reading is strict: an unknown section or key, a value of another type or out of range is refused with its key and
its line. What is None is not set.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgecap.errors import ConfigError

Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Values = Mapping[str, Mapping[str, object]]
"""Section → key → value."""
LISTED = "microphones"
"""The one part of the configuration that is a list of tables."""


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
    """When an event begins and ends (`edgecap.live.event.EventSettings`)."""

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
    srt: str | None = None
    vtt: str | None = None
    csv: str | None = None
    exec: str | None = None
    webhook: str | None = None
    hook_on: Literal["begin", "end", "both"] = "begin"
    """Which changes `exec` and `webhook` get."""
    journal: str | None = None
    keep: Annotated[str, Meta(pattern=r"^[0-9]+[mhdw]$")] = "30d"
    """How long the journal keeps events: minutes, hours, days or weeks."""
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
    token: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{12,128}$")] | None = None
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


def load_config(path: str | Path | None = None, over: Values | None = None) -> ListenConfig:
    """The configuration of a TOML file (all defaults for None) with the values of `over` on top; None there is not set.

    Raises ConfigError.
    """
    text = ""
    if path is not None:
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError(f"the configuration {path} cannot be read ({reason}); check the name") from error
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}; edgecap listen --print-config shows how it looks") from error
    _refuse_unknown(document, text, path)
    merged: dict[str, Any] = {section: list(values) if section == LISTED else dict(values)
                              for section, values in document.items()}
    for section, values in (over or {}).items():
        merged.setdefault(section, {}).update({key: value for key, value in values.items() if value is not None})
    if (over or {}).get("source", {}).get("device") is not None:
        merged.pop(LISTED, None)  # the microphones of the file give way to the one of the command line
    try:
        config = msgspec.convert(merged, ListenConfig)
    except msgspec.ValidationError as error:
        raise _explained(str(error), document, text, path) from error
    if config.source.file is not None and config.source.stdin:
        raise ConfigError("the sound comes from a file or from standard input, not from both; leave one out")
    if config.microphones and config.source.device is not None:
        raise ConfigError(f"{_place(text, path, LISTED, None)}: microphones are named by [[{LISTED}]] or by "
                          "source.device, not by both; leave one out")
    return config


def microphones(config: ListenConfig) -> list[MicrophoneConfig | None]:
    """The microphones to listen to; one None is the system's own."""
    if config.microphones:
        return [*config.microphones]
    device = config.source.device
    if device is None or device == []:
        return [None]
    return [MicrophoneConfig(device=each) for each in ([device] if isinstance(device, str) else device)]


def render_config(config: ListenConfig) -> str:
    """The configuration as TOML that `load_config` reads back to the same; what is not set is a comment."""
    lines = []
    for section in fields(config):
        if section.name == LISTED:
            continue
        lines += [f"[{section.name}]", *_keys(getattr(config, section.name)), ""]
    for microphone in config.microphones:
        lines += [f"[[{LISTED}]]", *_keys(microphone), ""]
    return "\n".join(lines)


def sections() -> dict[str, str]:
    """Key → section, for keys that occur once: how keywords and options find their place."""
    found: dict[str, list[str]] = {}
    for section, kind in _classes().items():
        for key in fields(kind):
            found.setdefault(key.name, []).append(section)
    return {key: names[0] for key, names in found.items() if len(names) == 1}


def _classes() -> dict[str, type]:
    """Section → its class."""
    return {section.name: section.default_factory for section in fields(ListenConfig)  # type: ignore[misc]
            if section.name != LISTED}  # the factories are the classes


def _keys(part: object) -> list[str]:
    """Lines of one section."""
    values = {key.name: getattr(part, key.name) for key in fields(part)}  # type: ignore[arg-type]
    return [f"# {key} = (not set)" if value is None else f"{key} = {_toml(value)}" for key, value in values.items()]


def _toml(value: object) -> str:
    if isinstance(value, list | str):
        return msgspec.json.encode(value).decode()  # a JSON string is a TOML basic string
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _refuse_unknown(document: dict[str, Any], text: str, path: object) -> None:
    known = {section: {key.name for key in fields(kind)} for section, kind in _classes().items()}
    for section, values in document.items():
        if section == LISTED:
            _check_listed(values, text, path)
            continue
        if section not in known:
            raise ConfigError(f"{_place(text, path, section, None)}: there is no section [{section}]; there are "
                              f"{', '.join(known)} and [[{LISTED}]]")
        if not isinstance(values, dict):
            raise ConfigError(f"{_place(text, path, None, section)}: {section} is a section; write [{section}]")
        for key in values:
            if key not in known[section]:
                raise ConfigError(f"{_place(text, path, section, key)}: [{section}] has no key {key!r}; it has "
                                  f"{', '.join(sorted(known[section]))}")


def _check_listed(tables: object, text: str, path: object) -> None:
    """Refuse what is no list of microphones, and keys that none has."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{_place(text, path, LISTED, None)}: write [[{LISTED}]], with two brackets, for each "
                          "microphone")
    known = {key.name for key in fields(MicrophoneConfig)}
    for number, table in enumerate(tables):
        for key in table.keys() - known:
            raise ConfigError(f"{_place(text, path, LISTED, key, number)}: [[{LISTED}]] has no key {key!r}; it has "
                              f"{', '.join(sorted(known))}")


def _explained(message: str, document: dict[str, Any], text: str, path: object) -> ConfigError:
    """msgspec's message with its place: a line of the file, or an option."""
    what, _, place = message.partition(" - at `$.")
    listed = re.match(rf"{LISTED}\[(\d+)\](?:\.(\w+))?", place)
    if listed:
        number, key = int(listed[1]), listed[2]
        return ConfigError(f"{_place(text, path, LISTED, key, number)}: [[{LISTED}]] number {number + 1}"
                           f"{f', {key}' if key else ''}: {what}")
    section, _, key = re.sub(r"\[.*", "", place.rstrip("`")).partition(".")
    if key in document.get(section, {}):
        return ConfigError(f"{_place(text, path, section, key)}: {section}.{key}: {what}")
    return ConfigError(f"{section}.{key}: {what}")


def _place(text: str, path: object, section: str | None, key: str | None, which: int = 0) -> str:
    """FILE:LINE of a key, or of a section's header, in table number `which` of that name."""
    inside, seen = section is None, -1
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\[?\s*([^\[\]]+?)\s*\]", line)
        if header:
            inside = header[1].strip("\"'") == section
            seen += inside
            inside = inside and (section != LISTED or seen == which)
            if inside and key is None:
                return f"{path}:{number}"
        elif inside and key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f"{path}:{number}"
    return f"{path}"
