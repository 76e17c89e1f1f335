"""Names of sounds in any script: how they are stored, what is refused, and their identifiers."""

from __future__ import annotations

import unicodedata

import pytest

from edgecap.errors import ConfigError
from edgecap.sounds.names import LONGEST_IDENTIFIER, identifier_of, is_same, shown_name

NAMES = {
    "Japanese": "呼び鈴",
    "Chinese": "门铃",
    "Korean": "초인종",
    "Russian": "наш звонок",
    "Greek": "το κουδούνι",
    "Arabic": "جرس الباب",
    "Hebrew": "פעמון הדלת",
    "Persian, with a joiner": "زنگ خانه\u200cمان",
    "Hindi": "दरवाज़े की घंटी",
    "Thai": "กริ่งประตู",
    "Tamil": "அழைப்பு மணி",
    "Amharic": "የበር ደወል",
    "emoji": "🔔",
    "emoji of several": "👨\u200d👩\u200d👧 at the door",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert shown_name(unicodedata.normalize("NFD", name)) == unicodedata.normalize("NFC", name)
    identifier = identifier_of(name)
    assert identifier.isascii()
    assert identifier == identifier.lower()
    assert identifier.replace("-", "").isalnum()
    assert identifier_of(f"  {unicodedata.normalize('NFD', name)} ") == identifier


def test_identifiers_of_names_are_all_different_and_stay_as_they_are() -> None:
    names = [*NAMES.values(), "犬", "猫", "犬 dog", "猫 dog", "dog", "naš zvonek", "Tor", "Tør"]
    names += ["a very long name of a sound that is cut somewhere", "a very long name of a sound that is cut anywhere"]
    assert len({identifier_of(name) for name in names}) == len(names)
    assert all(len(identifier_of(name)) <= LONGEST_IDENTIFIER for name in names)
    # written into topics, entities and file names of users: these never change
    stored = {"our doorbell": "our-doorbell", "Küche: Mixer!": "kuche-mixer", "Straße": "strasse"}
    stored |= {"呼び鈴": "sound-7e93e2e5", "犬 dog": "dog-b1e77506"}
    assert {name: identifier_of(name) for name in stored} == stored


def test_no_name_can_be_written_to_get_the_identifier_of_another() -> None:
    taken = identifier_of("呼び鈴")
    assert identifier_of(taken) != taken
    assert identifier_of("dog-b1e77506") != identifier_of("犬 dog")


@pytest.mark.parametrize(
    "name",
    [
        *("", "  ", "\u3000", "a\nb", "a\tb", "x" * 61, "bell\x00", "bell\x1b[2J", "bell\u2028", "bell\x85"),
        *("\u202ellebrood", "bell\u2066", "\u200fbell", "\u061cbell", "\u200bbell", "bell\ufeff", "be\u00adll"),
        *("\u3164", "\u115f\u1160", "\u0301", "be\u200cll", "呼\u200d", "\ud800", "\ue000", "\U000e0041", "\u0378"),
    ],
)
def test_what_cannot_be_seen_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="the name of a sound has 1 to 60 printable characters"):
        shown_name(name)
    with pytest.raises(ConfigError):
        identifier_of(name)


def test_spaces_of_any_width_are_one_space() -> None:
    assert shown_name(" our\u00a0\u3000door  bell ") == "our door bell"


def test_a_name_is_recognised_however_it_was_typed() -> None:
    name = shown_name("Küche Ж")
    for wanted in (name, "KÜCHE ж", unicodedata.normalize("NFD", name), identifier_of(name)):
        assert is_same(wanted, name, identifier_of(name))
    assert not is_same("kuche", name, identifier_of(name))
