"""Documents of strangers: a value, or one kind of error."""

from __future__ import annotations

import pytest

from edgecap.errors import ConfigError
from edgecap.util.documents import from_json, from_toml
from edgecap.util.limits import MOST_NESTED
from edgecap.util.parsing import parse_address, parse_duration


def test_what_is_good_comes_back() -> None:
    assert from_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    assert from_json("[1]", pairs=dict) == [1]
    assert from_toml("a.b = [1]\n") == {"a": {"b": [1]}}


@pytest.mark.parametrize("depth", [MOST_NESTED + 1, 500, 100_000])
def test_nesting_is_bounded(depth: int) -> None:
    assert from_json("[" * MOST_NESTED + "]" * MOST_NESTED)
    with pytest.raises(ValueError, match="nested more than 64 levels"):
        from_json("[" * depth + "]" * depth)
    with pytest.raises(ValueError, match="nested more than 64 levels"):
        from_toml(f"a = {'[' * depth}{']' * depth}")


@pytest.mark.parametrize("text", ["{", b"\xff\xfe\xfa", "9" * 5000])
def test_what_cannot_be_read_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text)


def test_a_number_of_thousands_of_digits_is_a_wrong_option() -> None:
    for read, text in ((parse_address, "9" * 5000), (parse_duration, "9" * 5000 + "d")):
        with pytest.raises(ConfigError, match="invalid"):
            read(text)
