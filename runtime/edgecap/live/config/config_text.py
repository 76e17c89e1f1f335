"""The configuration as a TOML file that says what each key means: reading it gives the same configuration."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from edgecap.errors import ConfigError
from edgecap.live.config.config_file import LISTED, SECRETS
from edgecap.live.config.listen_config import ListenConfig

WIDTH = 100
"""Columns of a comment."""
EXAMPLE = """\
# Which outputs get which events (docs/listening.md, "Rules"):
# [[rules]]
# name = "alarm"
# words = ["alarm", "siren"]
# hours = "22:00-06:00"
# outputs = ["exec"]
"""


def render_config(config: ListenConfig, *, secrets: bool = True) -> str:
    """The configuration as TOML for `load_config`, each key below what it means and its default.

    Keys that are not set are comments, and `secrets` are if False.
    """
    lines = []
    for section in fields(config):
        if section.name in LISTED:
            continue
        hidden = frozenset[str]() if secrets else SECRETS.get(section.name, frozenset())
        part = getattr(config, section.name)
        lines += [f"[{section.name}]", *_keys(part, hidden, key_help(type(part))), ""]
    for listed in LISTED:
        for table in getattr(config, listed):
            hidden = frozenset[str]() if secrets else SECRETS.get(listed, frozenset())
            lines += [f"[[{listed}]]", *_keys(table, hidden, {}), ""]
    return "\n".join(lines if config.rules else [*lines, EXAMPLE])


def key_help(kind: Any) -> Mapping[str, str]:  # noqa: ANN401 - a dataclass
    """Key of a section to what it means: the help of its option, else the text below it in the source."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str() as text)):
                    texts[statement.target.id] = " ".join(text.split())
    options = {key.name: option.help for key in fields(kind) if (option := key.metadata.get("option"))}
    return texts | options


def _keys(part: object, hidden: frozenset[str], texts: Mapping[str, str]) -> list[str]:
    """Lines of one section, each key below its text; values of the keys `hidden` are not shown."""
    lines = []
    for key in fields(part):  # type: ignore[arg-type]
        value, default = getattr(part, key.name), key.default
        text = texts.get(key.name, "")
        if text and isinstance(default, bool | int | float | str) and default != "" and "[default" not in text:
            text += f" [default: {_toml(default)}]"
        lines += textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
        if value is None:
            lines.append(f"# {key.name} = (not set)")
        elif key.name in hidden:
            lines.append(f"# {key.name} = (hidden: write it here)")
        else:
            lines.append(f"{key.name} = {_toml(value)}")
    return lines


def _toml(value: object) -> str:
    if isinstance(value, list | tuple | str):
        try:  # a JSON string is a TOML basic string, but for escapes of two halves
            text = msgspec.json.encode(value).decode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"{value!r} is not UTF-8, as a configuration must be: rename that file") from error
        return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
    return str(value).lower() if isinstance(value, bool) else repr(value)
