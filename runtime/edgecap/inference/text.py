"""Tokens to a sentence. Captions are lower-case words as the Penn Treebank tokenizer cuts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgecap.bundle.manifest import VocabularySpec

CLITICS = {"'s", "'", "n't", "'re", "'ve", "'ll", "'d", "'m"}
"""Endings that the tokenizer cuts off a word."""
JOINED_TO_THE_LEFT = frozenset({*CLITICS, ",", ".", ";", ":", "!", "?", "%", ")"})
JOINED_TO_THE_RIGHT = frozenset({"(", "$", "#"})
BRACKETS = {"-lrb-": "(", "-rrb-": ")"}
"""How the Treebank writes round brackets."""


def sentence(tokens: Iterable[int], vocabulary: Sequence[str], spec: VocabularySpec) -> str:
    """The sentence that token ids spell: special tokens dropped, "man 's" as "man's", no space before a comma.

    Raises IndexError for an id outside the vocabulary.
    """
    special = {spec.pad, spec.start, spec.end, spec.unk}
    text, glue = "", True
    for token in tokens:
        if token in special:
            continue
        word = BRACKETS.get(vocabulary[token], vocabulary[token])
        text += word if glue or word in JOINED_TO_THE_LEFT else f" {word}"
        glue = word in JOINED_TO_THE_RIGHT
    return text
