"""Captions to events: what is one thing, what is another, and when each ends."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from edgecap.caption import Assessment
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.events.event import Change, EventBuilder
from edgecap.live.events.similarity import overlap, stems
from support.live_parts import described


def hear(builder: EventBuilder, *captions: tuple[str, int], hop: float = 2.0, start: float = 0.0) -> list[Change]:
    """Captions (text, sound) one hop after the other."""
    changes = []
    for index, (text, sound) in enumerate(captions):
        end = start + (index + 1) * hop
        changes += builder.add(described(text, max(0.0, end - 10.0), end, sound=sound))
    return changes


def kinds(changes: list[Change]) -> list[str]:
    return [change.kind for change in changes]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("a dog is barking", "dogs bark"),
        ("a dog barks", "a dog barks and growls"),
        ("Rain falls", "rain is falling"),
        ("a man speaks", "men speaking then a man speaks"),
        ("people talking", "a person talks and people talk"),
    ],
)
def test_captions_that_say_the_same_share_their_words(left: str, right: str) -> None:
    assert overlap(stems(left), stems(right)) >= 0.5


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("a dog is barking", "a car is passing by"),
        ("a man speaks and music plays", "a man speaks and a dog barks"),
        ("birds chirp", "a bell rings"),
    ],
)
def test_captions_that_say_other_things_do_not(left: str, right: str) -> None:
    assert overlap(stems(left), stems(right)) < 0.5


def test_the_same_again_is_one_event() -> None:
    builder = EventBuilder(EventsConfig(settle=0))
    changes = hear(builder, ("a dog barks", 0), ("dogs barking", 1), ("a dog is barking", 0)) + builder.finish()
    assert kinds(changes) == ["begin", "update", "update", "end"]
    event = changes[-1].event
    assert (event.id, event.start, event.end, event.updates, event.open) == (1, 0.0, 6.0, 2, False)


def test_other_words_for_the_same_sound_are_the_same_event() -> None:
    changes = hear(EventBuilder(EventsConfig(settle=0)), ("a sheep bleats", 3), ("a man speaks and music plays", 3))
    assert kinds(changes) == ["begin", "update"]


def test_a_new_meaning_ends_the_event_and_begins_the_next_where_it_was_heard_first() -> None:
    changes = hear(EventBuilder(EventsConfig(settle=0)), ("a dog barks", 0), ("rain falls", 1))
    assert kinds(changes) == ["begin", "end", "begin"]
    assert (changes[1].event.end, changes[2].event.start, changes[2].event.end) == (2.0, 2.0, 4.0)


def test_an_event_shows_its_best_caption_and_its_loudest_level() -> None:
    builder = EventBuilder(EventsConfig(settle=0))
    builder.add(described("a dog barks", 0, 2, score=-0.9, level=-30))
    builder.add(described("a dog barks and growls", 0, 4, score=-0.4, level=-10))
    builder.add(described("a dog growls", 0, 6, score=-0.7, level=-20))
    (change,) = builder.finish()
    assert (change.event.text, change.event.score, change.event.level_dbfs) == ("a dog barks and growls", -0.4, -10)


def test_one_thing_does_not_fade_into_another_under_the_same_name() -> None:
    texts = ["dogs bark, cats meow", "cats meow, birds sing", "birds sing, bells ring"]
    changes = hear(
        EventBuilder(EventsConfig(settle=0, same_words=0.3)), *((text, index) for index, text in enumerate(texts))
    )
    assert kinds(changes) == ["begin", "update", "end", "begin"]


def test_an_event_unheard_for_long_enough_ends_where_it_was_heard_last() -> None:
    builder = EventBuilder(EventsConfig(settle=0, close_after=5.0))
    hear(builder, ("a dog barks", 0))
    assert builder.quiet_until(6.9) == []
    (change,) = builder.quiet_until(7.0)
    assert (change.kind, change.event.end) == ("end", 2.0)
    assert builder.quiet_until(100.0) == []


def test_a_hop_longer_than_the_time_to_close_does_not_cut_a_sound_that_goes_on() -> None:
    builder = EventBuilder(EventsConfig(settle=0, close_after=2.0))
    changes = hear(builder, *[("rain falls", 0)] * 3, hop=5.0)
    assert kinds(changes) == ["begin", "update", "update"]
    after_a_pause = builder.add(described("rain falls", 17.5, 20), onset=18.0)
    assert kinds(after_a_pause)[0] == "end"


def test_no_event_goes_on_for_ever() -> None:
    builder = EventBuilder(EventsConfig(settle=0, longest=60.0))
    changes = hear(builder, *[("rain falls", 0)] * 100) + builder.finish()
    ends = [change.event for change in changes if change.kind == "end"]
    assert [event.id for event in ends] == [1, 2, 3, 4]
    assert max(event.end - event.start for event in ends) <= 60.0
    assert ends[-1].end == 200.0
    assert all(left.end == right.start for left, right in pairwise(ends))


def test_what_was_told_just_before_is_not_told_again() -> None:
    builder = EventBuilder(EventsConfig(settle=0, cooldown=8.0))
    changes = hear(builder, ("a dog barks", 0), ("a man speaks", 1), ("a dog barks", 0))
    assert kinds(changes) == ["begin", "end", "begin", "end"]
    assert builder.suppressed == 1
    later = hear(builder, ("a dog barks", 0), start=20.0)
    assert kinds(later) == ["begin"]


def test_without_a_cooldown_everything_is_told() -> None:
    builder = EventBuilder(EventsConfig(settle=0, cooldown=-1.0))
    changes = hear(builder, ("a dog barks", 0), ("a man speaks", 1), ("a dog", 0))
    assert kinds(changes).count("begin") == 3


def test_an_unsure_caption_begins_nothing() -> None:
    builder = EventBuilder(EventsConfig(settle=0, min_score=-1.0))
    assert builder.add(described("a dog barks", 0, 2, score=-1.1)) == []
    assert kinds(builder.add(described("a dog barks", 0, 4, score=-0.9))) == ["begin"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [("dogs bark loudly", True), ("a man speaks", False), ("a dog barks while music plays", False)],
)
def test_words_choose_what_is_told(text: str, messages: bool) -> None:
    builder = EventBuilder(EventsConfig(settle=0, only=("dog", "siren"), ignore=("music",)))
    assert bool(builder.add(described(text, 0, 2))) == messages
    assert builder.suppressed == (not messages)


def test_what_is_filtered_does_not_keep_another_event_open() -> None:
    builder = EventBuilder(EventsConfig(settle=0, ignore=("music",), close_after=4.0))
    changes = hear(builder, ("a dog barks", 0), *[("music plays", 1)] * 4)
    assert kinds(changes) == ["begin", "end"]


def test_an_event_begins_where_its_sound_did_and_is_dated_by_the_clock_of_that_time() -> None:
    offset = 1000.0
    builder = EventBuilder(EventsConfig(settle=0), unix=lambda heard: heard + offset)
    (change,) = builder.add(described("a dog barks", 0, 10, sounded=9.5), onset=8.5)
    event = change.event
    assert (event.start, event.end, event.began, event.ended) == (8.5, 9.5, 1008.5, 1009.5)
    offset = 5000.0
    builder.shift(4000.0)
    (later,) = builder.add(described("a dog barks", 2, 12))
    assert (later.event.began, later.event.ended) == (5008.5, 5012.0)


def test_an_event_begins_when_two_captions_in_a_row_say_the_same() -> None:
    builder = EventBuilder(EventsConfig(settle=20.0))
    assert hear(builder, ("a door is closed", 0), ("a train passes", 0)) == []
    (change,) = hear(builder, ("a train passes by", 0), start=4.0)
    assert (change.kind, change.event.start, change.event.text) == ("begin", 0.0, "a train passes by")


def test_one_odd_caption_within_an_event_begins_nothing() -> None:
    builder = EventBuilder(EventsConfig())
    changes = hear(builder, ("rain falls", 0), ("rain falls", 0), ("a gun fires", 1), ("rain falls", 0), ("rain", 0))
    assert kinds(changes) == ["begin", "update", "update"]


def test_no_event_waits_longer_than_it_may() -> None:
    builder = EventBuilder(EventsConfig(settle=6.0))
    texts = ["a dog barks", "a car passes", "birds sing"]
    changes = hear(builder, *((text, index) for index, text in enumerate(texts)))
    assert [(change.kind, change.event.text, change.event.start) for change in changes] == [
        ("begin", "birds sing", 0.0)
    ]


def test_the_only_caption_of_a_short_sound_begins_its_event_when_the_sound_is_over() -> None:
    builder = EventBuilder(EventsConfig())
    assert hear(builder, ("a dog barks", 0)) == []
    assert builder.unsettled
    assert kinds(builder.settle()) == ["begin"]
    assert not builder.unsettled
    hear(builder, ("rain falls", 1), start=2.0)
    assert kinds(builder.finish()) == ["end", "begin", "end"]


def test_captions_that_are_filtered_hold_up_no_event() -> None:
    builder = EventBuilder(EventsConfig(only=("dog",), settle=6.0))
    changes = hear(builder, ("a car passes", 0), ("a dog barks", 1), ("a car passes", 0), ("a dog barks", 1))
    assert [(change.kind, change.event.start) for change in changes] == [("begin", 2.0)]


def test_an_event_as_a_document_has_everything_a_program_needs() -> None:
    (change,) = EventBuilder(EventsConfig(settle=0)).add(described("a dog barks", 0, 2))
    document = change.event.document(kind="begin")
    assert list(document) == [
        "kind",
        "id",
        "start",
        "end",
        "began",
        "ended",
        "text",
        "score",
        "level_dbfs",
        "updates",
        "open",
        "source",
        "rules",
        "named",
        "sounds",
        "model_text",
        "confidence",
        "calibrated",
    ]
    assert str(document["began"])[10] == "T"


def test_an_event_says_something_broader_where_its_caption_is_less_probable_than_asked_for() -> None:
    unsure = Assessment(0.4, 0.7, "an animal can be heard", "some sound, unclear")
    caption = replace(described("a dog barks", 0, 2), assessment=unsure)
    (change,) = EventBuilder(EventsConfig(settle=0)).add(caption)
    document = change.event.document()
    assert (document["text"], document["confidence"], document["calibrated"]) == ("an animal can be heard", 0.4, True)
    (change,) = EventBuilder(EventsConfig(settle=0, min_confidence=0.8)).add(caption)
    assert change.event.text == "some sound, unclear"
    (change,) = EventBuilder(EventsConfig(settle=0, min_confidence=0)).add(caption)
    assert change.event.text == "a dog barks"


def test_an_event_has_the_probability_of_the_caption_that_it_shows() -> None:
    builder = EventBuilder(EventsConfig(settle=0))
    for number, (score, confidence) in enumerate(((-0.5, 0.6), (-0.4, 0.9), (-0.6, 0.7))):
        sure = Assessment(confidence, 1.0, "an animal can be heard", "some sound, unclear")
        caption = described("a dog barks", 2 * number, 2 * number + 2, score=score)
        (change,) = builder.add(replace(caption, assessment=sure))
    assert (change.event.confidence, change.event.score) == (0.9, -0.4)


def test_without_a_probability_the_confidence_is_that_of_the_words() -> None:
    (change,) = EventBuilder(EventsConfig(settle=0)).add(described("a dog barks", 0, 2, score=-0.5))
    assert (change.event.text, change.event.document()["calibrated"]) == ("a dog barks", False)
    assert change.event.confidence == pytest.approx(0.607, abs=0.001)
