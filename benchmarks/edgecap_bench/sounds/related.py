"""Which sounds of a pool are of a class, or like it by name: they do not count as unrelated to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

WORDS = {
    "airplane": "plane|jet|aircraft|flight",
    "birds": "bird|kus|chirp|maad",
    "breathing": "breath",
    "brushing_teeth": "brush|teeth",
    "can_opening": "can|open",
    "car_horn": "horn|honk",
    "cat": "cat|meow",
    "chainsaw": "saw",
    "chirping_birds": "bird|kus|chirp|maad",
    "church_bells": "bell",
    "clapping": "clap|applau",
    "clock_alarm": "alarm|beep|clock",
    "clock_tick": "clock|tick",
    "coughing": "cough",
    "cow": "cow|inek|moo",
    "crackling_fire": "fire|crackl|burn",
    "crickets": "cricket|insect|cicada|night|maad",
    "crow": "crow|raven",
    "crying_baby": "baby|cry|infant",
    "dog": "dog|bark",
    "door_knock": "knock",
    "door_wood_creaks": "creak|door|squeak",
    "door_wood_knock": "knock",
    "drinking_sipping": "drink|sip",
    "engine": "engine|motor|car|idl|truck|vehic",
    "fireworks": "firework|explo|rocket|bang",
    "footsteps": "step|walk|foot",
    "frog": "frog|kurbaga",
    "glass_breaking": "glass|break|shatter",
    "hand_saw": "saw",
    "helicopter": "heli|chopper",
    "hen": "hen|tavuk|chicken|rooster",
    "insects": "insect|bee|mosq|fly",
    "keyboard_typing": "keyboard|typing|type",
    "laughing": "laugh",
    "mouse_click": "mouse|click",
    "pouring_water": "water|pour",
    "rain": "rain|drizzl|storm",
    "rooster": "rooster|cock|crow",
    "sea_waves": "sea|wave|ocean|beach|surf",
    "sheep": "sheep|koyun|goat|lamb",
    "siren": "siren|ambul|police|fire ?truck",
    "sneezing": "sneez",
    "snoring": "snor",
    "thunderstorm": "thunder|storm|lightning",
    "toilet_flush": "toilet|flush",
    "train": "train|rail|metro|subway|tram",
    "vacuum_cleaner": "vacuum|hoover",
    "washing_machine": "wash|laundry",
    "water_drops": "drop|drip|water",
    "wind": "wind",
}
"""Class → an expression that finds its words in labels and file names."""
SIGNALS = {
    *("car_horn", "church_bells", "clock_alarm", "clock_tick", "engine", "hand_saw", "keyboard_typing", "mouse_click"),
    *("siren", "toilet_flush", "vacuum_cleaner", "washing_machine", "can_opening", "chainsaw"),
}
"""Classes of mechanical and electronic signals."""


def related(label: str, labels: Iterable[str]) -> bool:
    """Whether one of the labels has a word of the class `label`."""
    return any(_pattern(label).search(text) for text in labels)


@cache
def _pattern(label: str) -> re.Pattern[str]:
    # kitchen20's classes are numbers, so nothing but its own clips is known to be like them
    return re.compile(WORDS.get(label, re.escape(label.replace("_", " "))), re.IGNORECASE)
