"""The main sound source of a recording, counted from words."""

from __future__ import annotations

import pytest

from edgecap_train.text.main_source import main_source, named_sources, names_main_source

DOG = [
    "A dog barks while a man talks",
    "A dog is barking",
    "Barking and wind",
    "A puppy barks near a road",
    "A dog growls",
]


def test_the_main_source_is_the_one_that_most_references_name() -> None:
    assert main_source(DOG) == "dog"


def test_of_sources_named_equally_often_the_first_named_is_the_main_one() -> None:
    assert main_source(["rain falls on a car", "rain and an engine"]) == "rain"
    assert main_source(["an engine in the rain", "a car in the rain"]) == "engine"


def test_a_caption_names_the_main_source_in_any_of_its_words() -> None:
    assert names_main_source("a dog is barking", DOG) is True
    assert names_main_source("rain falls, then puppies whine", DOG) is True
    assert names_main_source("a man is talking", DOG) is False


def test_references_that_name_no_known_source_judge_nothing() -> None:
    assert main_source(["something happens", "it goes on"]) is None
    assert names_main_source("a dog barks", ["something happens"]) is None


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("Distant claps of thunder", {"thunder"}),
        ("A man snoring", {"snoring"}),
        ("A cat meows", {"cat"}),
        ("cattle are mooing", {"cattle"}),
        ("A person in a scarf", set()),
    ],
)
def test_whole_words_and_beginnings_of_words_are_told_apart(text: str, sources: set[str]) -> None:
    assert set(named_sources(text)) == sources
