"""The captions that a teacher may use: AudioCaps' own, and plain ones of single sounds, written for this project.

AudioCaps chose its clips by 326 of AudioSet's 527 classes, mostly with somebody speaking. A cow, a knock
on wood or a piano alone has no caption there, and the nearest one would be false. The words of these few hundred
sentences are in `tables/handwritten_captions.toml`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from edgecap_train.text import load_table
from edgecap_train.text.captions import LabelledCaption, read_audiocaps, with_proven_labels
from edgecap_train.text.tokenizer import tokenize

_TABLE = load_table("handwritten_captions")
SOUNDS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = tuple(
    (who, verb, doing, tuple(classes)) for who, verb, doing, *classes in _TABLE["sounds"]
)
"""Who or what, verb, -ing form, classes."""
ENOUGH = 30
"""Human captions with a class from which on none of ours are needed."""
PLURAL = frozenset(_TABLE["plural"])


def labelled_captions(table: Path, held_out: Collection[str] = ()) -> list[LabelledCaption]:
    """The captions of a table (see `read_audiocaps`) with the labels that their words prove, and our own.

    Our own only of sounds that people hardly wrote about: elsewhere their words are better. The captions of clips in
    `held_out` are left out. Raises TableError.
    """
    captions = [with_proven_labels(caption, speakers=True) for caption in read_audiocaps(table, held_out)]
    written = Counter(label for caption in captions for label in set(caption.labels))
    return captions + [caption for caption in plain_captions() if written[caption.labels[0]] < ENOUGH]


def plain_captions() -> list[LabelledCaption]:
    """Several captions for each sound, instrument and noise, with the classes that each is about."""
    captions = []
    for who, verb, doing, classes in SOUNDS:
        be = "are" if who in PLURAL else "is"
        predicates = (verb, doing, f"{be} {doing}")
        captions += [LabelledCaption("", tokenize(f"{who} {predicate}"), classes) for predicate in predicates]
    for label in _TABLE["instruments"]:
        texts = _TABLE["music"][:2]  # which instrument it is, small students guess, and say "a bass drum" of much else
        captions += [LabelledCaption("", tokenize(text), (label, "Musical instrument", "Music")) for text in texts]
    captions += [LabelledCaption("", tokenize(text), ("Music",)) for text in _TABLE["music"]]
    noises = [(text, label) for text in _TABLE["noise"] for label in _TABLE["noise_classes"]]
    return captions + [LabelledCaption("", tokenize(text), (label,)) for text, label in noises]
