"""Events to an MQTT broker, announced to Home Assistant.

Topics, below "TOPIC/NODE": `availability` ("online", or "offline" as the last will), `caption` (the event as JSON,
when it begins and when it ends), `state` (level, gate and hop as JSON, every ten seconds, in quiet too); all
retained, at QoS 1 but for the state. Of several microphones each has its own `caption` and `state`, below
"TOPIC/NODE/NAME". While the broker is away the captions wait in a bounded queue; the oldest are dropped first.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

from edgecap._version import __version__
from edgecap.errors import MissingDependencyError, OutputError
from edgecap.live.config.config_file import read_secret
from edgecap.live.config.listen_config import MqttConfig
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.types import Notify

if TYPE_CHECKING:
    from paho.mqtt.client import Client

STATE_SECONDS = 10.0
FIRST_SECONDS = 5.0
"""Time that the broker has for its first answer; after it listening begins without the broker."""
LAST_SECONDS = 3.0
"""Time for the last messages at the end."""
LONGEST_STATE = 255
"""Characters that Home Assistant allows in a state."""
REFUSED = {"Not authorized", "Bad user name or password", "Client identifier not valid", "Banned"}
"""Answers for which trying again is useless."""


class Mqtt(Sink):
    """A connection to a broker, kept by the thread of paho-mqtt."""

    def __init__(
        self,
        config: MqttConfig,
        notify: Notify,
        *,
        model: str,
        several: bool = False,
        audio_kept: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect. A broker that is away is reported and waited for. `several` microphones get separate topics.

        Raises OutputError where it refuses the connection, ConfigError for a password file that cannot be read,
        MissingDependencyError without paho-mqtt.
        """
        try:
            from paho.mqtt import client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingDependencyError.for_extra("sending events by MQTT", "mqtt") from error
        assert config.host is not None
        self._config, self._notify, self._model, self._clock = config, notify, model, clock
        self._several, self._audio_kept = several, audio_kept
        self.node = config.node or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname()) or "edgecap"
        self._base = f"{config.topic}/{self.node}"
        self._next_state: dict[str, float] = {}
        self._answered = threading.Event()
        """Set once the broker accepted or refused the first connection, or that failed."""
        self._lock = threading.Lock()
        """Guards the seven below, which the listening thread and the library's thread share."""
        self._connected = self._reported_away = False
        self._refusal = ""
        self._sources: tuple[str, ...] = ()
        self._waiting: deque[tuple[str, str]] = deque(maxlen=config.queue)
        self._lost = self._reported_lost = 0
        self._where = f"{config.host}:{config.port or (8883 if config.tls else 1883)}"
        self._client: Client = client.Client(CallbackAPIVersion.VERSION2, client_id=f"edgecap-{self.node}")
        self._client.will_set(f"{self._base}/availability", "offline", qos=1, retain=True)
        self._client.reconnect_delay_set(1, 60)
        if config.user is not None:
            password = (
                config.password
                if config.password_file is None
                else read_secret(config.password_file, "password", notify)
            )
            self._client.username_pw_set(config.user, password)
        if config.tls:
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(config.host, config.port or (8883 if config.tls else 1883), keepalive=30)
        self._client.loop_start()
        self._answered.wait(FIRST_SECONDS)
        with self._lock:
            refusal, connected = self._refusal, self._connected
        if refusal:
            self._client.loop_stop()
            raise OutputError(f"the MQTT broker {self._where} refuses edgecap ({refusal}); check user and password")
        if not connected:
            self._report_away("does not answer")

    @property
    def lost(self) -> int:
        """Messages that were dropped because the queue was full."""
        with self._lock:
            return self._lost

    def on_event(self, change: Change) -> None:
        """Publish the beginning or the end of an event, or queue it while the broker is away."""
        if change.kind == "update":
            return
        fields = change.event.document(kind=change.kind, model=self._model, audio_kept=self._audio_kept)
        topic = f"{self._below(change.event.source)}caption"
        fields["state"] = change.event.text[:LONGEST_STATE]
        message = json.dumps(fields, ensure_ascii=False, allow_nan=False)
        with self._lock:
            if not self._connected:
                self._lost += len(self._waiting) == self._waiting.maxlen
                self._waiting.append((topic, message))
                return
        self._publish(topic, message, qos=1)

    def on_status(self, status: StatusSnapshot) -> None:
        """Publish it every `STATE_SECONDS`, and announce a source when its name is new."""
        with self._lock:
            if not self._connected:
                return
            new = status.source not in self._sources
            if new:
                self._sources = (*self._sources, status.source) if self._several else (status.source,)
        if new:
            self._announce([status.source])
        below = self._below(status.source)
        if self._clock() < self._next_state.get(below, float("-inf")):
            return
        self._next_state[below] = self._clock() + STATE_SECONDS
        state = {
            "level_dbfs": round(status.level, 1),
            "loudest_dbfs": round(status.loudest, 1),
            "sound": "ON" if status.gate_open else "OFF",
            "hop": status.hop,
            "fault": status.fault,
            "dropped": status.dropped,
            "celsius": status.celsius,
            "source": status.source,
            "audio_kept": self._audio_kept,
        }
        self._publish(f"{below}state", json.dumps(state), qos=0)

    def close(self) -> None:
        """Say "offline", and end the library's thread."""
        with self._lock:
            connected, waiting = self._connected, len(self._waiting)
        if connected:
            self._publish("availability", "offline", qos=1, wait=True)
        elif waiting:
            self._notify("warning", f"the MQTT broker {self._where} is away; {waiting} messages were not sent")
        self._client.disconnect()
        self._client.loop_stop()

    def discovery(self, source: str) -> dict[str, dict[str, Any]]:
        """Home Assistant's announcements, topic to payload: caption, level and whether there is sound at `source`."""
        prefix, below = self._config.discovery, self._below(source)
        part = f"-{below[:-1]}" if below else ""
        own, name = f"edgecap-{self.node}{part}", f"{source} " if below else ""
        device = {
            "identifiers": [f"edgecap-{self.node}"],
            "name": f"edgecap {self.node}",
            "manufacturer": "edgecap",
            "model": self._model,
            "sw_version": __version__,
        }
        common = {"availability_topic": f"{self._base}/availability", "device": device}
        state, events = f"{self._base}/{below}state", f"{self._base}/{below}caption"

        def entity(kind: str, **fields: str) -> dict[str, Any]:
            names = {"name": f"{name}{kind.capitalize()}", "unique_id": f"{own}-{kind}"}
            return {**common, **names, "state_topic": state, **fields}

        caption = entity(
            "caption",
            icon="mdi:ear-hearing",
            state_topic=events,
            value_template="{{ value_json.state }}",
            json_attributes_topic=events,
        )
        level = entity(
            "level",
            value_template="{{ value_json.level_dbfs }}",
            unit_of_measurement="dBFS",
            state_class="measurement",
            icon="mdi:volume-high",
            json_attributes_topic=state,
        )
        sound = entity("sound", value_template="{{ value_json.sound }}", device_class="sound")
        return {
            f"{prefix}/sensor/{own}/caption/config": caption,
            f"{prefix}/sensor/{own}/level/config": level,
            f"{prefix}/binary_sensor/{own}/sound/config": sound,
        }

    def _below(self, source: str) -> str:
        """What stands before `caption` and `state` in the topics of a source: its name, where there are several."""
        if not self._several:
            return ""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", source).strip("-").lower()
        return f"{plain or f'{crc32(source.encode()):08x}'}/"  # a name in another script has none of these letters

    def _announce(self, sources: Sequence[str]) -> None:
        """Announce these sources to Home Assistant."""
        for source in sources if self._config.discovery else ():
            for topic, payload in self.discovery(source).items():
                self._client.publish(topic, json.dumps(payload), qos=1, retain=True)

    def _publish(self, topic: str, message: str, *, qos: int, wait: bool = False) -> None:
        sent = self._client.publish(f"{self._base}/{topic}", message, qos=qos, retain=True)
        if wait:
            with suppress(RuntimeError, ValueError):  # the connection was lost meanwhile
                sent.wait_for_publish(LAST_SECONDS)

    def _on_connect(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:  # noqa: ANN401
        """In the library's thread: announce, say "online", send what waited."""
        if reason.is_failure:
            if str(reason) in REFUSED:
                with self._lock:
                    self._refusal = str(reason)
            if self._answered.is_set():  # else the constructor raises
                self._report_away(f"refuses edgecap ({reason})")
            self._answered.set()
            return
        with self._lock:
            sources = self._sources
        self._announce(sources)
        self._client.publish(f"{self._base}/availability", "online", qos=1, retain=True)
        with self._lock:
            while self._waiting:
                topic, message = self._waiting.popleft()
                self._publish(topic, message, qos=1)
            self._connected, self._refusal = True, ""
            lost, self._reported_lost = self._lost - self._reported_lost, self._lost
            was_away, self._reported_away = self._reported_away, False
        if was_away:
            dropped = f"; {lost} captions were dropped meanwhile, the oldest" if lost else ""
            self._notify("note", f"the MQTT broker {self._where} is there{dropped}")
        self._answered.set()

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        self._answered.set()

    def _on_disconnect(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:  # noqa: ANN401
        with self._lock:
            self._connected = False
            refused = bool(self._refusal)
        if reason.is_failure and not refused:
            self._report_away(f"is gone ({reason})")

    def _report_away(self, what: str) -> None:
        """Say once that the broker is away, until it is back."""
        with self._lock:
            reported, self._reported_away = self._reported_away, True
        if not reported:
            self._notify(
                "warning", f"the MQTT broker {self._where} {what}; captions wait for it, at most {self._config.queue}"
            )


def open_mqtt(context: SinkContext) -> Sink:
    """As configured by [mqtt]. Raises OutputError, ConfigError, MissingDependencyError."""
    return Mqtt(
        context.config.mqtt, context.notify, model=context.model, several=context.several, audio_kept=context.audio_kept
    )
