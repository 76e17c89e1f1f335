"""The library's side of a connection to an MQTT broker: paho-mqtt's client, and its reasons in words.

The callbacks run in the library's thread, some of them while it holds a lock that `publish` needs too. So they only put
what happened into a queue.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from edgecap.errors import ConfigError, MissingDependencyError, reason_of
from edgecap.live.config.config_file import read_secret
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.types import Notify
from edgecap.util.files import read_at_most
from edgecap.util.limits import MOST_CONFIGURATION, MOST_PAYLOAD, MOST_UNREAD

IN_FLIGHT = 20
"""Messages given to the library that the broker did not acknowledge yet: as many as brokers take by default."""
FIRST_DELAY, LONGEST_DELAY = 1, 60
"""Seconds until the library connects again; each time twice as long."""
KEEP_ALIVE = 30
WRONG_PASSWORD = frozenset({"Not authorized", "Bad user name or password", "Bad authentication method"})
REFUSALS = WRONG_PASSWORD | {"Client identifier not valid", "Banned"}
"""Answers for which trying again is useless."""
UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 24, 26, 27})
"""OpenSSL's numbers (verify(1)) of certificates that lead to no authority that is trusted."""
WRONG_NAME = frozenset({62, 64})
WRONG_TIME = frozenset({9, 10})


@dataclass(frozen=True)
class Happened:
    """Something that the library's thread saw."""

    what: Literal["connected", "refused", "failed", "gone", "granted", "received", "acknowledged"]
    reason: str = ""
    logged: str = ""
    """What the library said of the connection before it ended."""
    number: int = 0
    """Message id; of a new connection the most messages that may be in flight."""
    topic: str = ""
    payload: bytes = b""
    good: bool = True
    """Whether a subscription or a message was accepted; whether a received message is a retained one."""


@dataclass(frozen=True)
class Access:
    """What a connection needs, checked once."""

    config: MqttConfig
    client_id: str
    will: str
    """Topic that becomes "offline" when the connection is cut off."""
    context: ssl.SSLContext | None
    password: str | None

    @classmethod
    def checked(cls, config: MqttConfig, notify: Notify, client_id: str, will: str) -> Access:
        """Read the files that the configuration names. Raises ConfigError."""
        password = config.password
        if config.password_file is not None:
            password = read_secret(config.password_file, "password", notify)
        return cls(config, client_id, will, _tls(config) if config.secure else None, password)

    @property
    def port(self) -> int:
        """The port of the broker."""
        return self.config.port or (8883 if self.config.secure else 1883)


