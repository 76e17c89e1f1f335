"""Captions are ranked by how many of the words they have, in any inflection, and by how rare these are."""

from __future__ import annotations

import pytest

from edgecap.archive_search.words import MOST_WORDS, WordIndex, query_words
from edgecap.errors import ConfigError

CAPTIONS = (
    "a dog is barking near the water",
    "dogs bark in a kennel",
    "water is flowing over stones",
    "a man is speaking",
    "a man speaks while water is running",
    "a woman is singing",
)


def ranked(text: str, *, need_all: bool = False) -> list[str]:
    ranks = WordIndex(CAPTIONS).rank(query_words(text), need_all=need_all)
    return sorted(ranks, key=lambda caption: -ranks[caption])


def test_captions_with_more_of_the_words_come_first_in_any_inflection() -> None:
    assert ranked("dogs barked near waters")[:2] == [CAPTIONS[0], CAPTIONS[1]]
    assert set(ranked("dogs barked near waters")) == {CAPTIONS[0], CAPTIONS[1], CAPTIONS[2], CAPTIONS[4]}


def test_of_captions_with_equally_many_that_with_the_rarer_word_is_first() -> None:
    assert ranked("water singing")[0] == "a woman is singing"


def test_all_words_may_be_asked_for() -> None:
    assert ranked("man water", need_all=True) == ["a man speaks while water is running"]
    assert ranked("man kennel", need_all=True) == []


def test_the_whole_part_of_a_rank_counts_the_words() -> None:
    assert {caption: int(rank) for caption, rank in WordIndex(CAPTIONS).rank(("man", "water")).items()} == {
        CAPTIONS[0]: 1, CAPTIONS[2]: 1, CAPTIONS[3]: 1, CAPTIONS[4]: 2,
    }  # fmt: skip


def test_words_without_meaning_are_left_out_unless_there_are_no_others() -> None:
    assert query_words("A dog is in the Water") == ("dog", "water")
    assert query_words("is there") == ("is", "there")


def test_signs_of_a_query_language_are_not_obeyed() -> None:
    assert set(ranked('dog* OR "man')) == {CAPTIONS[0], CAPTIONS[1], CAPTIONS[3], CAPTIONS[4]}
    assert ranked("text:dog NEAR(water)")[0] == CAPTIONS[0]


@pytest.mark.parametrize("text", ["", "!?", " ".join(map(str, range(MOST_WORDS + 1)))])
def test_a_text_without_words_or_with_too_many_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"words; name 1 to 32"):
        query_words(text)


def test_an_underscore_is_a_space_and_a_long_text_is_shown_in_part() -> None:
    assert query_words("dog_bark _") == ("dog", "bark")
    with pytest.raises(ConfigError) as refused:
        query_words("word" * 10 + " x" * 100_000 + " y" * 9 + "".join(f" {number}" for number in range(99)))
    assert len(str(refused.value)) < 200
