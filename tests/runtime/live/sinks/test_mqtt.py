"""What the sink sends when, against a real mosquitto."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.errors import ConfigError, MissingDependencyError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, SourceConfig
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.events.describe import HeardSound
from support.live_parts import Clock, Messages, change, notifier, story, usb_status

Run = Callable[..., subprocess.CompletedProcess[str]]

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the extra mqtt)")
from edgecap.live.sinks.mqtt import STATE_SECONDS, Mqtt, names_of  # noqa: E402 - after the check
from support.mqtt_parts import MOSQUITTO, Reader, RealBroker, eventually, retained, until  # noqa: E402

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
HERE = "home/attic/microphone"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RealBroker]:
    started = RealBroker(tmp_path)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def reader(broker: RealBroker) -> Iterator[Reader]:
    reading = Reader(broker.port)
    yield reading
    reading.close()


@pytest.fixture
def messages() -> Messages:
    return []


def sink(
    broker: RealBroker, messages: Messages, *, clock: Callable[[], float] = time.monotonic, **more: object
) -> Mqtt:
    own = {key: more.pop(key) for key in ("names", "rules", "sounds", "audio_kept") if key in more}
    config = MqttConfig(**{"host": "127.0.0.1", "port": broker.port, "topic": "home", "node": "attic", **more})  # type: ignore[arg-type]
    return Mqtt(config, notifier(messages), model="tiny", clock=clock, **own)  # type: ignore[arg-type]


def states(reader: Reader, key: str, topic: str = HERE) -> list[object]:
    return [document[key] for document in reader.documents(f"{topic}/state")]


def captions(reader: Reader) -> list[object]:
    return [document["state"] for document in reader.documents(f"{HERE}/caption")]


def test_an_event_is_sent_once_when_it_begins_and_once_when_it_ends(
    broker: RealBroker, reader: Reader, messages: Messages
) -> None:
    mqtt = sink(broker, messages)
    for number in range(10):
        for item in story(number):  # the same caption ten times
            mqtt.on_event(item)
    mqtt.close()
    eventually(lambda: reader.of("home/attic/availability")[-1:] == ["offline"])
    begun, ended = reader.documents(f"{HERE}/event"), reader.documents(f"{HERE}/ended")
    assert [document["id"] for document in begun] == [document["id"] for document in ended] == list(range(10))
    first = begun[0]
    assert (first["event_type"], first["kind"], first["caption"]) == ("sound", "begin", "a dog barks")
    assert (first["confidence"], first["score"], first["level_dbfs"]) == (0.633, -0.4567, -12.3)
    assert ended[0]["kind"] == "end"
    moments = [message for message in reader.messages if message.topic.endswith(("/event", "/ended"))]
    assert {(message.qos, message.retain) for message in moments} == {(1, False)}
    assert messages == []


def test_who_comes_later_finds_no_moment_and_an_empty_caption(broker: RealBroker, messages: Messages) -> None:
    mqtt = sink(broker, messages, discovery="")
    for item in story():
        mqtt.on_event(item)
    mqtt.on_status(usb_status(gate_open=True))
    mqtt.close()
    kept = retained(broker.port)
    assert sorted(kept) == ["home/attic/availability", f"{HERE}/caption", f"{HERE}/state"]
    assert json.loads(kept[f"{HERE}/caption"]) == {"state": ""}
    assert json.loads(kept[f"{HERE}/state"])["sound"] == "OFF"
    assert kept["home/attic/availability"] == "offline"


def test_a_named_sound_has_its_own_entities_until_it_is_removed(
    broker: RealBroker, reader: Reader, messages: Messages
) -> None:
    both = {"smoke-alarm": "smoke alarm", "our-doorbell": "our doorbell"}
    mqtt = sink(broker, messages, sounds=both)
    config = {
        (platform, sound): f"homeassistant/{platform}/edgecap-attic/microphone-{sound}/config"
        for platform in ("binary_sensor", "event")
        for sound in both
    }
    eventually(lambda: all(reader.of(topic) for topic in config.values()))
    [binary] = reader.documents(config["binary_sensor", "our-doorbell"])
    [moment] = reader.documents(config["event", "our-doorbell"])
    place = f"{HERE}/sounds/our-doorbell"
    assert (binary["name"], binary["state_topic"]) == ("Our doorbell", place)
    assert binary["device"]["identifiers"] == moment["device"]["identifiers"] == ["edgecap-attic-microphone"]
    assert (moment["state_topic"], moment["event_types"]) == (f"{place}/heard", ["heard"])
    assert binary["unique_id"] != moment["unique_id"]
    for item in story(text="our doorbell"):
        mqtt.on_event(replace(item, event=replace(item.event, named="our-doorbell")))
    eventually(lambda: [state["state"] for state in reader.documents(place)] == ["OFF", "ON", "OFF"])
    eventually(lambda: reader.documents(f"{place}/heard"))
    [heard] = reader.documents(f"{place}/heard")
    assert (heard["event_type"], heard["caption"], heard["named"]) == ("heard", "our doorbell", "our-doorbell")
    assert captions(reader) == [""]  # the caption that goes on is another event's
    mqtt.close()
    mqtt = sink(broker, messages, sounds={"smoke-alarm": "smoke alarm"})
    until(mqtt.broker, lambda: reader.of(place)[-1:] == [""])
    mqtt.close()
    kept = retained(broker.port)
    assert {topic for topic in kept if "doorbell" in topic} == set()
    assert len([topic for topic in kept if "smoke-alarm" in topic]) == 3


def test_the_caption_is_that_of_the_event_that_goes_on(broker: RealBroker, reader: Reader, messages: Messages) -> None:
    mqtt = sink(broker, messages)
    begin, update, end = story()
    mqtt.on_event(begin)
    eventually(lambda: captions(reader) == ["", "a dog barks"])
    better = replace(update, event=replace(update.event, text="a large dog barks"))
    mqtt.on_event(update)  # says nothing new
    mqtt.on_event(better)
    eventually(lambda: captions(reader) == ["", "a dog barks", "a large dog barks"])
    mqtt.on_status(usb_status(fault="the microphone is gone"))
    eventually(lambda: captions(reader)[3:] == [""])
    mqtt.on_status(usb_status())
    eventually(lambda: captions(reader)[4:] == ["a large dog barks"])
    mqtt.on_event(end)
    eventually(lambda: captions(reader)[5:] == [""])
    mqtt.on_event(change("begin", 2, "x" * 300))
    eventually(lambda: len(captions(reader)) == 7)
    last = reader.documents(f"{HERE}/caption")[-1]
    assert (last["state"], last["caption"]) == ("x" * 255, "x" * 300)  # Home Assistant allows 255
    mqtt.close()


def test_sound_is_said_when_it_begins_and_ends_and_the_level_is_the_loudest_since(
    broker: RealBroker, reader: Reader, messages: Messages
) -> None:
    clock = Clock()
    mqtt = sink(broker, messages, clock=clock)
    for bark in range(10):
        mqtt.on_status(usb_status(level=-30.0 - bark, gate_open=True))
        mqtt.on_status(usb_status(level=-20.0, gate_open=True))
        mqtt.on_status(usb_status(level=-60.0))
    until(mqtt.broker, lambda: len(states(reader, "sound")) == 21)
    assert states(reader, "sound") == ["OFF"] + ["ON", "OFF"] * 10
    assert states(reader, "level_dbfs")[:5] == [None, -30.0, -20.0, -31.0, -20.0]
    clock.sleep(STATE_SECONDS - 0.1)
    mqtt.on_status(usb_status(level=-70.0, loudest=-25.0))
    clock.sleep(0.2)
    mqtt.on_status(usb_status(level=-80.0))
    eventually(lambda: states(reader, "level_dbfs")[21:] == [-25.0])
    assert {message.retain for message in reader.messages if message.topic == f"{HERE}/state"} == {False}  # it is new
    mqtt.close()


def test_a_fault_ends_sound_and_level_at_once(broker: RealBroker, reader: Reader, messages: Messages) -> None:
    mqtt = sink(broker, messages)
    mqtt.on_status(usb_status(level=-20.0, gate_open=True))
    mqtt.on_status(usb_status(level=-20.0, gate_open=True, fault="the microphone is gone"))
    mqtt.on_status(usb_status(level=-21.0, gate_open=True))
    eventually(lambda: len(states(reader, "sound")) == 4)
    assert states(reader, "sound") == ["OFF", "ON", "OFF", "ON"]
    assert states(reader, "level_dbfs") == [None, -20.0, None, -21.0]
    assert states(reader, "fault") == ["", "", "the microphone is gone", ""]
    mqtt.close()


def test_each_microphone_has_topics_by_its_name_in_the_configuration_for_ever(
    broker: RealBroker, reader: Reader, messages: Messages
) -> None:
    names = ["\u041a\u0443\u0445\u043d\u044f 1", "\u0421\u043f\u0430\u043b\u044c\u043d\u044f 1"]  # kitchen, bedroom
    mqtt = sink(broker, messages, names=names, audio_kept=True)
    for source in ("usb", "USB Audio Device"):  # it is found later, and called something else
        mqtt.on_status(usb_status(source=source, number=1, gate_open=source == "usb"))
    mqtt.on_event(replace(change("begin"), number=1))
    eventually(lambda: [message for message in reader.messages if message.topic.endswith("/event")])
    places = {message.topic.split("/")[2] for message in reader.messages if message.topic.count("/") == 3}
    assert len(places) == 2
    assert all(place.isascii() and place.startswith("1-") for place in places)
    (begun,) = [message.topic.split("/")[2] for message in reader.messages if message.topic.endswith("/event")]
    assert states(reader, "sound", f"home/attic/{begun}") == ["OFF", "ON", "OFF"]
    mqtt.close()


def test_names_are_those_of_the_configuration() -> None:
    def names(**more: object) -> list[str]:
        return names_of(ListenConfig(**more))  # type: ignore[arg-type]

    assert names() == ["microphone"]
    assert names(source=SourceConfig(stdin=True)) == ["stdin"]
    assert names(source=SourceConfig(file="a.wav")) == ["file"]
    assert names(source=SourceConfig(device=["USB", "Webcam", "USB"])) == ["USB", "Webcam", "USB 3"]
    listed = [MicrophoneConfig(device="USB", name="kitchen"), MicrophoneConfig(device="2")]
    assert names(microphones=listed) == ["kitchen", "2"]


def test_a_rule_names_the_type_of_an_event(broker: RealBroker, reader: Reader, messages: Messages) -> None:
    mqtt = sink(broker, messages, rules=["alarm", "pets"])
    event = replace(change("begin").event, rules=("pets", "alarm"))
    mqtt.on_event(replace(change("begin"), event=event))
    eventually(lambda: reader.documents(f"{HERE}/event"))
    (document,) = reader.documents(f"{HERE}/event")
    assert (document["event_type"], document["rules"]) == ("pets", ["pets", "alarm"])
    (topic,) = [message.topic for message in reader.messages if message.topic.endswith("/config") and message.payload]
    components = reader.documents(topic)[0]["components"]
    assert components["event"]["event_types"] == ["sound", "alarm", "pets"]
    mqtt.close()


def test_the_command_sends_its_events_to_the_broker(
    broker: RealBroker, reader: Reader, edgecap: Run, tiny_folder: Path, sounds: Path
) -> None:
    options = ["--model", tiny_folder, "--file", sounds / "noise.wav", "--speed", 0, "--min-score", -99]
    runs = [edgecap("listen", *options, "--mqtt", f"127.0.0.1:{broker.port}") for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    eventually(lambda: len([message for message in reader.messages if message.topic.endswith("/ended")]) == 2)
    begun = [message for message in reader.messages if message.topic.endswith("/file/event")]
    assert len({message.topic for message in begun}) == 1  # the node lasts
    assert json.loads(begun[0].payload)["text"] in runs[0].stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('discovery = "homeassistant/#"', r"a\.toml:3: mqtt\.discovery: 'homeassistant/#' cannot begin topics"),
        ('topic = "home/+"', r"mqtt\.topic: 'home/\+' cannot begin topics"),
        ('topic = "home/"', r"mqtt\.topic: .* cannot begin topics"),
        ('topic = ""', r"mqtt\.topic: .* cannot begin topics"),
        ('topic = "$SYS"', r"mqtt\.topic: .* cannot begin topics"),
        ('password = "x"', r"a\.toml:3: mqtt\.password needs mqtt\.user"),
        ('password_file = "x"', r"mqtt\.password needs mqtt\.user"),
        ('user = "a"\npassword = "x"\npassword_file = "x"', "both set"),
        ('key = "key.pem"', r"mqtt\.key needs mqtt\.certificate"),
        ('node = "a b"', r"mqtt\.node"),
    ],
)
def test_what_no_broker_takes_is_refused_by_its_key(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "a.toml").write_text(f'[mqtt]\nhost = "broker.lan"\n{line}\n')
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "a.toml")


@pytest.mark.parametrize("host", ["", "mqtt://broker", "a b", "a..b", "x" * 70 + ".lan"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.host: .* is no name or address of a host"):
        MqttConfig(host=host)


def test_a_missing_library_names_the_extra(
    messages: Messages, broker: RealBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "paho.mqtt", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "\.\[mqtt\]"'):
        sink(broker, messages)


def test_sounds_that_are_taught_and_removed_meanwhile_come_and_go(
    broker: RealBroker, reader: Reader, messages: Messages
) -> None:
    mqtt = sink(broker, messages, sounds={"our-doorbell": "our doorbell", "oven": "oven"})
    mqtt.on_sounds({"our-doorbell": "Our Doorbell", "sound-7e93e2e5": "呼び鈴"})
    until(mqtt.broker, lambda: reader.documents(f"{HERE}/sounds/sound-7e93e2e5"))
    until(mqtt.broker, lambda: mqtt.broker._idle)
    kept = retained(broker.port)
    discovery = {
        topic.split("/")[3].removeprefix("microphone-"): json.loads(payload)["name"]
        for topic, payload in kept.items()
        if topic.startswith("homeassistant/binary_sensor/")
    }
    assert discovery == {"our-doorbell": "Our Doorbell", "sound-7e93e2e5": "呼び鈴"}
    assert not [topic for topic in kept if "oven" in topic]
    oven = HeardSound("oven", "oven", 0.9, 1.0, 2.0)
    late = change("begin")
    mqtt.on_event(replace(late, event=replace(late.event, named="oven", sounds=(oven,))))  # heard just before
    mqtt.close()
    assert not [topic for topic in retained(broker.port) if "oven" in topic]
    assert reader.of(f"{HERE}/sounds/oven/heard") == []


def test_sounds_removed_while_the_broker_is_away_are_gone_when_it_is_back(tmp_path: Path, messages: Messages) -> None:
    lasting = "allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/", "autosave_interval 1"
    broker = RealBroker(tmp_path)
    broker.start(*lasting)
    mqtt = sink(broker, messages, sounds={"oven": "oven"})
    until(mqtt.broker, lambda: mqtt.broker._idle)
    assert [topic for topic in retained(broker.port) if "oven" in topic]
    broker.stop()
    until(mqtt.broker, lambda: not mqtt.broker.connected)
    mqtt.on_sounds({})
    broker.start(*lasting)
    until(mqtt.broker, lambda: mqtt.broker.connected and mqtt.broker._idle)
    assert not [topic for topic in retained(broker.port) if "oven" in topic]
    mqtt.close()
    broker.stop()
