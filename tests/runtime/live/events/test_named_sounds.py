"""Named sounds: their own events, their place in captions, filters, rules, and every output."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import edgecap as package
from edgecap.errors import ConfigError
from edgecap.in_words import in_words
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.config.rule_config import RuleConfig
from edgecap.live.events.alerts import NAMES, chosen, said
from edgecap.live.events.describe import HeardSound
from edgecap.live.events.event import EventBuilder
from edgecap.live.events.named import NamedSounds
from edgecap.live.events.rules import check_words, matches
from edgecap.live.sinks.hooks import program
from edgecap.live.sinks.journal import Journal
from edgecap.sounds.alarm_patterns import T3
from edgecap.sounds.names import identifier_of
from edgecap_bench.alarms.signals import alarm
from edgecap_bench.live.virtual_microphone import VirtualMicrophone
from support.live_parts import change, described, ignore
from support.mqtt_parts import eventually
from support.virtual_microphone import listen, next_event, until

DOORBELL = HeardSound("our doorbell", "our-doorbell", 0.9, 10.0, 11.0)


def named(**settings: Any) -> NamedSounds:
    return NamedSounds(EventsConfig(**settings), lambda: "hall", count(1), 0, lambda seconds: 1e9 + seconds)


@pytest.mark.parametrize(
    ("caption", "name", "sentence"),
    [
        ("a bell rings while a dog barks", "our doorbell", "our doorbell rings while a dog barks"),
        ("a dog barks and a loud metallic bell rings", "our doorbell", "a dog barks and our doorbell rings"),
        ("a dog barks", "our doorbell", "our doorbell is heard while a dog barks"),
        ("an alarm beeps", "smoke alarm", "a smoke alarm beeps"),
        ("a dog barks twice", "Anna's dog", "Anna's dog barks twice"),
        ("wind blows", "oven timer", "an oven timer is heard while wind blows"),
        ("a label is torn", "our doorbell", "our doorbell is heard while a label is torn"),
        ("the bells ring", "our doorbell", "our doorbell is heard while the bells ring"),
        ("", "our doorbell", "our doorbell is heard"),
        ("a dog barks", "呼び鈴", "呼び鈴 is heard while a dog barks"),
        ("a dog barks", "47", "47 is heard while a dog barks"),
    ],
)
def test_a_name_takes_its_place_in_the_sentence(caption: str, name: str, sentence: str) -> None:
    assert in_words(caption, name) == sentence


def test_a_sound_is_one_event_until_it_is_not_heard_again() -> None:
    sounds = named()
    [begin] = sounds.hear(DOORBELL, -20.0)
    assert (begin.kind, begin.event.text, begin.event.named) == ("begin", "our doorbell", "our-doorbell")
    assert (begin.event.began, begin.event.source, begin.event.level_dbfs) == (1e9 + 10.001, "hall", -20.0)
    assert begin.event.confidence == pytest.approx(0.9)
    assert sounds.hear(replace(DOORBELL, confidence=0.5), -30.0) == []  # the next window has the same ring
    [update] = sounds.hear(replace(DOORBELL, start=14.0, end=15.0, confidence=0.95), -10.0)
    assert (update.kind, update.event.id, update.event.end, update.event.level_dbfs) == ("update", 1, 15.0, -10.0)
    assert update.event.confidence == pytest.approx(0.95)
    assert sounds.quiet_until(22.9) == []
    [end] = sounds.quiet_until(23.0)
    assert (end.kind, end.event.open, end.event.end) == ("end", False, 15.0)
    assert sounds.hear(replace(DOORBELL, start=14.2, end=14.9), -20.0) == []  # an old window comes late
    assert [each.event.id for each in sounds.hear(replace(DOORBELL, start=30.0, end=31.0), -20.0)] == [2]


def test_several_sounds_have_an_event_each() -> None:
    sounds = named()
    sounds.hear(DOORBELL, -20.0)
    sounds.hear(HeardSound("smoke alarm", "smoke-alarm", 0.99, 9.0, 17.0), -5.0, hold=10.0)
    assert [each.event.named for each in sounds.quiet_until(19.5)] == ["our-doorbell"]
    sounds.shift(3600.0)
    [end] = sounds.finish()
    assert (end.event.named, end.event.began) == ("smoke-alarm", 1e9 + 9.001 + 3600.0)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({"only": ("our doorbell",)}, True),
        ({"only": ("our-doorbell",)}, True),
        ({"only": ("Our Doorbell",)}, True),
        ({"only": ("doorbell",)}, True),
        ({"only": ("dog",)}, False),
        ({"only": ("our washing machine",)}, False),
        ({"ignore": ("our doorbell",)}, False),
        ({"ignore": ("dog",)}, True),
    ],
)
def test_filters_take_its_name(filters: dict[str, tuple[str, ...]], *, passes: bool) -> None:
    assert bool(named(**filters).hear(DOORBELL, -20.0)) is passes


@pytest.mark.parametrize(
    ("wanted", "passes"), [("наш Звонок", True), ("звонок", True), ("呼び鈴", False), ("Küche", False)]
)
def test_filters_take_a_name_in_any_script(wanted: str, *, passes: bool) -> None:
    heard = replace(DOORBELL, name="наш звонок", identifier=identifier_of("наш звонок"))
    check_words("only", (wanted,), names=True)
    assert bool(named(only=(wanted,)).hear(heard, -20.0)) is passes
    builder = EventBuilder(EventsConfig(only=(wanted,), settle=0.0))
    assert [*builder.add(described("a dog barks", 0.0, 2.0)), *builder.finish()] == []
    with pytest.raises(ConfigError, match="'the' is not a content word"):
        check_words("only", ("the",), names=True)


def test_an_event_of_captions_has_the_sounds_in_it() -> None:
    sounds, event = named(), change("begin", text="a bell rings and a dog barks").event
    event = replace(event, start=5.0, end=12.0)
    assert sounds.with_sounds(event) == event
    sounds.hear(DOORBELL, -20.0)
    sounds.hear(HeardSound("dog barking", "dog-barking", 0.6, 6.0, 12.0), -20.0)
    with_both = sounds.with_sounds(event, unsaid=("dog-barking",))
    assert with_both.text == "our doorbell rings and a dog barks"
    assert [sound.identifier for sound in with_both.sounds] == ["our-doorbell", "dog-barking"]
    later = replace(event, start=11.5, end=20.0)
    assert [sound.identifier for sound in sounds.with_sounds(later).sounds] == ["dog-barking"]
    document: Any = with_both.document()
    assert document["named"] == ""
    assert document["sounds"][0] == {"name": "our doorbell", "identifier": "our-doorbell", "confidence": 0.9}


def test_a_rule_is_bound_to_the_events_of_a_sound() -> None:
    [begin] = named().hear(DOORBELL, -20.0)
    captioned = named().with_sounds(change("begin", text="a bell rings").event)
    for words in ("our doorbell", "our-doorbell", "OUR DOORBELL"):
        rule = RuleConfig(name="door", sounds=("knocking", words))
        assert matches(rule, begin.event, datetime(2026, 11, 28))
        assert not matches(rule, captioned, datetime(2026, 11, 28))
    assert not matches(RuleConfig(name="door", sounds=("knocking",)), begin.event, datetime(2026, 11, 28))


@pytest.mark.parametrize(
    ("text", "seconds", "names"),
    [
        ("a dog is barking and a baby cries", 3.0, ["baby-crying", "dog-barking"]),
        ("glass shatters", 1.0, ["glass-breaking"]),
        ("a glass is filled with water", 90.0, ["running-water"]),
        ("water runs from a faucet", 59.0, []),
        ("someone knocks on a door", 1.0, ["knocking"]),
        ("a doorbell rings", 1.0, ["doorbell"]),
        ("a door bell rings nearby", 1.0, ["doorbell"]),
        ("a door closes and a bell rings", 1.0, []),
        ("a man speaks about dogs", 1.0, []),
    ],
)
def test_captions_say_the_built_in_names(text: str, seconds: float, names: list[str]) -> None:
    assert [alert.identifier for alert in said(tuple(NAMES), text, seconds)] == names


def test_alerts_are_chosen_by_name_or_identifier() -> None:
    assert chosen(("Smoke alarm", "co-alarm", "carbon monoxide alarm")) == ["smoke-alarm", "co-alarm", "co-alarm"]
    with pytest.raises(ConfigError, match="there is no 'cat'; there are smoke-alarm, co-alarm, glass-breaking"):
        chosen(("cat",))


def test_an_older_journal_gets_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    journal = Journal(str(path), "30d", ignore, model="tiny", wall=lambda: 1e9)
    journal.close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE events DROP COLUMN sounds")
        database.execute("ALTER TABLE events DROP COLUMN named")
    database.close()
    journal = Journal(str(path), "30d", ignore, model="tiny", wall=lambda: 1e9)
    [begin] = named().hear(DOORBELL, -20.0)
    journal.on_event(begin)
    journal.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT text, named, sounds FROM events").fetchall() == [
            (
                "our doorbell",
                "our-doorbell",
                '[{"name": "our doorbell", "identifier": "our-doorbell", "confidence": 0.9}]',
            )
        ]
    database.close()


def test_a_hook_gets_the_names_in_its_environment(tmp_path: Path) -> None:
    out = tmp_path / "out"
    hook = program(f'echo "$EDGECAP_NAMED/$EDGECAP_SOUNDS/$EDGECAP_TEXT" > {out}', "begin", ignore, model="tiny")
    [begin] = named().hear(DOORBELL, -20.0)
    hook.on_event(begin)
    eventually(lambda: out.exists() and out.read_text())
    assert out.read_text() == "our-doorbell/our doorbell/our doorbell\n"
    hook.close()


def test_a_smoke_alarm_is_an_event_in_every_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path / "home"))
    random = np.random.default_rng(3)
    samples = 0.1 * alarm(T3, "piezo", 20.0, 16_000, random).samples + 1e-3 * random.standard_normal(320_000)
    soundfile.write(tmp_path / "alarm.wav", samples, 16_000)
    places = {key: str(tmp_path / key) for key in ("journal", "csv", "keep_audio")}
    rules = [{"name": "fire", "sounds": ["smoke alarm"], "outputs": ["csv"]}]
    options: dict[str, Any] = {**places, "rules": rules, "hop": 5.0}
    events = [*package.listen(file=str(tmp_path / "alarm.wav"), speed=0, on="end", **options)]
    [own] = [event for event in events if event.named]
    assert (own.text, own.named, own.rules) == ("smoke alarm", "smoke-alarm", ("fire",))
    assert own.end - own.start > 10.0
    assert math.exp(own.score) == own.confidence > 0.5
    captions = [event for event in events if not event.named]
    assert captions
    assert any("smoke alarm" in event.text and event.sounds for event in captions)
    assert json.dumps(own.document())
    rows = [*csv.DictReader((tmp_path / "csv").read_text(encoding="utf-8").splitlines())]
    assert [(row["text"], row["named"]) for row in rows] == [("smoke alarm", "smoke-alarm")]
    with sqlite3.connect(tmp_path / "journal") as database:
        stored = database.execute("SELECT count(*), sum(named = 'smoke-alarm') FROM events").fetchone()
    database.close()
    assert stored == (len(events), 1)
    assert len([*(tmp_path / "keep_audio").glob("*.flac")]) == len(events)


def test_a_microphone_hears_a_smoke_alarm(microphone: VirtualMicrophone, tiny_folder: Path, tmp_path: Path) -> None:
    made = alarm(T3, "piezo", 40.0, 16_000, np.random.default_rng(4))
    soundfile.write(tmp_path / "alarm.wav", 0.1 * made.samples, 16_000)
    listening = listen(microphone, tiny_folder, "--json", "--only", "smoke alarm")
    until(listening, "listening to")
    microphone.play(tmp_path / "alarm.wav")
    event = next_event(listening)
    listening.terminate()
    listening.communicate(timeout=60)
    assert (event["text"], event["named"]) == ("smoke alarm", "smoke-alarm")


def test_a_wrong_alert_is_refused_at_the_start(edgecap: Callable[..., Any]) -> None:
    outcome = edgecap("listen", "--alert", "cat", "--file", "x.wav")
    assert (outcome.returncode, "there is no 'cat'" in outcome.stderr) == (ConfigError.exit_code, True)
