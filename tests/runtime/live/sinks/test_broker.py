"""A connection that is kept, against a real mosquitto: order, identities, what is left of earlier runs, and reasons."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from edgecap.errors import OutputError
from edgecap.live.config.mqtt_config import MqttConfig
from support.live_parts import Clock, Messages, change, notifier, usb_status

Run = Callable[..., subprocess.CompletedProcess[str]]

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the extra mqtt)")
from edgecap.live.sinks import broker_client  # noqa: E402 - after the check
from edgecap.live.sinks.mqtt import Mqtt  # noqa: E402 - after the check
from support.mqtt_parts import MOSQUITTO, Reader, RealBroker, eventually, retained, until  # noqa: E402

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
HERE = "home/attic/microphone"
KILLED = """
import os, sys, time
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.sinks.mqtt import Mqtt
from support.live_parts import change, usb_status
mqtt = Mqtt(MqttConfig(host="127.0.0.1", port=int(sys.argv[1]), topic="home", node="attic"), print, model="tiny",
            names=["microphone", "gone"])
mqtt.on_event(change("begin"))
mqtt.on_status(usb_status(gate_open=True))
while not mqtt.broker._idle:
    mqtt.broker.step()
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RealBroker]:
    started = RealBroker(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def messages() -> Messages:
    return []


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def sink(port: int, messages: Messages, *, clock: Callable[[], float] = time.monotonic, **more: object) -> Mqtt:
    config = MqttConfig(**{"host": "127.0.0.1", "port": port, "topic": "home", "node": "attic", **more})  # type: ignore[arg-type]
    return Mqtt(config, notifier(messages), model="tiny", clock=clock)


def idle(mqtt: Mqtt) -> bool:
    return mqtt.broker._idle


def stepped(mqtt: Mqtt, messages: Messages) -> bool:
    """Whether something was said, after another listener went on too."""
    mqtt.broker.step()
    return bool(messages)


def cut_off(mqtt: Mqtt) -> None:
    """As if the power had gone."""
    connection = mqtt.broker._link._client.socket()
    assert isinstance(connection, socket.socket)
    connection.shutdown(socket.SHUT_RDWR)


def begun(reader: Reader) -> list[int]:
    return [document["id"] for document in reader.documents(f"{HERE}/event")]


def test_messages_are_in_order_across_the_end_of_a_broker(broker: RealBroker, messages: Messages) -> None:
    broker.start()
    mqtt = sink(broker.port, messages)
    reader = Reader(broker.port)
    mqtt.on_event(change("begin", 0))
    until(mqtt.broker, lambda: begun(reader) == [0] and mqtt.broker._idle)
    broker.freeze()  # from here on nothing is acknowledged
    for number in range(1, 41):  # more than may be in flight
        mqtt.on_event(change("begin", number))
    assert len(mqtt.broker._in_flight) == 20
    reader.lose()
    broker.stop(signal.SIGKILL)
    until(mqtt.broker, lambda: not mqtt.broker.connected)
    mqtt.on_event(change("begin", 41))
    broker.start()
    late = Reader(broker.port)
    until(mqtt.broker, lambda: mqtt.broker.connected and mqtt.broker._idle)
    mqtt.on_event(change("begin", 42))
    until(mqtt.broker, lambda: begun(late)[-1:] == [42])
    numbers = begun(late)
    assert numbers == list(range(numbers[0], 43))  # whoever is there sees all, in order
    assert [kind for kind, _ in messages] == ["warning", "note"]
    mqtt.close()
    late.close()
    reader.close()


def test_captions_wait_for_a_broker_that_is_away_and_the_oldest_are_dropped_and_counted(
    broker: RealBroker, messages: Messages
) -> None:
    mqtt = sink(broker.port, messages, queue=3)
    ((kind, text),) = messages
    assert kind == "warning"
    assert "does not listen at this port (Connection refused)" in text
    assert "captions wait for it, at most 3" in text
    for number in range(5):
        mqtt.on_event(change("begin", number))
    assert mqtt.broker.lost == 2
    broker.start()
    reader = Reader(broker.port)
    until(mqtt.broker, lambda: begun(reader)[-1:] == [4])
    assert messages[1:] == [
        ("note", f"the MQTT broker {mqtt.broker.where} is there; 2 captions were dropped meanwhile, the oldest")
    ]
    mqtt.close()
    reader.close()


def test_what_is_retained_is_there_again_after_a_broker_forgot_it(broker: RealBroker, messages: Messages) -> None:
    broker.start()
    mqtt = sink(broker.port, messages)
    mqtt.on_status(usb_status(gate_open=True))
    until(mqtt.broker, lambda: mqtt.broker._idle)
    before = retained(broker.port)
    assert json.loads(before[f"{HERE}/state"])["sound"] == "ON"
    broker.stop()
    until(mqtt.broker, lambda: not mqtt.broker.connected)
    broker.start()
    until(mqtt.broker, lambda: mqtt.broker.connected and mqtt.broker._idle)
    assert retained(broker.port) == before
    assert before["home/attic/availability"] == "online"
    mqtt.close()


def test_two_listeners_of_one_host_and_broker_leave_each_other_alone(broker: RealBroker, messages: Messages) -> None:
    broker.start()
    reader = Reader(broker.port)
    both = [sink(broker.port, messages, node=None) for _ in range(2)]
    assert len({mqtt.node for mqtt in both}) == 2
    assert not any(socket.gethostname() in mqtt.node for mqtt in both)
    for number in range(30):
        for mqtt in both:
            mqtt.on_event(change("begin", number))
            mqtt.on_status(usb_status())
    for mqtt in both:
        until(mqtt.broker, partial(idle, mqtt))
    heard = {mqtt.node: reader.documents(f"home/{mqtt.node}/microphone/event") for mqtt in both}
    assert [[document["id"] for document in documents] for documents in heard.values()] == [list(range(30))] * 2
    assert [reader.of(f"home/{mqtt.node}/availability") for mqtt in both] == [["online"]] * 2
    names = [mqtt.node for mqtt in both]
    for mqtt in both:
        mqtt.close()
    again = sink(broker.port, messages, node=None)
    assert again.node in names  # it lasts
    again.close()
    reader.close()
    assert [text for _, text in messages] == [
        f"events go to the MQTT topics home/{mqtt.node}/NAME/event" for mqtt in (*both, again)
    ]


def test_a_takeover_is_told_with_its_reason(messages: Messages) -> None:
    listener = socket.create_server(("127.0.0.1", 0))  # mosquitto 2.0.11 does not say why

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"\x20\x03\x00\x00\x00" + b"\xe0\x02\x8e\x00")  # CONNACK, DISCONNECT 142
            connection.recv(4096)

    server = threading.Thread(target=serve)
    server.start()
    mqtt = sink(listener.getsockname()[1], messages)
    until(mqtt.broker, lambda: messages)
    server.join()
    mqtt.close()
    client_id = mqtt.broker._access.client_id
    words = f"(Session taken over): another client connected with the client id {client_id}"
    assert words in messages[0][1]


