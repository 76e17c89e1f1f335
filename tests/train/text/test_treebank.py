"""Words as captioning metrics count them."""

from __future__ import annotations

import pytest

from edgecap_train.text.treebank import treebank_words


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A man's dog, barking.", "a man 's dog barking"),
        ("Two-tone horns don\u2019t stop", "two-tone horns do n't stop"),
        ("'A person snoring' near dogs' bowls", "a person snoring near dogs bowls"),
        ("A café, na\u00efve jazz", "a café naïve jazz"),
        ("A cafe\u0301 and nai\u0308ve jazz", "a café and naïve jazz"),
        ("L'eau coule; d\u2019abord l'été", "l'eau coule d'abord l'été"),
        ("Собака лает", "собака лает"),
        ("मृदंग बजता है", "मृदंग बजता है"),
        ("1,000 birds at 10:30 and 7:30am", "1,000 birds at 10:30 and 7:30 am"),
        ("3.5 seconds, 2nd try: 10/30 or 5-6", "3.5 seconds 2nd try 10/30 or 5-6"),
        ("In the U.S. it rains at 3 a.m., in the U.S", "in the u.s. it rains at 3 a.m. in the u.s"),
        ("Mr. Smith, rain etc.", "mr. smith rain etc."),
        ("50% of R&B and/or rock & roll", "50 % of r&b and/or rock & roll"),
        ("It cannot stop, gonna rain at 8 o'clock", "it can not stop gon na rain at 8 o'clock"),
        ("(applause) [music]", "-lrb- applause -rrb- -lsb- music -rsb-"),
        ("A dog barks -- twice... \u2014 then stops\u2026", "a dog barks twice then stops"),
        ("Barking.Then rain at No. 5, no. Plan B. What?!", "barking.then rain at no. 5 no plan b. what ?!"),
        ("  ", ""),
        ("...", ""),
        ("\u2026 ?", ""),
    ],
)
def test_words_are_those_of_the_penn_treebank_tokenizer(sentence: str, words: str) -> None:
    assert treebank_words(sentence) == tuple(words.split())
