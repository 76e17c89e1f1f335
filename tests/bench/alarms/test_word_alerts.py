"""How often captions' words give the built-in names, on captions whose answers are known."""

from __future__ import annotations

from edgecap.live.events.alerts import WORD_ALERTS
from edgecap_bench.alarms.words import LABELS, WordRecall, measure


def test_each_name_is_counted_on_its_clips_and_on_all_others() -> None:
    captions = {
        "door bell": ["a door bell rings nearby", "a telephone is ringing"],
        "dog": ["a dog barks"],
        "rain": ["a dog is barking in the rain", "rain falls"],
    }
    results = {result.name: result for result in measure(captions)}
    assert results["doorbell"] == WordRecall("doorbell", 2, 1, 3, 0)
    assert results["dog-barking"] == WordRecall("dog-barking", 1, 1, 4, 1)
    assert results["knocking"] == WordRecall("knocking", 0, 0, 5, 0)


def test_every_name_by_words_has_labels() -> None:
    assert LABELS.keys() == {alert.identifier for alert in WORD_ALERTS}
