"""The place of a named sound in a caption's sentence.

The rule: where the caption has the last word of the name, or a word that this ends with, as "bell" of "doorbell", the
name takes its place with the article and up to two words before it: "a loud bell rings while a dog barks" becomes "our
doorbell rings while a dog barks". Otherwise the name comes first: "our doorbell is heard while a dog barks".
"""

from __future__ import annotations

import re

SHORTEST_PART = 4
"""Letters of a word at the end of a name's last word that stands for it."""
_DETERMINERS = {"a", "an", "the", "some", "another", "our", "my", "your", "his", "her", "their", "its", "this", "that"}
_WORD = re.compile(r"[^\W\d_]+(?:'s)?")


def in_words(caption: str, name: str) -> str:
    """The caption with a named sound in it."""
    named = _with_article(name)
    words = [*_WORD.finditer(caption)]
    last = _WORD.findall(name.casefold())[-1:]
    for place, word in enumerate(words):
        if last and _stands_for(word[0].casefold(), last[0]):
            first = place
            for before in range(place - 1, max(-1, place - 4), -1):
                if words[before][0].casefold() in _DETERMINERS:
                    first = before
                    break
            return caption[: words[first].start()] + named + caption[word.end() :]
    return f"{named} is heard while {caption}" if caption else f"{named} is heard"


def _stands_for(word: str, last: str) -> bool:
    return word == last or (len(word) >= SHORTEST_PART and last.endswith(word))


def _with_article(name: str) -> str:
    """The name as a part of a sentence: "a smoke alarm", "our doorbell", "the neighbour's dog"."""
    words = _WORD.findall(name.casefold())
    if not words or words[0] in _DETERMINERS or words[0].endswith("'s") or not name.isascii():
        return name
    return f"{'an' if name[0].casefold() in 'aeiou' else 'a'} {name}"
