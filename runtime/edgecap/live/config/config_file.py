"""The configuration of listening as a TOML file: read strictly; writing and reading it gives the same configuration.

An unknown section or key, a value of another type or out of range is refused with its key and its line.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from edgecap.errors import ConfigError
from edgecap.live.config.listen_config import KINDS, ListenConfig, MicrophoneConfig
from edgecap.live.config.options import Option
from edgecap.live.config.rule_config import PRINT, RuleConfig, faults
from edgecap.types import Notify
from edgecap.util.documents import from_toml
from edgecap.util.files import read_at_most
from edgecap.util.limits import MOST_CONFIGURATION, MOST_SECRET
from edgecap.util.schema import SchemaError, convert
from edgecap.util.text import decoded

Values = Mapping[str, Mapping[str, object]]
"""Section → key → value."""
SECRETS = {
    "source": frozenset({"rtsp"}),
    "microphones": frozenset({"rtsp"}),
    "output": frozenset({"webhook"}),
    "mqtt": frozenset({"password"}),
    "web": frozenset({"token"}),
}
"""Section to keys that hold a password; the addresses of a camera and of a webhook hold theirs."""
LISTED: Mapping[str, type] = {"microphones": MicrophoneConfig, "rules": RuleConfig}
"""The parts of the configuration that are lists of tables, and the class of a table."""


def load_config(
    path: str | Path | None = None, over: Values | None = None, tables: Mapping[str, object] | None = None
) -> ListenConfig:
    """The configuration of a TOML file (defaults for None), overridden by the values of `over` that are not None.

    `tables` stand in for the file's lists of tables. Raises ConfigError.
    """
    text = ""
    if path is not None:
        try:
            text = decoded(read_at_most(Path(path).expanduser(), MOST_CONFIGURATION)).replace("\r\n", "\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError(f"the configuration {path} cannot be read ({reason}); check the name") from error
    try:
        document: dict[str, Any] = from_toml(text)
    except ValueError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}; for an example type: edgecap listen --print-config"
        ) from error
    _refuse_unknown(document, text, path)
    merged: dict[str, Any] = {
        section: list(values) if section in LISTED else dict(values) for section, values in document.items()
    }
    if any((over or {}).get("source", {}).get(kind) is not None for kind in KINDS):
        merged.pop("microphones", None)  # --device and the like override the microphones of the file
        merged["source"] = {key: value for key, value in merged.get("source", {}).items() if key not in KINDS}
    for section, values in (over or {}).items():
        merged.setdefault(section, {}).update({key: value for key, value in values.items() if value is not None})
    merged.update(tables or {})
    try:
        config = convert(merged, ListenConfig)
    except SchemaError as error:
        raise _explained(error, document, over or {}, text, path) from error
    except ConfigError as error:  # a section's own check; its message begins with the key
        section, _, key = re.split(r"[^\w.]", str(error), maxsplit=1)[0].partition(".")
        if key not in document.get(section, {}) or (over or {}).get(section, {}).get(key) is not None:
            raise
        raise ConfigError(f"{_place(text, path, section, key)}: {error}") from error
    if config.source.file is not None and config.source.stdin:
        raise ConfigError("the sound comes from a file or from standard input, not from both; remove one")
    _check_microphones(config, document, text, path)
    for number, key, fault in faults(config.rules, outputs(config), outputs()):
        where = f"{_place(text, path, 'rules', key, number)}: " if "rules" in document else ""
        raise ConfigError(f"{where}[[rules]] number {number + 1}, {key}: {fault}")
    return config


def _check_microphones(config: ListenConfig, document: dict[str, Any], text: str, path: object) -> None:
    """Raise ConfigError for a table [[microphones]] that is no microphone, or where [source] names one too."""
    for number, microphone in enumerate(config.microphones):
        where = _place(text, path, "microphones", None, number)
        if kind := next((kind for kind in KINDS if getattr(config.source, kind) is not None), None):
            raise ConfigError(
                f"{where}: microphones are named by [[microphones]] or by source.{kind}, not by both; remove one"
            )
        if microphone.fault:
            where = f"{where}: " if "microphones" in document else ""
            raise ConfigError(f"{where}[[microphones]] number {number + 1} {microphone.fault}")


def outputs(config: ListenConfig | None = None) -> set[str]:
    """What rules call the outputs that a configuration sets; all there are without one."""
    sinks = [key for key in config_keys() if key.option and key.option.sink and key.option.events]
    return {PRINT} | {
        key.option.output
        for key in sinks
        if key.option and (config is None or getattr(getattr(config, key.section), key.name) is not None)
    }


def read_secret(path: str, what: str, notify: Notify) -> str:
    """The first line of a file with a password or token, named `what`; warns where all users may read it.

    Raises ConfigError.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IROTH | stat.S_IWOTH):
                notify("warning", f"the {what} file {path} is open to all users of this machine; type: chmod o= {path}")
            return decoded(file.read(MOST_SECRET)).partition("\n")[0].rstrip("\r")
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
    """All keys of all sections, in order, without those of lists of tables."""
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
        if section.name not in LISTED
    }  # the factories are the classes


