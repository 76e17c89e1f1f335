"""Rules of the configuration: what an event matches, and which outputs get it."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import soundfile

import edgecap as package
from edgecap.errors import ConfigError
from edgecap.live.config.config_file import load_config, outputs
from edgecap.live.config.config_text import render_config
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, ModelConfig, OutputConfig, SourceConfig
from edgecap.live.config.rule_config import RuleConfig
from edgecap.live.events.event import Change, Event, Kind
from edgecap.live.events.rules import Rules, matches
from edgecap.live.session import ListenSession, _check_sources
from support.live_parts import Messages, change, notifier
from support.signals import RATE, noise, tone

MONDAY = datetime(2026, 11, 23)


def rule(**keys: Any) -> RuleConfig:
    return RuleConfig(**{"name": "a", **keys})


@pytest.mark.parametrize(
    ("keys", "matched"),
    [
        ({}, True),
        ({"words": ("dogs", "cat")}, True),
        ({"words": ("cat",)}, False),
        ({"without": ("bark",)}, False),
        ({"words": ("dog",), "without": ("cat",)}, True),
        ({"sources": ("usb",)}, True),
        ({"sources": ("kitchen",)}, False),
        ({"min_level": -12.4}, True),
        ({"min_level": -12.0}, False),
        ({"min_confidence": 0.6}, True),
        ({"min_confidence": 0.64}, False),
    ],
)
def test_an_event_matches_where_all_that_is_set_holds(keys: dict[str, Any], matched: bool) -> None:
    assert matches(rule(**keys), change("begin").event, MONDAY) == matched


TIMES = "Mon 00:00, Mon 05:59, Mon 06:00, Mon 08:30, Mon 17:00, Mon 22:00, Mon 23:59, Tue 05:59, Tue 06:00"


@pytest.mark.parametrize(
    ("hours", "days", "inside"),
    [
        ("22:00-06:00", (), "Mon 00:00, Mon 05:59, Mon 22:00, Mon 23:59, Tue 05:59"),
        ("08:30-17:00", (), "Mon 08:30"),
        ("00:00-24:00", (), TIMES),
        ("22:00-06:00", ("mon",), "Mon 22:00, Mon 23:59, Tue 05:59"),
        (None, ("tue",), "Tue 05:59, Tue 06:00"),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(hours: str | None, days: tuple[str, ...], inside: str) -> None:
    matched = []
    for text in TIMES.split(", "):
        hour, minute = map(int, text[4:].split(":"))
        began = MONDAY + timedelta(days=text.startswith("Tue"), hours=hour, minutes=minute)
        if matches(rule(hours=hours, days=days), change("begin").event, began):
            matched.append(text)
    assert ", ".join(matched) == inside


def given(rules: Rules, output: str, *changes: Change) -> list[tuple[Kind, int, tuple[str, ...]]]:
    got = []
    for item in changes:
        answer = rules.given(rules.apply(item), output)
        if answer is not None:
            got.append((answer.kind, answer.event.id, answer.event.rules))
    return got


def events(number: int, *texts: str, began: float = 0.0) -> list[Change]:
    """An event whose caption changes."""
    first = change("begin", number, texts[0]).event
    first = replace(first, began=began, ended=began + 1.0)
    updates = [replace(first, text=text, ended=began + 1.0 + n) for n, text in enumerate(texts)]
    return [
        Change("begin", first),
        *(Change("update", event) for event in updates[1:]),
        Change("end", replace(updates[-1], open=False)),
    ]


ALARM = rule(name="alarm", words=("alarm",), outputs=("exec", "mqtt"))


def test_an_output_of_a_rule_gets_what_matches_and_the_others_everything() -> None:
    both = [*events(1, "an alarm rings", "an alarm rings loudly"), *events(2, "a dog barks")]
    assert given(Rules([ALARM]), "exec", *both) == [(kind, 1, ("alarm",)) for kind in ("begin", "update", "end")]
    assert given(Rules([ALARM]), "journal", *both) == [
        *((kind, 1, ("alarm",)) for kind in ("begin", "update", "end")),
        ("begin", 2, ()),
        ("end", 2, ()),
    ]


def test_an_event_that_matches_late_begins_then_and_stays_to_its_end() -> None:
    late = events(1, "a bell", "an alarm rings", "a bell", "a bell")
    got = given(Rules([ALARM]), "mqtt", *late)
    assert got == [(kind, 1, ("alarm",)) for kind in ("begin", "update", "update", "end")]


def test_an_output_of_two_rules_gets_one_beginning() -> None:
    second = rule(name="bell", words=("bell",), outputs=("exec",))
    got = given(Rules([ALARM, second]), "exec", *events(1, "an alarm rings", "a bell and an alarm"))
    assert got == [("begin", 1, ("alarm",)), ("update", 1, ("alarm", "bell")), ("end", 1, ("alarm", "bell"))]


def test_after_a_match_a_rule_rests_for_its_cooldown_whatever_the_clock_does() -> None:
    rules = Rules([replace(ALARM, cooldown=60.0)])
    times = [(1, 0.0), (2, 30.0), (3, 61.0)]
    begun = [given(rules, "exec", *events(number, "an alarm rings", began=began)) for number, began in times]
    assert [len(got) for got in begun] == [2, 0, 2]
    rules.clock_set(-1000.0)
    assert given(rules, "exec", *events(4, "an alarm rings", began=-920.0)) == []
    assert len(given(rules, "exec", *events(5, "an alarm rings", began=-870.0))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "a b"', r"a\.toml:4: \[\[rules\]\] number 1, name: 'a b' must be 1 to 40 letters, digits, _ and -"),
        ('name = "a"\n[[rules]]\nname = "a"', r"a\.toml:6: \[\[rules\]\] number 2, name: two rules are called a"),
        ("words = []", r"a\.toml:3: \[\[rules\]\] number 1, name is missing"),
        ('name = "a"\nhours = "22-6"', r"a\.toml:5: .*hours: hours are written as 22:00-06:00, not '22-6'"),
        ('name = "a"\nhours = "06:00-06:00"', r"a\.toml:5: .*hours"),
        ('name = "a"\ndays = ["friday"]', r"there is no day 'friday'; there are mon, tue, wed, thu, fri, sat, sun"),
        (
            'name = "a"\noutputs = ["exek"]',
            r"there is no output 'exek'; there are csv, exec, journal, keep_audio, mqtt,",
        ),
        ('name = "a"\noutputs = ["metrics"]', r"there is no output 'metrics'"),
        ('name = "a"\noutputs = ["exec"]', r"the output exec is not configured; configured are journal, print"),
        (
            'name = "a"\nmin_level = 3',
            r"a\.toml:5: \[\[rules\]\] number 1, min_level must be a number from -120 to 0, not 3",
        ),
        ('name = "a"\noutput = "exec"', r"a\.toml:5: \[\[rules\]\] has no key 'output'; it has cooldown, days, hours,"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.toml").write_text(f'[output]\njournal = "a.db"\n[[rules]]\n{text}\n')
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "a.toml")


def test_a_word_that_no_caption_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="rule a: words: 'the' is not a content word"):
        Rules([rule(words=("dog", "the"))])


def test_rules_are_written_and_read_and_without_any_an_example_is_shown(tmp_path: Path) -> None:
    rules = [rule(words=("dog",), hours="22:00-06:00", days=("mon", "sun"), outputs=("print",)), rule(name="b")]
    config = ListenConfig(rules=rules)
    (tmp_path / "a.toml").write_text(render_config(config))
    assert load_config(tmp_path / "a.toml") == config
    assert outputs() >= {"csv", "exec", "journal", "keep_audio", "mqtt", "print", "web", "webhook"}


def test_without_rules_an_example_is_shown_that_works(tmp_path: Path) -> None:
    text = render_config(ListenConfig(output=OutputConfig(exec="true")))
    start = text.index("# [[rules]]")
    (tmp_path / "a.toml").write_text(text[:start] + text[start:].replace("# ", ""))
    (alarm,) = load_config(tmp_path / "a.toml").rules
    assert (alarm.name, alarm.hours, alarm.outputs) == ("alarm", "22:00-06:00", ("exec",))


def test_a_rule_for_a_microphone_that_is_not_there_is_refused_where_that_is_certain() -> None:
    rules, messages = [rule(sources=("Kitchen", "attic"))], Messages()
    one = ListenConfig(rules=rules, microphones=[MicrophoneConfig(device="a", name="kitchen")])
    with pytest.raises(ConfigError, match="rule a: no microphone is called 'attic'; there are kitchen"):
        _check_sources(one, ["kitchen"], notifier(messages))
    assert messages == []
    _check_sources(ListenConfig(rules=rules), ["USB Audio", "kitchen"], notifier(messages))
    assert [text for _, text in messages] == [
        "rule a: no microphone is called 'attic'; there are USB Audio, kitchen; give each a name in [[microphones]]"
    ]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quiet with a loud tone and, later, a softer one."""
    samples = noise(30, level=10 ** (-72 / 20))
    samples[3 * RATE : 6 * RATE] += tone(3)
    samples[20 * RATE : 23 * RATE] += 0.05 * tone(3)
    path = tmp_path_factory.mktemp("rules") / "sound.wav"
    soundfile.write(path, samples, RATE)
    return path