def test_a_connection_that_comes_and_goes_is_not_told_for_ever(broker: RealBroker, messages: Messages) -> None:
    broker.start()
    clock = Clock()
    mqtt = sink(broker.port, messages, clock=clock)

    def cut(times: int) -> None:
        for _ in range(times):
            cut_off(mqtt)
            until(mqtt.broker, lambda: not mqtt.broker.connected)
            until(mqtt.broker, lambda: mqtt.broker.connected)

    def returns() -> int:
        return [kind for kind, _ in messages].count("note")

    cut(5)
    assert returns() == 3
    last = "3 times in a row: does another program use the client id edgecap-attic-"
    outages: list[list[str]] = [[]]  # on a slow machine one can have a second warning, of an attempt that failed
    for kind, text in messages:
        if kind == "note":
            outages.append([])
        else:
            outages[-1].append(text)
    assert [sum(last in text for text in outage) for outage in outages] == [0, 0, 1, 0]
    clock.sleep(61)
    cut(1)
    assert returns() == 4
    mqtt.close()


def test_two_machines_with_the_same_node_are_both_told(broker: RealBroker) -> None:
    broker.start()
    lists: list[Messages] = [[], []]
    both = [sink(broker.port, each) for each in lists]
    for mqtt, each in zip(both, lists, strict=True):
        until(mqtt.broker, partial(stepped, both[0], each))
        assert each[0][0] == "warning"
        assert "has the same node at the MQTT broker" in each[0][1]
        assert "set another mqtt.node" in each[0][1]
    for mqtt in both:
        mqtt.close()
    assert [len(each) for each in lists] == [1, 1]