def _refuse_unknown(document: dict[str, Any], text: str, path: object) -> None:
    """Raise ConfigError for sections and keys that do not exist, and for a section that is not one."""
    classes = {**_classes(), **LISTED}
    for section, values in document.items():
        if section not in classes:
            names = ", ".join(f"[[{name}]]" if name in LISTED else name for name in classes)
            place = _place(text, path, section, None)
            raise ConfigError(f"{place}: there is no section [{section}]; there are {names}")
        tables, title = (values, f"[[{section}]]") if section in LISTED else ([values], f"[{section}]")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            place = _place(text, path, *((section, None) if section in LISTED else (None, section)))
            raise ConfigError(f"{place}: {section} must be written as {title}, with the keys on lines below")
        known = {key.name for key in fields(classes[section])}
        for number, table in enumerate(tables):
            for key in sorted(table.keys() - known):
                raise ConfigError(
                    f"{_place(text, path, section, key, number)}: {title} has no key {key!r}; it has "
                    f"{', '.join(sorted(known))}"
                )


def _explained(error: SchemaError, document: dict[str, Any], over: Values, text: str, path: object) -> ConfigError:
    """What is wrong, with its place: a line of the file, or an option, which overrides the file."""
    listed = re.match(rf"({'|'.join(LISTED)})\[(\d+)\](?:\.(\w+))?", error.path)
    if listed:
        section, number, key = listed[1], int(listed[2]), listed[3]
        where = f"{_place(text, path, section, key, number)}: " if section in document else ""
        return ConfigError(
            f"{where}[[{section}]] number {number + 1}{f', {key}' if key else ''} {error.what}"
            + ("" if key in SECRETS.get(section, ()) else error.given)
        )
    section, _, key = re.sub(r"\[.*", "", error.path).partition(".")
    what = error.what + ("" if key in SECRETS.get(section, ()) else error.given)
    if key in document.get(section, {}) and over.get(section, {}).get(key) is None:
        return ConfigError(f"{_place(text, path, section, key)}: {error.path} {what}")
    option = next((each.option for each in config_keys() if (each.section, each.name) == (section, key)), None)
    return ConfigError(f"{error.path}{f' ({option.flags[0]})' if option else ''} {what}")


def _place(text: str, path: object, section: str | None, key: str | None, which: int = 0) -> str:
    """FILE:LINE of a key, or of a section's header where the key is not there, in table number `which` of that name."""
    inside, seen, place = section is None, -1, f"{path}"
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\[?\s*([^\[\]]+?)\s*\]", line)
        if header:
            inside = header[1].strip("\"'") == section
            seen += inside
            inside = inside and (section not in LISTED or seen == which)
            if inside:
                place = f"{path}:{number}"
        elif inside and key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f"{path}:{number}"
    return place
