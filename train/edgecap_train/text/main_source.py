"""Whether a caption names the main sound source of a recording, counted from words.

People who describe a recording agree on what is mainly heard and differ in all else. The main source is the one that
most of a recording's references name; of several, the one that they name first. A caption names it where one of its
words has one of that source's beginnings. Who speaks does not matter, that somebody does is the source; words for
people alone ("a man …") name none, since what he does is what is heard.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecap_train.text.captions import tokenize

SOURCES: dict[str, tuple[str, ...]] = {
    "speech": (
        "speak",
        "speech",
        "spoke",
        "talk",
        "convers",
        "says ",
        "saying ",
        "voice",
        "narrat",
        "chat",
        "shout",
        "yell",
        "scream",
        "whisper",
        "announc",
        "convey",
        "lectur",
        "communicat",
    ),
    "music": ("music", "song", "melod", "instrument", "guitar", "piano", "violin", "flute", "organ ", "tune", "drum"),
    "singing": ("sing ", "sings ", "singing ", "choir", "rapp", "chant"),
    "laughter": ("laugh", "giggl", "chuckl"),
    "crying": ("cry", "cries ", "sob", "whimper", "wail"),
    "snoring": ("snor",),
    "sneezing": ("sneez",),
    "coughing": ("cough",),
    "burping": ("burp", "belch"),
    "breathing": ("breath", "pant ", "pants ", "panting "),
    "whistling": ("whistl",),
    "crowd": ("applau", "clapping ", "cheer", "crowd", "audience"),
    "footsteps": ("footstep", "walk", "steps "),
    "dog": ("dog", "bark", "pupp", "growl", "howl"),
    "cat": ("cat ", "cats ", "kitten", "meow", "purr"),
    "bird": (
        "bird",
        "chirp",
        "tweet",
        "pigeon",
        "coo ",
        "coos ",
        "cooing ",
        "duck",
        "quack",
        "goose",
        "geese ",
        "gull",
        "rooster",
        "chicken",
        "cluck",
        "crow ",
        "crows ",
        "crowing ",
        "owl",
        "hoot",
    ),
    "sheep or goat": ("sheep", "goat", "bleat", "baa", "lamb"),
    "cattle": ("cow ", "cows ", "moo", "cattle"),
    "horse": ("horse", "neigh", "trot", "gallop", "hoof", "hooves", "clop"),
    "pig": ("pig ", "pigs ", "oink"),
    "frog": ("frog", "croak"),
    "insect": ("insect", "bee ", "bees ", "fly ", "flies ", "mosquito", "cricket", "wasp", "buzz"),
    "wind": ("wind ", "winds ", "windy ", "breeze", "blow", "gust"),
    "rain": ("rain",),
    "thunder": ("thunder",),
    "water": (
        "water",
        "splash",
        "liquid",
        "drip",
        "gurgl",
        "trickl",
        "pour",
        "faucet",
        "river",
        "stream",
        "creek",
        "flush",
        "toilet",
        "wave ",
        "waves ",
        "ocean",
        "surf ",
        "sea ",
        "boat",
        "fountain",
    ),
    "train": ("train", "railroad", "subway", "locomotive"),
    "siren": ("siren", "ambulance", "police", "emergency"),
    "aircraft": ("helicopter", "plane", "airplane", "aircraft", "jet ", "propeller"),
    "engine": (
        "engine",
        "motor",
        "vehicle",
        "car ",
        "cars ",
        "truck",
        "traffic",
        "rev ",
        "revs ",
        "revving ",
        "idl",
        "accelerat",
        "bus ",
        "race",
    ),
    "horn": ("horn", "honk"),
    "gun": ("gun", "shot", "shoot", "fir ", "explo", "firework", "artillery"),
    "clock": ("clock", "tick"),
    "keyboard": ("typing", "types ", "keyboard", "typewriter"),
    "alarm": ("beep", "alarm", "phone", "telephone", "ringing ", "rings ", "buzzer"),
    "bell": ("bell", "chime", "ding"),
    "frying": ("sizzl", "fry ", "frying ", "fries ", "cook"),
    "sewing machine": ("sew",),
    "spray": ("spray", "hiss"),
    "door": ("door", "slam", "knock", "creak"),
    "tool": ("saw ", "sawing ", "saws ", "drill", "sand", "hammer", "chainsaw", "tool", "scrap", "fil ", "grind"),
    "rustling": ("rustl", "crinkl", "crumpl", "paper", "plastic"),
    "dishes": ("dish", "silverware", "plate", "clink"),
    "machine": ("machine", "vacuum", "blender", "mechanic", "hum ", "hums ", "humming ", "fan ", "whir"),
    "eating": ("chew", "eat ", "eating ", "crunch"),
    "fire": ("fire ", "crackl", "flame"),
}
"""Beginnings of words for each source; one that ends in a space stands for the whole word."""


def named_sources(text: str) -> dict[str, int]:
    """The sources that a caption names, each with the place of the first word that does."""
    found: dict[str, int] = {}
    for place, word in enumerate(tokenize(text)):
        for source, stems in SOURCES.items():
            if source not in found and f"{word} ".startswith(stems):
                found[source] = place
    return found


def main_source(references: Sequence[str]) -> str | None:
    """The source that most references name, of several the one named first on the average; None for none."""
    named = [named_sources(text) for text in references]
    places = {source: [clip[source] for clip in named if source in clip] for source in SOURCES}
    heard = {source: (-len(at), sum(at) / len(at)) for source, at in places.items() if at}
    return min(heard, key=lambda source: heard[source]) if heard else None


def names_main_source(caption: str, references: Sequence[str]) -> bool | None:
    """Whether the caption names the main source of the recording; None where the references name none."""
    source = main_source(references)
    return None if source is None else source in named_sources(caption)
