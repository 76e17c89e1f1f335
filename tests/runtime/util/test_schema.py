"""What is refused of a document is said in words, not in types of Python or regular expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import inspect

from edgecap.bundle.manifest import Manifest
from edgecap.errors import ConfigError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.listen_config import ListenConfig
from edgecap.util.schema import SchemaError, convert, describe
from edgecap_train.distill.recipe import TrainingRecipe


def string_types(schema: object, seen: set[int]) -> list[inspect.Type]:
    """All types of a document, those within others too."""
    if id(schema) in seen or not isinstance(schema, inspect.Type | inspect.Field | tuple):
        return []
    seen.add(id(schema))
    parts = schema if isinstance(schema, tuple) else [getattr(schema, name) for name in schema.__struct_fields__]
    own = [schema] if isinstance(schema, inspect.Type) else []
    return own + [each for part in parts for each in string_types(part, seen)]


@pytest.mark.parametrize("kind", [ListenConfig, Manifest, TrainingRecipe])
def test_every_type_of_a_document_has_words(kind: type) -> None:
    types = string_types(inspect.type_info(kind), set())
    patterns = [each for each in types if isinstance(each, inspect.StrType) and each.pattern]
    described = [each.type for each in types if isinstance(each, inspect.Metadata) and each.extra_json_schema]
    assert [each.pattern for each in patterns if each not in described] == []
    words = {describe(each) for each in types if each not in described and not isinstance(each, inspect.NoneType)}
    assert "a value of another kind" not in words
    assert not any(sign in text for text in words for sign in "`^$\\")


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("mqtt", {"port": "high"}, "mqtt.port must be a whole number from 1 to 65535, not 'high'"),
        ("mqtt", {"queue": 0}, "mqtt.queue must be a whole number from 1 to 100000, not 0"),
        ("mqtt", {"tls": "yes"}, "mqtt.tls must be true or false, not 'yes'"),
        ("stream", {"gate": -200}, "stream.gate must be auto, off or a number from -120 to 0, not -200"),
        ("output", {"hook_on": "x"}, "output.hook_on must be begin, both or end, not 'x'"),
        ("output", {"keep": "30"}, "output.keep must be a number and m, h, d or w, such as .*30d.*, not '30'"),
        ("events", {"only": ["dog", 3]}, r"events.only\[1\] must be text, not 3"),
    ],
)
def test_a_value_is_refused_with_what_it_must_be(section: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=f"^{message}$"):
        convert({section: values}, ListenConfig)


def test_a_missing_key_and_a_classs_own_check_are_told_as_they_are() -> None:
    with pytest.raises(SchemaError, match=r"^format is missing$"):
        convert({}, Manifest)
    with pytest.raises(SchemaError, match=r"^rules\[0\]\.name is missing$"):
        convert({"rules": [{"words": ["dog"]}]}, ListenConfig)


def test_a_secret_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[web]\ntoken = "too short!"\n')
    with pytest.raises(ConfigError, match=r"a\.toml:2: web\.token must be 12 to 128 letters") as caught:
        load_config(tmp_path / "a.toml")
    assert "too short" not in str(caught.value)