def test_what_a_killed_run_and_removed_microphones_left_is_cleared(broker: RealBroker, messages: Messages) -> None:
    broker.start()
    folder = Path(__file__).parents[3]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(broker.port)], cwd=folder, check=False, timeout=60)
    assert killed.returncode == -9
    eventually(lambda: retained(broker.port).get("home/attic/availability") == "offline")
    before = retained(broker.port)
    assert json.loads(before[f"{HERE}/caption"])["state"] == "a dog barks"
    assert json.loads(before[f"{HERE}/state"])["sound"] == "ON"
    others = {  # of other programs and other nodes
        "home/cellar/microphone/state": before[f"{HERE}/state"],
        "home/attic/lamp/state": '{"state": "ON"}',
        "home/attic/lamp": "ON",
        "home/attic/window/caption": "open",
        "homeassistant/sensor/other/config": "{}",
    }
    early = {  # of early versions of edgecap
        "homeassistant/sensor/edgecap-attic/caption/config": "{}",
        "home/attic/caption": '{"state": "a dog barks", "level_dbfs": -20.0}',
        "home/attic/state": '{"level_dbfs": -30.0}',
    }
    publisher = Reader(broker.port)
    for topic, payload in {**others, **early}.items():
        publisher.publish(topic, payload, retain=True)
    mqtt = sink(broker.port, messages)
    until(mqtt.broker, lambda: mqtt.broker._idle)
    after = retained(broker.port)
    assert json.loads(after[f"{HERE}/caption"]) == {"state": ""}
    assert json.loads(after[f"{HERE}/state"])["sound"] == "OFF"
    assert after.keys() - others.keys() == {
        "home/attic/availability",
        f"{HERE}/caption",
        f"{HERE}/state",
        "homeassistant/device/edgecap-attic/microphone/config",
    }
    assert {topic: after.get(topic) for topic in others} == others
    mqtt.close()
    publisher.close()
    assert messages == []


def test_what_was_announced_is_removed_where_nothing_is_announced_any_more(
    broker: RealBroker, messages: Messages
) -> None:
    broker.start()
    announced = "homeassistant/device/edgecap-attic/microphone/config"
    for discovery, there in (("homeassistant", True), ("", False)):
        mqtt = sink(broker.port, messages, discovery=discovery)
        mqtt.close()
        assert (announced in retained(broker.port)) == there


def test_a_broker_that_hangs_holds_up_neither_the_listener_nor_its_end(broker: RealBroker, messages: Messages) -> None:
    broker.start()
    mqtt = sink(broker.port, messages)
    broker.freeze()
    for number in range(600):
        mqtt.on_event(change("begin", number))
        mqtt.on_status(usb_status(gate_open=number % 2 == 0))
    assert mqtt.broker.lost >= 80  # 20 may be in flight
    mqtt.close()
    ((_, text),) = messages
    assert f"does not take them; {500 + mqtt.broker.lost} messages were not sent" in text


def test_a_broker_that_floods_fills_no_memory_and_holds_up_no_step(
    broker: RealBroker, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_client, "MOST_UNREAD", 20)
    broker.start()
    mqtt = sink(broker.port, messages)
    reader = Reader(broker.port)
    until(mqtt.broker, lambda: mqtt.broker.connected and idle(mqtt))
    waiting = mqtt.broker._link.happened
    before = len(reader.of("home/attic/start"))
    for number in range(60):
        reader.publish("home/attic/start", f"flood {number}")
    eventually(lambda: len(reader.of("home/attic/start")) == before + 60 and waiting.qsize() >= 20)
    assert waiting.qsize() == 20
    mqtt.broker.step()
    mqtt.on_event(change("begin"))
    until(mqtt.broker, lambda: begun(reader) == [1])
    mqtt.close()
    reader.close()


