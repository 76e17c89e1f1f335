"""Whether two captions say the same, by their words.

Content words are compared at their stems, so that "a dog is barking" and "dogs bark" are one thing. The stems are
crude on purpose: captions are plain English, and a wrong stem only has to be wrong the same way twice.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z]+")
FUNCTION_WORDS = frozenset(
    _WORD.findall("""
    a an the is are was were be being been and or in on of at to with as by for from into onto over while then
    than that this it its his her their there someone something some several few many more very followed nearby
    background foreground
    """)
)
_ENDINGS = ("ings", "ing", "ies", "ed", "es", "s", "e", "y")
_SHORTEST_STEM = 3


def stem(word: str) -> str:
    """A word without its ending: "barking", "barks" and "barked" are "bark"."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            word = word[: -len(ending)]
            break
    if len(word) > _SHORTEST_STEM and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]  # running, chopped
    return word[:-1] if len(word) > _SHORTEST_STEM and word[-1] == "e" else word


def stems(text: str) -> frozenset[str]:
    """Stems of the content words of a caption."""
    return frozenset(stem(word) for word in _WORD.findall(text.lower()) if word not in FUNCTION_WORDS)


def overlap(left: frozenset[str], right: frozenset[str]) -> float:
    """Share of the words of both that are common to both (Jaccard), 1 where neither has any."""
    union = left | right
    return len(left & right) / len(union) if union else 1.0
