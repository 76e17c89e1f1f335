"""Tokens become a sentence as people write it."""

from __future__ import annotations

import pytest

from edgecap.bundle.manifest import VocabularySpec
from edgecap.caption import sentence

SPEC = VocabularySpec(size=4)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a man 's voice", "a man's voice"),
        ("a dog barks , then rain falls", "a dog barks, then rain falls"),
        ("it does n't stop", "it doesn't stop"),
        ("a car -lrb- loud -rrb- passes", "a car (loud) passes"),
        ("rain", "rain"),
        ("", ""),
    ],
)
def test_words_are_joined(words: str, expected: str) -> None:
    vocabulary = ["<pad>", "<start>", "<end>", "<unk>", *words.split()]
    assert sentence([*range(4, len(vocabulary)), 2, 0, 0], vocabulary, SPEC) == expected


def test_special_tokens_are_dropped_wherever_they_are() -> None:
    assert sentence([1, 4, 3, 5, 2], ["<pad>", "<start>", "<end>", "<unk>", "a", "dog"], SPEC) == "a dog"
