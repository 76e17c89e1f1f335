"""Events by MQTT, against a real mosquitto."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgecap.errors import ConfigError, MissingDependencyError, OutputError
from edgecap.live.config.listen_config import MqttConfig
from edgecap.live.pipeline.status import StatusSnapshot
from support.live_parts import Messages, change, notifier, story, usb_status

Run = Callable[..., subprocess.CompletedProcess[str]]

client = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the extra mqtt)")
from edgecap.live.sinks.mqtt import Mqtt  # noqa: E402 - after the check

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def eventually(check: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Broker:
    """A mosquitto that the test starts and stops."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str) -> None:
        settings = self.folder / "mosquitto.conf"
        settings.write_text("\n".join([f"listener {self.port} 127.0.0.1", *(lines or ["allow_anonymous true"])]) + "\n")
        self.process = subprocess.Popen(
            [str(MOSQUITTO), "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        eventually(listens)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


class Reader:
    """Somebody who reads every topic of the broker."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, str]] = []
        self._client = client.Client(client.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda *_: self._client.subscribe("#", qos=1)
        self._client.on_message = lambda _client, _data, message: self.messages.append(
            (message.topic, message.payload.decode())
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def of(self, topic: str) -> list[str]:
        return [payload for name, payload in self.messages if name == topic]

    def captions(self) -> list[tuple[str, str]]:
        return [(line["kind"], line["state"]) for line in map(json.loads, self.of("home/attic/caption"))]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    started = Broker(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def messages() -> Messages:
    return []


def sink(broker: Broker, messages: Messages, **more: object) -> Mqtt:
    config = MqttConfig(**{"host": "127.0.0.1", "port": broker.port, "topic": "home", "node": "attic", **more})  # type: ignore[arg-type]
    return Mqtt(config, notifier(messages), model="tiny")


def test_captions_availability_and_state_are_published_and_announced(broker: Broker, messages: Messages) -> None:
    broker.start()
    reader = Reader(broker.port)
    mqtt = sink(broker, messages)
    for item in story():
        mqtt.on_event(item)
    mqtt.on_status(usb_status(level=-31.26, gate_open=True))
    eventually(lambda: len(reader.captions()) == 2 and reader.of("home/attic/state"))
    assert reader.captions() == [("begin", "a dog barks"), ("end", "a dog barks")]
    state = json.loads(reader.of("home/attic/state")[0])
    assert (state["level_dbfs"], state["sound"]) == (-31.3, "ON")
    assert reader.of("home/attic/availability") == ["online"]
    announced = {topic: json.loads(text) for topic, text in reader.messages if topic.startswith("homeassistant/")}
    assert sorted(announced) == [
        "homeassistant/binary_sensor/edgecap-attic/sound/config",
        "homeassistant/sensor/edgecap-attic/caption/config",
        "homeassistant/sensor/edgecap-attic/level/config",
    ]
    for payload in announced.values():
        assert payload["availability_topic"] == "home/attic/availability"
        assert payload["state_topic"] in {"home/attic/caption", "home/attic/state"}
        assert payload["device"]["identifiers"] == ["edgecap-attic"]
    assert len({payload["unique_id"] for payload in announced.values()}) == 3
    mqtt.close()
    eventually(lambda: reader.of("home/attic/availability") == ["online", "offline"])
    reader.close()
    assert messages == []


def test_who_comes_later_finds_the_last_caption_and_no_discovery_is_sent_where_none_is_wanted(
    broker: Broker, messages: Messages
) -> None:
    broker.start()
    mqtt = sink(broker, messages, discovery="")
    mqtt.on_event(change("begin"))
    mqtt.close()
    reader = Reader(broker.port)
    eventually(lambda: reader.captions() == [("begin", "a dog barks")])
    assert not any(topic.startswith("homeassistant") for topic, _ in reader.messages)
    reader.close()


def test_the_last_will_says_offline_when_the_listener_is_cut_off(broker: Broker, messages: Messages) -> None:
    broker.start()
    reader = Reader(broker.port)
    mqtt = sink(broker, messages)
    eventually(lambda: reader.of("home/attic/availability") == ["online"])
    mqtt._client.loop_stop()
    connection = mqtt._client.socket()
    assert connection is not None
    connection.close()  # as if the power had gone
    eventually(lambda: reader.of("home/attic/availability") == ["online", "offline"])
    reader.close()


def test_captions_wait_for_a_broker_that_is_away_and_the_queue_is_bounded(broker: Broker, messages: Messages) -> None:
    mqtt = sink(broker, messages, queue=3)
    assert [kind for kind, _ in messages] == ["warning"]
    assert "captions wait for it, at most 3" in messages[0][1]
    for number in range(5):
        mqtt.on_event(change("begin", number, text=f"sound {number}"))
    assert mqtt.lost == 2
    broker.start()
    reader = Reader(broker.port)
    eventually(lambda: mqtt._connected)
    mqtt.on_event(change("begin", 9, text="now"))
    eventually(lambda: reader.captions()[-1:] == [("begin", "now")])
    texts = [text for _, text in reader.captions()]
    assert texts in (["sound 2", "sound 3", "sound 4", "now"], ["sound 4", "now"], ["now"])  # the reader may be later
    assert messages[-1][0] == "note"
    assert "2 captions were dropped meanwhile" in messages[-1][1]
    mqtt.close()
    reader.close()


def test_a_broker_that_goes_and_comes_back_is_told_and_gets_everything(broker: Broker, messages: Messages) -> None:
    broker.start()
    mqtt = sink(broker, messages)
    broker.stop()
    eventually(lambda: not mqtt._connected)
    mqtt.on_event(change("end", text="while it was away"))
    broker.start()
    reader = Reader(broker.port)
    eventually(lambda: ("end", "while it was away") in reader.captions())
    eventually(lambda: [kind for kind, _ in messages] == ["warning", "note"])
    assert "is gone" in messages[0][1]
    mqtt.close()
    reader.close()


def test_a_refused_password_is_one_clear_line_and_the_right_one_is_taken_from_its_file(
    broker: Broker, messages: Messages, tmp_path: Path
) -> None:
    if not shutil.which("mosquitto_passwd"):
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "ear", "secret"], check=True, capture_output=True)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    broker.start("allow_anonymous false", f"password_file {passwords}", "user root")
    with pytest.raises(OutputError, match=r"refuses edgecap \(.*\); check user and password"):
        sink(broker, messages, user="ear", password="wrong")
    (tmp_path / "secret").write_text("secret\n")
    mqtt = sink(broker, messages, user="ear", password_file=str(tmp_path / "secret"))
    assert mqtt._connected
    mqtt.close()
    with pytest.raises(ConfigError, match=r"password file .* cannot be read"):
        sink(broker, messages, user="ear", password_file=str(tmp_path / "nowhere"))


def test_names_in_other_scripts_have_topics_of_their_own(broker: Broker, messages: Messages) -> None:
    broker.start()
    mqtt = Mqtt(MqttConfig(host="127.0.0.1", port=broker.port), notifier(messages), model="tiny", several=True)
    below = {mqtt._below(source) for source in ("\u53a8\u623f", "\u6d74\u5ba4", "K\u00fcche", "kitchen")}
    mqtt.close()
    assert len(below) == 4
    assert all(topic.count("/") == 1 and len(topic) > 1 for topic in below)
    assert "k-che/" in below


class Refusal:
    is_failure = True

    def __str__(self) -> str:
        return "Not authorized"


def test_a_broker_that_refused_and_took_us_again_is_told_when_it_goes(broker: Broker, messages: Messages) -> None:
    broker.start()
    mqtt = sink(broker, messages)
    mqtt._on_connect(mqtt._client, None, None, Refusal(), None)  # its password was changed, and changed back
    mqtt._on_connect(mqtt._client, None, None, SimpleNamespace(is_failure=False), None)
    mqtt._on_disconnect(mqtt._client, None, None, SimpleNamespace(is_failure=True), None)
    mqtt.close()
    assert [kind for kind, _ in messages] == ["warning", "note", "warning"]


def test_several_microphones_have_topics_and_sensors_of_their_own(broker: Broker, messages: Messages) -> None:
    broker.start()
    reader = Reader(broker.port)
    config = MqttConfig(host="127.0.0.1", port=broker.port, topic="home", node="attic")
    mqtt = Mqtt(config, notifier(messages), model="tiny", several=True, audio_kept=True)
    for number, source in enumerate(("USB Mic", "kitchen")):
        mqtt.on_status(
            StatusSnapshot(source=source, asked_hop=2.0, hop=2.0, number=number, level=-40.0, loudest=-12.34)
        )
    mqtt.on_event(change("begin"))  # by the microphone USB
    eventually(
        lambda: (
            reader.of("home/attic/usb-mic/state")
            and reader.of("home/attic/kitchen/state")
            and reader.of("home/attic/usb/caption")
        )
    )
    state = json.loads(reader.of("home/attic/kitchen/state")[0])
    assert (state["source"], state["loudest_dbfs"], state["audio_kept"]) == ("kitchen", -12.3, True)
    caption = json.loads(reader.of("home/attic/usb/caption")[0])
    assert (caption["source"], caption["audio_kept"]) == ("USB", True)
    eventually(lambda: len([topic for topic, _ in reader.messages if topic.startswith("homeassistant/")]) == 6)
    announced = [json.loads(text) for topic, text in reader.messages if topic.startswith("homeassistant/")]
    assert len({payload["unique_id"] for payload in announced}) == 6
    assert {payload["state_topic"] for payload in announced} == {
        f"home/attic/{name}/{kind}" for name in ("usb-mic", "kitchen") for kind in ("caption", "state")
    }
    assert "kitchen Level" in {payload["name"] for payload in announced}
    mqtt.close()
    reader.close()
    assert messages == []


def test_a_refused_password_ends_the_command_with_one_line_and_its_code(
    broker: Broker, edgecap: Run, tiny_folder: Path, sounds: Path, tmp_path: Path
) -> None:
    if not shutil.which("mosquitto_passwd"):
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(tmp_path / "p"), "ear", "secret"], check=True, capture_output=True
    )
    (tmp_path / "p").chmod(0o644)
    tmp_path.chmod(0o755)
    broker.start("allow_anonymous false", f"password_file {tmp_path / 'p'}", "user root")
    (tmp_path / "a.toml").write_text(
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nuser = "ear"\npassword = "wrong"\n'
    )
    done = edgecap("listen", "--model", tiny_folder, "--file", sounds / "noise.wav", "--config", tmp_path / "a.toml")
    assert done.returncode == 7
    (line,) = done.stderr.splitlines()
    assert "refuses edgecap" in line
    assert "check user and password" in line


def test_the_command_sends_its_events_to_the_broker(
    broker: Broker, edgecap: Run, tiny_folder: Path, sounds: Path
) -> None:
    broker.start()
    reader = Reader(broker.port)
    done = edgecap(
        "listen",
        "--model",
        tiny_folder,
        "--file",
        sounds / "noise.wav",
        "--speed",
        0,
        "--min-score",
        -99,
        "--mqtt",
        f"127.0.0.1:{broker.port}",
    )
    assert done.returncode == 0, done.stderr
    eventually(lambda: [topic for topic, _ in reader.messages if topic.endswith("/caption")])
    text = next(json.loads(payload)["state"] for topic, payload in reader.messages if topic.endswith("/caption"))
    assert text in done.stdout
    reader.close()


def test_a_missing_library_names_the_extra(messages: Messages, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "paho.mqtt", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "\.\[mqtt\]"'):
        sink(broker, messages)