def test_one_listener_keeps_everything_and_tells_only_alarms(tiny_folder: Path, sound: Path, tmp_path: Path) -> None:
    command = f'cat >> "{tmp_path}/told"; echo "$EDGECAP_RULES" >> "{tmp_path}/rules"'
    loud = rule(name="loud", min_level=-20.0, outputs=("exec", "print"))
    config = ListenConfig(
        source=SourceConfig(file=str(sound), speed=0.0),
        model=ModelConfig(name=str(tiny_folder)),
        events=EventsConfig(min_score=-99.0, cooldown=0.0),
        output=OutputConfig(journal=str(tmp_path / "a.db"), exec=command),
        rules=[loud, rule(name="any")],
    )
    messages = Messages()
    with ListenSession(config, notifier(messages)) as session:
        changes = [*session.changes(threading.Event())]
    begun = [item.event.rules for item in changes if item.kind == "begin"]
    assert begun == [("loud", "any"), ("any",)]
    database = sqlite3.connect(tmp_path / "a.db")
    assert database.execute("SELECT count(*) FROM events").fetchall() == [(2,)]
    database.close()
    assert [json.loads(line)["rules"] for line in (tmp_path / "told").read_text().splitlines()] == [["loud", "any"]]
    assert (tmp_path / "rules").read_text() == "loud,any\n"


def test_rules_by_keyword_from_python(tiny_folder: Path, sound: Path) -> None:
    rules = [{"name": "loud", "min_level": -20.0}]
    more: dict[str, Any] = {"model": str(tiny_folder), "file": str(sound), "speed": 0, "min_score": -99.0}
    got: list[Event] = [*package.listen(rules=rules, **more)]
    assert [event.rules for event in got] == [("loud",), ()]
    with pytest.raises(ConfigError, match=r"^\[\[rules\]\] number 1, min_level must be a number from -120 to 0, not 3"):
        package.listen(rules=[{"name": "loud", "min_level": 3.0}], **more)
