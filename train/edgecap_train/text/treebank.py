"""Words of sentences as captioning metrics count them: like the Penn Treebank tokenizer of pycocoevalcap.

That tokenizer is Stanford's, in Java, with punctuation left out of its result. These are its rules for what captions
hold, in any alphabet that separates words by blanks: letters with accents stay (in Unicode's composed form), numbers
such as 1,000 and 10:30 and abbreviations such as U.S. are one word, signs such as % and & are words, and brackets are
the words -lrb-, -rrb- and so on. The vocabulary of a model of this project has `edgecap_train.text.tokenizer.tokenize`.
"""

from __future__ import annotations

import re
import unicodedata

_CHARACTER = r"[^\s!-/:-@\[-`{-\u00bf\u00d7\u00f7\u2000-\u2bff\u3000-\u303f\uff01-\uff0f\U0001f000-\U0001faff]"
"""A letter, a digit or a combining mark of any alphabet: all but blanks, punctuation and symbols."""
_END = f"(?!{_CHARACTER})"
_START = f"(?<!{_CHARACTER})"
_QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u00b4", "'"))
_CLITIC = re.compile(rf"({_CHARACTER})((?i:'s|'re|'ve|'ll|'d|'m|n't)){_END}")
_ASSIMILATED = re.compile(rf"{_START}(?i:(can)(not)|(gon|wan)(na)|(got)(ta)|(lem|gim)(me)|('t)(is|was)){_END}")
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_WORD = re.compile(
    rf"""
      (?<!\S)(?i:'(?:s|re|ve|ll|d|m|t)|n't){_END}          # the second half of what _CLITIC splits
    | {_START}(?:[^\W\d_]\.){{2,}}{_END}                   # U.S., a.m.
    | {_START}[^\W\d_](?:\.[^\W\d_])+{_END}                # U.S
    | {_START}(?i:[a-z]|mrs?|ms|dr|st|mt|jr|sr|prof|vs|etc|no(?=\.\ \d))\.{_END}  # abbreviations keep their full stop
    | [A-Z]+(?:[+&][A-Z]+)+                                # AT&T, R&B
    | '(?:\d\ds?|(?i:em)){_END}                            # '90s, 'em
    | (?<!\S)[-+]\d+(?:[.,:/]\d+)*{_END}                   # -5
    | (?<!\S)\.\d+{_END}                                   # .5
    | \d+(?:[.,:/]\d+)+(?:-{_CHARACTER}+)*                 # 1,000  10:30  3.5  2.5-inch
    | @?(?:{_CHARACTER}|_)+(?:[-'/.](?:{_CHARACTER}|_)+)*  # two-tone, and/or, o'clock
    | [!?]{{2,}}                                           # several are not left out, as one is
    | [%&$\#@+=*/<>|\\^_~\u00a2-\u00a5\u00a7\u00b0\u20ac]  # signs that are words
    | [()\[\]{{}}]
    """,
    re.VERBOSE,
)


def treebank_words(text: str) -> tuple[str, ...]:
    """Lower-case words of a sentence without punctuation; none for one of blanks and full stops.

    "A café at 10:30, isn't it?" → ("a", "café", "at", "10:30", "is", "n't", "it")
    """
    text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    text = _ASSIMILATED.sub(lambda match: " ".join(filter(None, match.groups())), _CLITIC.sub(r"\1 \2", text))
    words = (_BRACKETS.get(word, word.lower()) for word in _WORD.findall(text))
    return tuple(unicodedata.normalize("NFC", word) for word in words)
