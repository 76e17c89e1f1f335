"""Words and the AudioSet classes that they are about; the lists are in `tables/lexicon.toml`.

Two uses. A caption may only be picked for a clip when the tagger's scores support what the caption's words claim:
AudioCaps' captions so often end in "... and a man speaks" that the consensus would put a man into every
recording. And classes that AudioCaps' own labels leave out (its clips were chosen without music, and of
527 classes it uses 326) get captions: from its texts, where a word proves the class, and from ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecap_train.text import load_table


@dataclass(frozen=True)
class SoundClaim:
    """The sound that words with one of these beginnings claim."""

    stems: tuple[str, ...]
    """Beginnings of words; one that ends in a space stands for the whole word."""
    classes: tuple[str, ...]
    """Any one of these classes supports the claim."""
    least: float = 0.1
    """The score from which a class supports it."""


_TABLE = load_table("lexicon")


def _classes(names: Sequence[str]) -> tuple[str, ...]:
    """Class names with every "@group" replaced by the classes of that group."""
    groups: dict[str, list[str]] = _TABLE["groups"]
    expanded = [_classes(groups[name[1:]]) if name.startswith("@") else (name,) for name in names]
    return tuple(name for part in expanded for name in part)


def _by_word(table: dict[str, str]) -> dict[str, str]:
    return {word: label for label, words in table.items() for word in words.split()}


CLAIMS = tuple(
    SoundClaim(tuple(entry["stems"]), _classes(entry["classes"]), entry.get("least", SoundClaim.least))
    for entry in _TABLE["claims"]
)
PROOF = _by_word(_TABLE["proof"])
"""Words that prove a class which the labels of a caption's clip may leave out."""
BROAD = frozenset(_classes(["@broad"]))
"""Classes that say little about a sound; left out where a caption has a narrower one."""
LIGHT = frozenset(_TABLE["light"].split())
"""Words that a sentence may repeat."""
SPEAKERS = _by_word(_TABLE["speakers"])
"""Words for who speaks, and the class of that voice."""


class ClaimCheck:
    """Compares the claims of captions with the scores of one tagger."""

    def __init__(self, classes: Sequence[str]) -> None:
        """`classes`: display names in output order; those that the lexicon does not know support nothing."""
        column = {name: index for index, name in enumerate(classes)}
        self._support = [[column[name] for name in claim.classes if name in column] for claim in CLAIMS]

    def made(self, words: Sequence[str]) -> NDArray[np.bool_]:
        """Which claims a caption makes: (claims,)."""
        return np.array([any(f"{word} ".startswith(claim.stems) for word in words) for claim in CLAIMS])

    def unsupported(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which claims the scores (classes,) in [0, 1] do not support: (claims,)."""
        supported = [
            bool(classes) and float(scores[classes].max()) >= claim.least
            for claim, classes in zip(CLAIMS, self._support, strict=True)
        ]
        return ~np.array(supported)

    def about(self, label: int) -> NDArray[np.bool_]:
        """Which claims class `label` supports: (claims,)."""
        return np.array([label in classes for classes in self._support])

    def is_false(self, words: Sequence[str], scores: NDArray[np.float32]) -> bool:
        """Whether the caption claims something that these scores do not support."""
        return bool((self.made(words) & self.unsupported(scores)).any())
