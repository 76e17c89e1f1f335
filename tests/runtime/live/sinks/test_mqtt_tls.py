"""TLS with a private authority, and the reason of each failure, against a real mosquitto."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgecap.errors import ConfigError
from edgecap.live.config.mqtt_config import MqttConfig
from support.live_parts import Messages, notifier

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the extra mqtt)")
from edgecap.live.sinks.mqtt import Mqtt
from support.mqtt_parts import MOSQUITTO, RealBroker
from support.ports import refusing_port

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
    # paho-mqtt leaves the socket of a failed handshake to the garbage collector
    pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]


@dataclass(frozen=True)
class Authority:
    """A private authority, and what it signed."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def root(self, name: str) -> None:
        options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        self.openssl("req", *options, "-keyout", f"{name}-key.pem", "-out", f"{name}.pem")

    def sign(self, name: str, alternative: str, days: int = 2) -> None:
        request = ["-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"]
        self.openssl("req", *request, "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
        signed = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-copy_extensions", "copy"]
        self.openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-days", str(days), "-out", f"{name}.pem")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.root("ca")
    made.root("other")
    made.sign("here", "IP:127.0.0.1,DNS:localhost")
    made.sign("elsewhere", "DNS:broker.example")
    made.sign("listener", "DNS:listener")
    made.sign("old", "IP:127.0.0.1", days=0)
    made.openssl("rsa", "-aes128", "-passout", "pass:secret", "-in", "listener-key.pem", "-out", "locked-key.pem")
    for path in (made.folder, *made.folder.iterdir()):
        path.chmod(0o755)  # mosquitto gives up being root
    made.folder.parent.chmod(0o755)
    return made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RealBroker]:
    started = RealBroker(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def messages() -> Messages:
    return []


def serve(broker: RealBroker, authority: Authority, name: str = "here", *more: str) -> None:
    files = [f"certfile {authority.file(name)}", f"keyfile {authority.file(f'{name}-key')}"]
    broker.start("allow_anonymous true", "user root", *files, *more)


def sink(port: int, messages: Messages, **more: object) -> Mqtt:
    config = MqttConfig(**{"host": "127.0.0.1", "port": port, "topic": "home", "node": "attic", **more})  # type: ignore[arg-type]
    return Mqtt(config, notifier(messages), model="tiny")


def reason(port: int, **more: object) -> str:
    """What is told of a broker that cannot be used."""
    messages: Messages = []
    mqtt = sink(port, messages, **more)
    connected = mqtt.broker.connected
    mqtt.close()
    assert not connected
    return messages[0][1].removeprefix(f"the MQTT broker {mqtt.broker.where} ")


def test_a_private_authority_is_trusted_where_it_is_named(
    broker: RealBroker, authority: Authority, messages: Messages
) -> None:
    serve(broker, authority)
    for host in ("127.0.0.1", "localhost"):
        mqtt = sink(broker.port, messages, host=host, ca=authority.file("ca"))
        assert mqtt.broker.connected
        mqtt.close()
    assert messages == []


def test_the_broker_knows_the_listener_by_its_certificate(
    broker: RealBroker, authority: Authority, messages: Messages
) -> None:
    serve(broker, authority, "here", "require_certificate true", f"cafile {authority.file('ca')}")
    files = {"certificate": authority.file("listener"), "key": authority.file("listener-key")}
    mqtt = sink(broker.port, messages, ca=authority.file("ca"), **files)
    assert mqtt.broker.connected
    mqtt.close()
    assert messages == []
    asked = reason(broker.port, ca=authority.file("ca"))
    assert "certificate required); set mqtt.certificate and mqtt.key" in asked
    foreign = {"certificate": authority.file("other"), "key": authority.file("other-key")}
    refused = reason(broker.port, ca=authority.file("ca"), **foreign)
    assert "unknown ca" in refused
    assert "check mqtt.certificate and mqtt.key" in refused


def test_each_certificate_that_is_refused_has_its_reason(broker: RealBroker, authority: Authority) -> None:
    serve(broker, authority)
    unknown = reason(broker.port, tls=True)
    assert "is not trusted (unable to get local issuer certificate); name that of its authority in mqtt.ca" in unknown
    wrong = reason(broker.port, ca=authority.file("other"))
    assert "is not trusted (" in wrong
    assert "mqtt.ca is not its authority" in wrong
    broker.stop()
    serve(broker, authority, "elsewhere")
    name = reason(broker.port, ca=authority.file("ca"))
    assert "has a certificate for another name (IP address mismatch" in name
    assert "set mqtt.host to a name in the certificate" in name
    broker.stop()
    serve(broker, authority, "old")
    time = reason(broker.port, ca=authority.file("ca"))
    assert "is not valid today (certificate has expired); check the clock" in time


def test_a_port_of_another_kind_has_its_reason(broker: RealBroker, authority: Authority) -> None:
    serve(broker, authority)
    assert "closes the connection without an answer" in (plain := reason(broker.port))
    assert "if it is a TLS port, set mqtt.tls = true" in plain
    broker.stop()
    broker.start()
    assert "does not speak TLS at this port" in reason(broker.port, tls=True)
    with refusing_port() as port:
        assert "does not listen at this port (Connection refused); check mqtt.port" in reason(port)
    assert "is not known" in (name := reason(broker.port, host="broker.invalid"))
    assert "check" in name


def test_a_server_that_does_not_speak_mqtt_is_told() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"220 mail ready\r\n" + bytes(64))
            with suppress(OSError):
                connection.recv(4096)

    server = threading.Thread(target=answer)
    server.start()
    port = listener.getsockname()[1]
    assert "does not speak MQTT at this port; check mqtt.port" in reason(port)
    server.join()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ca": "nowhere"}, r"mqtt\.ca: .*nowhere\.pem cannot be read \(No such file or directory\)"),
        ({"ca": "ca-key"}, r"mqtt\.ca: .*ca-key\.pem is not a PEM file of certificates"),
        ({"certificate": "listener", "key": "nowhere"}, r"mqtt\.key: .* cannot be read"),
        (
            {"certificate": "listener", "key": "other-key"},
            r"listener\.pem and its key cannot be used .*belong together",
        ),
        ({"certificate": "listener", "key": "locked-key"}, r"cannot be used .*without a passphrase"),
        ({"certificate": "listener"}, r"mqtt\.certificate: .* cannot be used"),
    ],
)
def test_files_that_cannot_be_used_are_named_by_their_key(
    authority: Authority, messages: Messages, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        sink(1, messages, **{key: authority.file(name) for key, name in settings.items()})
