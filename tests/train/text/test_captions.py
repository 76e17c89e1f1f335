"""Words of captions, their labels, and the vocabulary."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecap.bundle.vocabulary import SPECIALS
from edgecap.errors import TableError
from edgecap_train.teachers.tagger import class_names
from edgecap_train.text.captions import LabelledCaption, read_audiocaps, with_proven_labels, without_echo
from edgecap_train.text.handwritten_captions import labelled_captions, plain_captions
from edgecap_train.text.lexicon import CLAIMS, PROOF
from edgecap_train.text.tokenizer import END, Tokenizer, build_vocabulary, tokenize

SHARED = os.environ.get("EDGECAP_SHARED")


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A man's dog, barking.", ("a", "man", "'s", "dog", "barking")),
        ("Two-tone horns don’t stop", ("two-tone", "horns", "do", "n't", "stop")),
        ("'A person snoring", ("'a", "person", "snoring")),
        ("  ", ()),
    ],
)
def test_a_sentence_becomes_lower_case_words_without_punctuation(sentence: str, words: tuple[str, ...]) -> None:
    assert tokenize(sentence) == words


def test_the_commonest_word_comes_first_and_rare_ones_stay_out() -> None:
    vocabulary = build_vocabulary([("a", "dog"), ("a", "cat"), ("a", "dog")], least=2)
    assert vocabulary == (*SPECIALS, "a", "dog")


def test_a_caption_with_an_unknown_word_or_too_many_words_is_not_encoded() -> None:
    encoder = Tokenizer((*SPECIALS, "a", "dog"))
    assert encoder.encode(("a", "dog"), 3) == [4, 5, END]
    assert encoder.encode(("a", "cat"), 3) is None
    assert encoder.encode(("a", "dog"), 2) is None
    assert encoder.encode((), 3) is None


def test_captions_of_held_out_clips_are_not_read(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text('youtube_id,caption,labels\none,A dog barks,Dog\ntwo,"Rain falls","Rain;Water"\n')
    read = read_audiocaps(table, without={"one"})
    assert read == [LabelledCaption("two", ("rain", "falls"), ("Rain", "Water"))]


def test_a_table_without_the_columns_is_refused_by_name(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("youtube_id,text\none,A dog barks\n")
    with pytest.raises(TableError, match="caption"):
        read_audiocaps(table)


def test_words_prove_labels_that_the_table_leaves_out() -> None:
    caption = LabelledCaption("x", ("a", "man", "speaks", "over", "music"), ("Speech",))
    assert with_proven_labels(caption, speakers=False).labels == ("Speech", "Music")
    assert "Male speech, man speaking" in with_proven_labels(caption, speakers=True).labels


def test_our_own_captions_are_plain_and_about_what_audiocaps_lacks() -> None:
    labels = {label for caption in plain_captions() for label in caption.labels}
    assert {"Music", "Piano", "White noise", "Cattle, bovinae", "Knock"} <= labels
    assert all(caption.words and not caption.clip for caption in plain_captions())


def test_our_own_captions_stand_in_only_where_people_wrote_little(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    rows = ['A cow moos loudly,"Cattle, bovinae;Moo"'] * 5 + ["A dog barks loudly,Dog"] * 30
    lines = [f"{clip},{row}\n" for clip, row in enumerate(rows)]
    table.write_text("youtube_id,caption,labels\n" + "".join(lines))
    ours = {" ".join(caption.words) for caption in labelled_captions(table) if not caption.clip}
    assert "a cow moos" in ours
    assert "a dog barks" not in ours


@pytest.mark.skipif(SHARED is None, reason="EDGECAP_SHARED names no folder with AudioSet's class names")
def test_every_class_in_the_lexicon_and_in_our_captions_is_one_of_audiosets() -> None:
    known = set(class_names(Path(str(SHARED)) / "models" / "efficientat"))
    assert {name for claim in CLAIMS for name in claim.classes} <= known
    assert set(PROOF.values()) <= known
    assert {label for caption in plain_captions() for label in caption.labels} <= known


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a person coughs and coughs", "a person coughs"),
        ("a rooster crowing followed by a rooster crowing", "a rooster crowing"),
        ("a person coughs and then coughs", "a person coughs"),
        ("knocking and knocking with some knocking", "knocking"),
        ("a man speaks and then another man speaks", "a man speaks and then another man speaks"),
        ("a dog barks and a man speaks", "a dog barks and a man speaks"),
        ("birds birds birds", "birds birds birds"),
    ],
)
def test_a_sentence_is_cut_where_it_repeats_itself(text: str, kept: str) -> None:
    assert " ".join(without_echo(tuple(text.split()))) == kept