def test_the_last_will_says_offline_when_the_listener_is_cut_off(broker: RealBroker, messages: Messages) -> None:
    broker.start()
    reader = Reader(broker.port)
    mqtt = sink(broker.port, messages)
    until(mqtt.broker, lambda: reader.of("home/attic/availability") == ["online"])
    mqtt.broker._link._client.reconnect_delay_set(60, 60)
    cut_off(mqtt)
    eventually(lambda: reader.of("home/attic/availability") == ["online", "offline"])
    mqtt.close()
    reader.close()


def passwords(broker: RealBroker, *more: str) -> None:
    """Start it so that it knows the user "ear" with the password "secret"."""
    if not shutil.which("mosquitto_passwd"):
        pytest.skip("mosquitto_passwd is not installed")
    path = broker.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(path), "ear", "secret"], check=True, capture_output=True)
    path.chmod(0o644)
    broker.folder.chmod(0o755)
    broker.start("allow_anonymous false", f"password_file {path}", "user root", *more)


def test_a_refused_password_is_one_clear_line_and_the_right_one_is_taken_from_its_file(
    broker: RealBroker, messages: Messages, tmp_path: Path
) -> None:
    passwords(broker)
    with pytest.raises(OutputError, match=r"refuses edgecap \(Not authorized\); check user and password"):
        sink(broker.port, messages, user="ear", password="wrong")
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "secret").chmod(0o600)
    mqtt = sink(broker.port, messages, user="ear", password_file=str(tmp_path / "secret"))
    assert mqtt.broker.connected
    mqtt.close()
    assert messages == []


def test_a_refused_password_ends_the_command_with_one_line_and_its_code(
    broker: RealBroker, edgecap: Run, tiny_folder: Path, sounds: Path, tmp_path: Path
) -> None:
    passwords(broker)
    (tmp_path / "a.toml").write_text(
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nuser = "ear"\npassword = "wrong"\n'
    )
    done = edgecap("listen", "--model", tiny_folder, "--file", sounds / "noise.wav", "--config", tmp_path / "a.toml")
    assert done.returncode == 7
    (line,) = done.stderr.splitlines()
    assert "refuses edgecap" in line
    assert "check user and password" in line


def test_messages_that_the_broker_refuses_are_told_once(broker: RealBroker, messages: Messages) -> None:
    rules = broker.folder / "rules"
    rules.write_text("user ear\ntopic readwrite home/attic/microphone/state\n")
    rules.chmod(0o644)
    passwords(broker, f"acl_file {rules}")
    clock = Clock()
    mqtt = sink(broker.port, messages, user="ear", password="secret", clock=clock)
    clock.sleep(10)  # nothing can be asked of it: what is retained stays
    until(mqtt.broker, lambda: mqtt.broker._idle and messages)
    for number in range(3):
        mqtt.on_event(change("begin", number))
    until(mqtt.broker, lambda: mqtt.broker._idle)
    ((_, text),) = messages
    assert "refuses messages below home/attic (Not authorized)" in text
    mqtt.close()


class OldBroker:
    """A broker that knows MQTT 3.1.1 alone, in front of a real one."""

    def __init__(self, port: int, answer: bytes) -> None:
        self._port, self._answer, self.versions = port, answer, list[int]()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            first = near.recv(4096)
            self.versions.append(first[first.index(b"MQTT") + 4])
            if self.versions[-1] == 5:
                near.sendall(self._answer)
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            self._open += [near, far]
            far.sendall(first)
            for start, end in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._copy, args=(start, end), daemon=True))
                self._threads[-1].start()

    def _copy(self, start: socket.socket, end: socket.socket) -> None:
        with suppress(OSError):  # the other direction ended
            while data := start.recv(4096):
                end.sendall(data)
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)
        for each in self._open:
            each.close()


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x01", b""], ids=["refuses", "hangs up"])
def test_a_broker_without_mqtt_5_is_spoken_to_in_3(broker: RealBroker, messages: Messages, answer: bytes) -> None:
    broker.start()
    old = OldBroker(broker.port, answer)
    mqtt = sink(old.port, messages)
    until(mqtt.broker, lambda: mqtt.broker.connected)
    assert old.versions[-1] == 4
    assert len(messages) == (0 if answer else 2)
    mqtt.close()
    old.close()
