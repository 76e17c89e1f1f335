"""The pool's clips whose label can be trusted, and captions composed of those labels in AudioCaps' manner.

Trusted are sets that people labelled by ear or recorded on purpose: ESC-50, a part of UrbanSound, single orchestra
instruments, crying babies, and speech by people whose voice is named. All else in the pool is audio-only data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Words = tuple[str, ...]


@dataclass(frozen=True)
class Sound:
    """One sound as a caption tells it."""

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


PLURAL = frozenset({"birds", "crickets", "insects", "fireworks", "children", "footsteps", "church bells", "waves"})

_TOLD = {
    "airplane": "an airplane|flies overhead|flying overhead",
    "breathing": "a person|breathes|breathing",
    "brushing teeth": "a person|brushes teeth|brushing teeth",
    "can opening": "a can|opens|opening",
    "car horn": "a car horn|honks|honking",
    "cat": "a cat|meows|meowing",
    "chainsaw": "a chainsaw|runs|running",
    "chirping birds": "birds|chirp|chirping",
    "church bells": "church bells|ring|ringing",
    "clapping": "a person|claps|clapping",
    "clock alarm": "an alarm clock|beeps|beeping",
    "clock tick": "a clock|ticks|ticking",
    "coughing": "a person|coughs|coughing",
    "cow": "a cow|moos|mooing",
    "crackling fire": "a fire|crackles|crackling",
    "crickets": "crickets|chirp|chirping",
    "crow": "a crow|caws|cawing",
    "crying baby": "a baby|cries|crying",
    "dog": "a dog|barks|barking",
    "door knock": "a person|knocks on a door|knocking on a door",
    "door wood creaks": "a door|creaks|creaking",
    "drinking sipping": "a person|drinks|drinking",
    "engine": "an engine|idles|idling",
    "fireworks": "fireworks|explode|exploding",
    "footsteps": "a person|walks|walking",
    "frog": "a frog|croaks|croaking",
    "glass breaking": "glass|breaks|breaking",
    "hand saw": "a person|saws wood|sawing wood",
    "helicopter": "a helicopter|flies|flying",
    "hen": "a chicken|clucks|clucking",
    "insects": "insects|buzz|buzzing",
    "keyboard typing": "a person|types on a keyboard|typing on a keyboard",
    "laughing": "a person|laughs|laughing",
    "mouse click": "a mouse|clicks|clicking",
    "pig": "a pig|oinks|oinking",
    "pouring water": "water|is poured|being poured",
    "rain": "rain|falls|falling",
    "rooster": "a rooster|crows|crowing",
    "sea waves": "waves|crash|crashing",
    "sheep": "a sheep|bleats|bleating",
    "siren": "a siren|wails|wailing",
    "sneezing": "a person|sneezes|sneezing",
    "snoring": "a person|snores|snoring",
    "thunderstorm": "thunder|rumbles|rumbling",
    "toilet flush": "a toilet|flushes|flushing",
    "train": "a train|passes by|passing by",
    "vacuum cleaner": "a vacuum cleaner|runs|running",
    "washing machine": "a washing machine|runs|running",
    "water drops": "water|drips|dripping",
    "wind": "wind|blows|blowing",
    "air conditioner": "a fan|blows|blowing",
    "children playing": "children|play|playing",
    "dog bark": "a dog|barks|barking",
    "engine idling": "an engine|idles|idling",
    "gun shot": "a gun|fires|firing",
    "jackhammer": "a jackhammer|hammers|hammering",
    "street music": "music|plays|playing",
    "baby cry": "a baby|cries|crying",
    "female speech": "a woman|speaks|speaking",
    "male speech": "a man|speaks|speaking",
    "trombone": "a trombone|plays|playing",
    "saxophone": "a saxophone|plays|playing",
    "guitar": "a guitar|plays|playing",
    "flute": "a flute|plays|playing",
    "cello": "a cello|plays|playing",
    "clarinet": "a clarinet|plays|playing",
    "banjo": "a banjo|plays|playing",
    "mandolin": "a mandolin|plays|playing",
}
TOLD = {label: Sound(*told.split("|")) for label, told in _TOLD.items()}
TRUSTED_SETS = frozenset({"esc50", "urbansound_sub", "philharmonia", "donateacry", "deb_speech"})
HELD_OUT = re.compile(r"esc50/.*-5-\d+-[a-z]\.opus$")
"""ESC-50's fifth fold, which no run learns from; its folds share no recording."""


def sound_of(file: str, set_name: str, label: str) -> Sound | None:
    """What a clip of the pool is, or None where that cannot be trusted. `file` is its path in the pool."""
    return TOLD.get(label) if set_name in TRUSTED_SETS else None


def is_held_out(file: str) -> bool:
    """Whether a clip is kept for judging."""
    return HELD_OUT.search(file) is not None


def one(sound: Sound) -> list[Words]:
    """Captions of a single sound, each of them true."""
    return _words(sound.plain, sound.going_on, sound.present, f"{sound.plain} nearby", f"{sound.going_on} nearby")


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
