"""Documents as dataclasses, and in words what msgspec refuses of them: the key, what it must be, and what it is.

msgspec names types of Python and regular expressions ("Expected `int | null`, got `str`"). Here the types of the schema
are described instead; a pattern is described by the `description` of its `Meta`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

SHOWN = 60
"""Longest value that a message repeats, in characters."""
T = TypeVar("T")
_STEP = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]+)`")


class SchemaError(ValueError):
    """A document does not fit; as text "PATH WHAT": "mqtt.port must be a whole number from 1 to 65535, not 'high'"."""

    def __init__(self, path: str, what: str, given: str = "") -> None:
        super().__init__(f"{path} {what}{given}".strip())
        self.path = path
        """Of the key ("files[0].size"); empty for the document itself."""
        self.what = what
        """What is wrong, without the value, which may be a secret."""
        self.given = given
        """ ", not VALUE"; empty where the value is long or not known."""


def convert(document: object, kind: type[T]) -> T:
    """A document of dicts, lists and plain values as a `kind`; no text holds a zero byte. Raises SchemaError."""
    for path, value in _texts(document):
        if "\0" in value:
            raise SchemaError(path.removeprefix("."), "must not hold a zero byte")
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _explained(str(error), kind, document) from error
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON and a command line can hold
        raise SchemaError("", f"must be valid Unicode, which {error.object[:SHOWN]!r} is not") from error


def unknown_key(given: object, known: object, place: str = "") -> str | None:
    """The first key of `given` that the parsed document dropped, as a path; None where there is none."""
    children: list[tuple[str, object, object]] = []
    if isinstance(given, dict) and isinstance(known, dict):
        for key in given:
            if key not in known:
                return f"{place}.{key}".removeprefix(".")
        children = [(f"{place}.{key}", value, known[key]) for key, value in given.items()]
    elif isinstance(given, list) and isinstance(known, list):
        pairs = zip(given, known, strict=True)
        children = [(f"{place}[{index}]", left, right) for index, (left, right) in enumerate(pairs)]
    return next((key for name, left, right in children if (key := unknown_key(left, right, name))), None)


def _texts(document: object, path: str = "") -> Iterator[tuple[str, str]]:
    """All texts of a document with their paths."""
    if isinstance(document, str):
        yield path, document
    elif isinstance(document, list | tuple):
        for index, value in enumerate(document):
            yield from _texts(value, f"{path}[{index}]")
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from _texts(value, f"{path}.{key}")


def _explained(text: str, kind: type, document: object) -> SchemaError:
    """msgspec's message in words."""
    message, _, place = text.partition(" - at `$")
    place = place.rstrip("`")
    path = place.removeprefix(".")
    if missing := _MISSING.fullmatch(message):
        return SchemaError(f"{path}.{missing['key']}".removeprefix("."), "is missing")
    if not message.startswith(("Expected ", "Invalid enum value")):
        return SchemaError(path, f"cannot be used: {message}" if path else message)  # what a class's own check says
    schema: inspect.Type | None = inspect.type_info(kind)
    value: Any = document
    for step in _STEP.finditer(place):
        schema = _inside(schema, step["key"])
        try:
            value = value[step["key"] or int(step["index"])]
        except (ValueError, LookupError, TypeError):  # msgspec does not name the key of a table of free keys
            return SchemaError(path, f"must be {describe(schema)}")
    shown = repr(value)
    return SchemaError(path, f"must be {describe(schema)}", f", not {shown}" if len(shown) <= SHOWN else "")


def describe(schema: inspect.Type | None) -> str:
    """What a value of this type is, as "a whole number from 1 to 65535"."""
    match schema:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            words = str((extra or {}).get("description") or describe(inner))
        case inspect.UnionType(types=types):
            words = _choice(name for each in types for name in _names(each))
        case inspect.BoolType():
            words = "true or false"
        case inspect.IntType() | inspect.FloatType():
            words = _number(schema)
        case inspect.StrType():
            words = "text" if schema.pattern is None else f"text that matches {schema.pattern}"
        case inspect.LiteralType(values=values):
            words = _choice(map(str, values))
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            words = f"a list, each entry {describe(item)}"
        case inspect.DictType() | inspect.DataclassType() | inspect.StructType():
            words = "a table of keys"
        case _:
            words = "a value of another kind"
    return words


def _number(schema: inspect.IntType | inspect.FloatType) -> str:
    name = "a whole number" if isinstance(schema, inspect.IntType) else "a number"
    if schema.ge is not None and schema.le is not None:
        return f"{name} from {schema.ge:.12g} to {schema.le:.12g}"
    bounds = {"above": schema.gt, "of at least": schema.ge, "below": schema.lt, "of at most": schema.le}
    limits = [f"{words} {limit:.12g}" for words, limit in bounds.items() if limit is not None]
    return " ".join([name, " and ".join(limits)]).rstrip()


def _names(schema: inspect.Type) -> Sequence[str]:
    """What one part of a union may be; None is what a key is that is left out."""
    if isinstance(schema, inspect.LiteralType):
        return [str(value) for value in schema.values]
    return [] if isinstance(schema, inspect.NoneType) else [describe(schema)]


def _choice(values: Iterable[str]) -> str:
    *first, last = values
    return f"{', '.join(first)} or {last}" if first else last


def _inside(schema: inspect.Type | None, key: str | None) -> inspect.Type | None:
    """The type of the field `key`, or of the entries of a list or a table of free keys; None where it is not known."""
    match schema:
        case inspect.Metadata(type=inner):
            return _inside(inner, key)
        case inspect.UnionType(types=types):
            return next((part for each in types if (part := _inside(each, key)) is not None), None)
        case inspect.DataclassType(fields=entries) | inspect.StructType(fields=entries):
            return next((entry.type for entry in entries if entry.encode_name == key), None)
        case inspect.ListType() | inspect.VarTupleType():
            return schema.item_type
        case inspect.DictType():
            return schema.value_type
        case _:
            return None
