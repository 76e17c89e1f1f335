"""The pool's clips whose label can be trusted, and captions composed of those labels in AudioCaps' manner.

Trusted are sets that people labelled by ear or recorded on purpose: ESC-50, a part of UrbanSound, single orchestra
instruments, crying babies, and speech by people whose voice is named. All else in the pool is audio-only data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecap_train.text import load_table

Words = tuple[str, ...]


@dataclass(frozen=True)
class Sound:
    """The words for one sound."""

    who: str
    verb: str
    doing: str

    @property
    def plain(self) -> str:
        """ "a dog barks" """
        return f"{self.who} {self.verb}"

    @property
    def going_on(self) -> str:
        """ "a dog barking" """
        return f"{self.who} {self.doing}"

    @property
    def present(self) -> str:
        """ "a dog is barking" """
        return f"{self.who} {'are' if self.who in PLURAL else 'is'} {self.doing}"


_TABLE = load_table("label_templates")
PLURAL = frozenset(_TABLE["plural"])
SOUNDS = {label: Sound(*words) for label, words in _TABLE["labels"].items()}
"""Trusted label → the words for it."""
TRUSTED_SETS = frozenset({"esc50", "urbansound_sub", "philharmonia", "donateacry", "deb_speech"})
HELD_OUT = re.compile(r"esc50/.*-5-\d+-[a-z]\.opus$")
"""ESC-50's fifth fold, which no run learns from; its folds share no recording."""


def sound_of(file: str, set_name: str, label: str) -> Sound | None:
    """What a clip of the pool is, or None where that cannot be trusted. `file` is its path in the pool."""
    return SOUNDS.get(label) if set_name in TRUSTED_SETS else None


def is_held_out(file: str) -> bool:
    """Whether a clip is kept for evaluation."""
    return HELD_OUT.search(file) is not None


def one(sound: Sound) -> list[Words]:
    """Captions of a single sound, each of them true."""
    return _words(sound.plain, sound.going_on, sound.present)


def after(first: Sound, second: Sound) -> list[Words]:
    """Captions of one sound after the other."""
    return _words(
        f"{first.going_on} followed by {second.going_on}",
        f"{first.plain} followed by {second.going_on}",
        f"{first.plain} then {second.plain}",
        f"{first.present} then {second.plain}",
        f"{first.plain} and then {second.plain}",
    )


def together(first: Sound, second: Sound) -> list[Words]:
    """Captions of two sounds at the same time."""
    return _words(
        f"{first.plain} and {second.plain}",
        f"{first.plain} as {second.plain}",
        f"{second.plain} as {first.plain}",
        f"{first.going_on} and {second.going_on}",
        f"{first.present} while {second.plain}",
    )


def _words(*texts: str) -> list[Words]:
    return [tuple(text.split()) for text in texts]
