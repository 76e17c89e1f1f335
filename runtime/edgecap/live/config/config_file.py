"""The configuration of listening as a TOML file: read strictly; writing and reading it gives the same configuration.

An unknown section or key, a value of another type or out of range is refused with its key and its line.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from edgecap.errors import ConfigError
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig
from edgecap.live.config.options import Option

Values = Mapping[str, Mapping[str, object]]
"""Section → key → value."""
SECRETS = {"output": frozenset({"webhook"}), "mqtt": frozenset({"password"}), "web": frozenset({"token"})}
"""Section to keys that hold a password; the address of a webhook holds its key."""
LISTED = "microphones"
"""The one part of the configuration that is a list of tables."""


def load_config(path: str | Path | None = None, over: Values | None = None) -> ListenConfig:
    """The configuration of a TOML file (defaults for None), overridden by the values of `over` that are not None.

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
        raise ConfigError(
            f"{path} is not valid TOML: {error}; for an example type: edgecap listen --print-config"
        ) from error
    _refuse_unknown(document, text, path)
    merged: dict[str, Any] = {
        section: list(values) if section == LISTED else dict(values) for section, values in document.items()
    }
    for section, values in (over or {}).items():
        merged.setdefault(section, {}).update({key: value for key, value in values.items() if value is not None})
    if (over or {}).get("source", {}).get("device") is not None:
        merged.pop(LISTED, None)  # --device overrides the microphones of the file
    try:
        config = msgspec.convert(merged, ListenConfig)
    except msgspec.ValidationError as error:
        raise _explained(str(error), document, over or {}, text, path) from error
    if config.source.file is not None and config.source.stdin:
        raise ConfigError("the sound comes from a file or from standard input, not from both; remove one")
    if config.microphones and config.source.device is not None:
        raise ConfigError(
            f"{_place(text, path, LISTED, None)}: microphones are named by [[{LISTED}]] or by "
            "source.device, not by both; remove one"
        )
    return config


def render_config(config: ListenConfig, *, secrets: bool = True) -> str:
    """The configuration as TOML for `load_config`; keys that are not set are comments, and `secrets` if False."""
    lines = []
    for section in fields(config):
        if section.name == LISTED:
            continue
        hidden = frozenset[str]() if secrets else SECRETS.get(section.name, frozenset())
        lines += [f"[{section.name}]", *_keys(getattr(config, section.name), hidden), ""]
    for microphone in config.microphones:
        lines += [f"[[{LISTED}]]", *_keys(microphone, frozenset()), ""]
    return "\n".join(lines)


def read_secret(path: str, what: str) -> str:
    """The first line of a file with a password or token, named `what` in the error. Raises ConfigError."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, ValueError) as error:
        raise ConfigError(f"the {what} file {path} cannot be read; check its name and permissions") from error


@dataclass(frozen=True)
class ConfigKey:
    """A key of a section."""

    section: str
    name: str
    type: type
    """Of one value on the command line: bool, int, float or str; list where there may be several."""
    default: Any
    option: Option | None


@cache
def config_keys() -> tuple[ConfigKey, ...]:
    """All keys of all sections, in order, without those of [[microphones]]."""
    return tuple(_section_keys())


def sections() -> dict[str, str]:
    """Key to section, for keys that occur in one section only: what keywords of `edgecap.listen` mean."""
    names = Counter(key.name for key in config_keys())
    return {key.name: key.section for key in config_keys() if names[key.name] == 1}


def _section_keys() -> Iterator[ConfigKey]:
    for section, kind in _classes().items():
        annotations, defaults = get_type_hints(kind, include_extras=True), kind()
        for key in fields(kind):
            kind_of_value, default = _value_type(annotations[key.name]), getattr(defaults, key.name)
            yield ConfigKey(section, key.name, kind_of_value, default, key.metadata.get("option"))


def _value_type(annotation: Any) -> type:  # noqa: ANN401 - an annotation has no type of its own
    """bool, int, float or str; list where there may be several."""
    if get_origin(annotation) is tuple:
        return list
    if get_origin(annotation) is Annotated:
        return _value_type(annotation.__origin__)
    if get_origin(annotation) is Literal:
        return str
    if get_origin(annotation) in {Union, UnionType}:
        types = [_value_type(part) for part in get_args(annotation) if part is not NoneType]
        return next((kind for kind in (list, str) if kind in types), types[0])
    return cast(type, get_origin(annotation) or annotation)


def _classes() -> dict[str, type]:
    """Section → its class."""
    return {
        section.name: section.default_factory  # type: ignore[misc]
        for section in fields(ListenConfig)
        if section.name != LISTED
    }  # the factories are the classes


def _keys(part: object, hidden: frozenset[str]) -> list[str]:
    """Lines of one section; values of the keys `hidden` are not shown."""
    values = {key.name: getattr(part, key.name) for key in fields(part)}  # type: ignore[arg-type]
    return [
        f"# {key} = (not set)"
        if value is None
        else f"# {key} = (hidden: write it here)"
        if key in hidden
        else f"{key} = {_toml(value)}"
        for key, value in values.items()
    ]


def _toml(value: object) -> str:
    if isinstance(value, list | tuple | str):
        return msgspec.json.encode(value).decode()  # a JSON string is a TOML basic string
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _refuse_unknown(document: dict[str, Any], text: str, path: object) -> None:
    """Raise ConfigError for sections and keys that do not exist, and for a section that is not one."""
    classes = {**_classes(), LISTED: MicrophoneConfig}
    for section, values in document.items():
        if section not in classes:
            names = ", ".join(name for name in classes if name != LISTED)
            place = _place(text, path, section, None)
            raise ConfigError(f"{place}: there is no section [{section}]; there are {names} and [[{LISTED}]]")
        tables, title = (values, f"[[{LISTED}]]") if section == LISTED else ([values], f"[{section}]")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            place = _place(text, path, *((section, None) if section == LISTED else (None, section)))
            raise ConfigError(f"{place}: {section} must be written as {title}, with the keys on lines below")
        known = {key.name for key in fields(classes[section])}
        for number, table in enumerate(tables):
            for key in sorted(table.keys() - known):
                raise ConfigError(
                    f"{_place(text, path, section, key, number)}: {title} has no key {key!r}; it has "
                    f"{', '.join(sorted(known))}"
                )


def _explained(message: str, document: dict[str, Any], over: Values, text: str, path: object) -> ConfigError:
    """msgspec's message with its place: a line of the file, or an option, which overrides the file."""
    what, _, place = message.partition(" - at `$.")
    listed = re.match(rf"{LISTED}\[(\d+)\](?:\.(\w+))?", place)
    if listed:
        number, key = int(listed[1]), listed[2]
        return ConfigError(
            f"{_place(text, path, LISTED, key, number)}: [[{LISTED}]] number {number + 1}"
            f"{f', {key}' if key else ''}: {what}"
        )
    section, _, key = re.sub(r"\[.*", "", place.rstrip("`")).partition(".")
    if key in document.get(section, {}) and over.get(section, {}).get(key) is None:
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