class Link:
    """One client of the library, which connects, and connects again, in its own thread."""

    def __init__(self, access: Access, change: threading.Event, *, version: Literal[5, 4] = 5) -> None:
        """Begin to connect; `change` is set with each `happened`. Version 4 is MQTT 3.1.1.

        Raises MissingDependencyError without paho-mqtt.
        """
        try:
            from paho.mqtt import client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingDependencyError.for_extra("sending events by MQTT", "mqtt") from error
        self.happened = SimpleQueue[Happened]()
        self._change, self._logged = change, ""
        config = access.config
        assert config.host is not None
        self._client = client.Client(
            CallbackAPIVersion.VERSION2,
            client_id=access.client_id,
            protocol=client.MQTTv5 if version == 5 else client.MQTTv311,
        )
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = lambda *_: self._put("failed", reason=not_connected(sys.exc_info()[1], config))
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = lambda _client, _data, number, reason, _properties: self._put(
            "acknowledged", number=number, reason=str(reason), good=not reason.is_failure
        )
        self._client.on_message = self._on_message
        self._client.on_log = self._on_log
        self._client.will_set(access.will, "offline", qos=1, retain=True)
        self._client.reconnect_delay_set(FIRST_DELAY, LONGEST_DELAY)
        if config.user is not None:
            self._client.username_pw_set(config.user, access.password)
        if access.context is not None:
            self._client.tls_set_context(access.context)
        self._client.connect_async(config.host, access.port, keepalive=KEEP_ALIVE)
        self._client.loop_start()

    def publish(self, topic: str, payload: str, *, retain: bool) -> int:
        """Hand over a message, QoS 1; its id, which is acknowledged later."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def subscribe(self, topics: Sequence[str]) -> None:
        """Subscribe to each; as many are granted or not."""
        for topic in topics:
            self._client.subscribe(topic, 1)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Receive them no more."""
        for topic in topics:
            self._client.unsubscribe(topic)

    def stop(self, seconds: float = 0.0) -> None:
        """End it; its thread may hang in a look-up of the host's name, so it is waited for this long only."""
        self._client.disconnect()
        stopping = threading.Thread(target=self._client.loop_stop, daemon=True)
        stopping.start()
        stopping.join(seconds)

    def _put(self, what: str, **values: Any) -> None:  # noqa: ANN401 - the fields of Happened
        self.happened.put(Happened(what, **values))  # type: ignore[arg-type] # one of the words
        self._change.set()

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: Any, properties: Any) -> None:  # noqa: ANN401
        most = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        self._put("refused" if reason.is_failure else "connected", reason=str(reason), number=most)

    def _on_disconnect(self, _client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:  # noqa: ANN401
        logged, self._logged = self._logged, ""
        self._put("gone", reason=str(reason), logged=logged)

    def _on_subscribe(
        self, _client: object, _data: object, _number: int, reasons: Sequence[Any], _properties: object
    ) -> None:
        self._put("granted", good=not any(reason.is_failure for reason in reasons))

    def _on_message(self, _client: object, _data: object, message: Any) -> None:  # noqa: ANN401
        """What comes faster than it is taken is dropped: a flood must not fill the memory."""
        if self.happened.qsize() < MOST_UNREAD:
            self._put("received", topic=message.topic, payload=message.payload[:MOST_PAYLOAD], good=message.retain)

    def _on_log(self, _client: object, _data: object, _level: int, text: str) -> None:
        """The library gives a socket's error to its log alone."""
        if " on socket: " in text:
            self._logged = _openssl_words(text.partition(" on socket: ")[2])


def not_connected(error: BaseException | None, config: MqttConfig) -> str:
    """What follows "the MQTT broker HOST:PORT …" where no connection was made, from what the library raised."""
    match error:
        case ssl.SSLCertVerificationError():
            what = _certificate(error, config)
        case socket.gaierror(errno=socket.EAI_AGAIN):
            what = f"is not known now ({error.strerror}): no name server answers; check the network"
        case socket.gaierror():
            what = f"is not known ({error.strerror}); check mqtt.host"
        case ConnectionRefusedError():
            what = f"does not listen at this port ({error.strerror}); check mqtt.port, and that the broker runs"
        case None | TimeoutError():
            what = "does not answer; check mqtt.host, mqtt.port and the firewall"
        case ssl.SSLError() | ConnectionResetError() if config.secure:
            what = (
                f"does not speak TLS at this port ({_openssl(error)}); name its TLS port in mqtt.port, or remove "
                "mqtt.tls, mqtt.ca and mqtt.certificate"
            )
        case _:
            what = f"cannot be reached ({reason_of(error)})"
    return what


def refused(reason: str) -> str:
    """The same for a broker that refuses the connection with this reason."""
    advice = "check user and password" if reason in WRONG_PASSWORD else "see the broker's log"
    return f"refuses edgecap ({reason}); {advice}"


def ended(reason: str, logged: str, *, accepted: bool, config: MqttConfig, client_id: str) -> str:
    """The same for a connection that ended; `accepted` if the broker had accepted it, `logged` the library's words."""
    if reason == "Session taken over":
        return (
            f"ended the connection ({reason}): another client connected with the client id {client_id}; "
            "no other program may use it"
        )
    if accepted:
        return f"is gone ({logged or ('connection lost' if reason == 'Unspecified error' else reason)})"
    if "certificate" in logged or "alert" in logged:  # as OpenSSL words what the other side complains of
        if config.certificate is None:
            return f"wants a certificate of edgecap ({logged}); set mqtt.certificate and mqtt.key"
        return f"refuses edgecap's certificate ({logged}); check mqtt.certificate and mqtt.key"
    if reason == "Protocol error":
        return "does not speak MQTT at this port; check mqtt.port"
    tls = "" if config.secure else "; if it is a TLS port, set mqtt.tls = true"
    return f"closes the connection without an answer ({logged or 'connection lost'}){tls}"


def _certificate(error: ssl.SSLCertVerificationError, config: MqttConfig) -> str:
    code, words = error.verify_code, error.verify_message
    if code in WRONG_NAME:
        return f"has a certificate for another name ({words}); set mqtt.host to a name in the certificate"
    if code in UNKNOWN_AUTHORITY:
        advice = "name that of its authority in mqtt.ca" if config.ca is None else "mqtt.ca is not its authority"
        return f"has a certificate that is not trusted ({words}); {advice}"
    if code in WRONG_TIME:
        return f"has a certificate that is not valid today ({words}); check the clock (type: date) and the certificate"
    return f"has a certificate that is refused ({words or reason_of(error)})"


def _openssl(error: BaseException | None) -> str:
    """The reason of an error of the TLS library."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str) and reason:
        return reason.replace("_", " ").lower()
    return _openssl_words(reason_of(error)) if error else "connection lost"


def _openssl_words(text: str) -> str:
    """An error's text without the names of the library's sources."""
    return re.sub(r"^\[[^]]*\] *|^\w*: |\s*\(_ssl\.c:\d+\)$", "", text).lower()


def _tls(config: MqttConfig) -> ssl.SSLContext:
    """The authorities that are trusted, and the client's certificate. Raises ConfigError."""
    files: dict[str, str] = {}
    for key in ("ca", "certificate", "key"):
        name = getattr(config, key)
        if name is not None:
            try:
                files[key] = str(Path(name).expanduser())
                read_at_most(Path(files[key]), MOST_CONFIGURATION)
            except (OSError, RuntimeError) as error:
                reason = reason_of(error)
                raise ConfigError(
                    f"mqtt.{key}: {name} cannot be read ({reason}); check its name and permissions"
                ) from error
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
    except (ssl.SSLError, ValueError) as error:
        reason = _openssl(error)
        raise ConfigError(f"mqtt.ca: {config.ca} is not a PEM file of certificates ({reason})") from error
    if "certificate" in files:
        try:
            context.load_cert_chain(files["certificate"], files.get("key"), password="")
        except (ssl.SSLError, ValueError) as error:
            reason = _openssl(error)
            raise ConfigError(
                f"mqtt.certificate: {config.certificate} and its key cannot be used ({reason}); both must be PEM "
                "files, without a passphrase, that belong together"
            ) from error
    return context
