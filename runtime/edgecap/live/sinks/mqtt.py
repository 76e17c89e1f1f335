"""Events to an MQTT broker, announced to Home Assistant.

Topics, below "TOPIC/NODE": `availability` ("online", or "offline" as the last will), and below "TOPIC/NODE/NAME", for
each microphone by its name in the configuration:

- `event`, `ended`: an event as JSON when it begins and when it ends. Moments: not retained, each sent once.
- `caption`: the event that is going on, as JSON with its caption as `state`, empty where there is none. Retained.
- `sounds/ID`: whether a named sound is heard, as JSON with its confidence, retained; `sounds/ID/heard`: its events as
  JSON when they begin.
- `state`: whether there is sound, the loudest level since the last word, and faults, as JSON, when sound begins or
  ends, a fault comes or goes, and every ten seconds. Retained.
"""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from edgecap.audio.samples import LEVEL_FLOOR_DBFS
from edgecap.live.config.listen_config import ListenConfig, microphones
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.events.event import Change, Event
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.live.sinks.broker import Broker
from edgecap.live.sinks.homeassistant import HEARD, LONGEST_STATE, SOUND, Node, Place, is_own, leftovers
from edgecap.types import Notify
from edgecap.util.files import to_json
from edgecap.util.lasting_id import LastingId

STATE_SECONDS = 10.0
DEFAULT = "microphone"
"""Name of a microphone that the configuration does not name."""


@dataclass
class _Stream:
    """What was last known of a microphone."""

    place: Place
    event: Event | None = None
    """The open one."""
    fault: str = ""
    sound: bool = False
    loudest: float = LEVEL_FLOOR_DBFS
    """Since the last word."""
    next_word: float = float("-inf")


class Mqtt(Sink):
    """What a broker gets, and when. All of it is handed over by the thread that listens."""

    def __init__(
        self,
        config: MqttConfig,
        notify: Notify,
        *,
        model: str,
        names: Sequence[str] = (DEFAULT,),
        rules: Sequence[str] = (),
        sounds: Mapping[str, str] | None = None,
        audio_kept: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect. A broker that is away is reported and waited for.

        `names` are those of the microphones in the order of their numbers, each another; `rules` those of rules;
        `sounds` are the named sounds, identifier to name. Raises OutputError where it refuses the connection,
        ConfigError for a file that cannot be used, MissingDependencyError without paho-mqtt.
        """
        self._model, self._audio_kept, self._clock = model, audio_kept, clock
        self._identity = None if config.node else LastingId("mqtt-node", names)
        if self._identity is not None and not self._identity.lasts:
            notify("warning", "MQTT: no id can be kept, so topics change with each start; set mqtt.node")
        host = socket.gethostname()
        node = Node(
            config.node or (self._identity.text if self._identity else ""),
            host,
            config.topic,
            config.discovery,
            model,
            tuple(rules),
            sounds or {},
        )
        self.node = node.name
        self._streams = [_Stream(Place(node, name, named=name != DEFAULT)) for name in names]
        old_node = config.node or re.sub(r"[^A-Za-z0-9_-]", "-", host) or "edgecap"
        try:
            self.broker = Broker(
                config,
                notify,
                base=node.base,
                client_id=f"edgecap-{node.name}-{secrets.token_hex(4)}",
                leftovers=list(dict.fromkeys(leftovers(node, names, old_node))),
                is_own=is_own,
                clock=clock,
            )
            for stream in self._streams:
                if config.discovery:
                    self.broker.keep(stream.place.discovery_topic, to_json(stream.place.device()))
                self._announce_sounds(stream)
                self._show(stream)
                self._say(stream, None)
            self.broker.first_answer()
            if self._identity is not None:  # nobody knows it otherwise
                notify("note", f"events go to the MQTT topics {node.base}/NAME/event")
        except BaseException:
            self._release()
            raise

    def on_event(self, change: Change) -> None:
        """Send the beginning or the end of an event, and show the one that is going on."""
        stream, event = self._streams[change.number], change.event
        if change.kind != "update":
            fields = event.document(kind=change.kind, model=self._model, audio_kept=self._audio_kept)
            document = {"event_type": event.rules[0] if event.rules else SOUND, "caption": event.text, **fields}
            topic = "event" if change.kind == "begin" else "ended"
            self.broker.send(f"{stream.place.base}/{topic}", to_json(document))
            if event.named in stream.place.node.sounds and change.kind == "begin":
                heard = to_json({**document, "event_type": HEARD})
                self.broker.send(f"{stream.place.sound_topic(event.named)}/heard", heard)
        if event.named:
            self._hear(stream, event.named, None if change.kind == "end" else event)
        else:
            stream.event = None if change.kind == "end" else event
            self._show(stream)
        self.broker.step()

    def on_status(self, status: StatusSnapshot) -> None:
        """Say it when sound begins or ends and when a fault comes or goes, and every `STATE_SECONDS`."""
        stream = self._streams[status.number]
        sound, fault = status.gate_open and not status.fault, status.fault
        changed = (sound, fault) != (stream.sound, stream.fault)
        stream.sound, stream.fault = sound, fault
        stream.loudest = max(stream.loudest, status.level, status.loudest)
        if changed or self._clock() >= stream.next_word:
            self._show(stream)
            self._say(stream, status)
        self.broker.step()

    def on_sounds(self, sounds: Mapping[str, str]) -> None:
        """Announce new sounds, and those that have another name; remove what was retained of those that are gone."""
        for stream in self._streams:
            before, stream.place = stream.place, replace(stream.place, node=replace(stream.place.node, sounds=sounds))
            for identifier in before.node.sounds.keys() - sounds.keys():
                self.broker.forget(before.sound_topic(identifier))
            for topic in dict(before.sounds()).keys() - dict(stream.place.sounds()).keys():
                self.broker.forget(topic)
            self._announce_sounds(stream, before.node.sounds)
        self.broker.step()

    def close(self) -> None:
        """Say that nothing goes on, then "offline"."""
        try:
            for stream in self._streams:
                stream.event, stream.sound, stream.fault = None, False, ""
                for identifier in stream.place.node.sounds:
                    self._hear(stream, identifier, None)
                self._show(stream)
                self._say(stream, None)
            self.broker.close()
        finally:
            self._release()

    def _announce_sounds(self, stream: _Stream, known: Collection[str] = ()) -> None:
        """Announce the named sounds; those that were not known are not heard yet."""
        for topic, announcement in stream.place.sounds() if stream.place.node.discovery else ():
            self.broker.keep(topic, to_json(announcement))
        for identifier in stream.place.node.sounds:
            if identifier not in known:
                self._hear(stream, identifier, None)

    def _hear(self, stream: _Stream, identifier: str, event: Event | None) -> None:
        """Whether a named sound is heard; nothing of one that was removed meanwhile."""
        if identifier not in stream.place.node.sounds:
            return
        document = {"state": "OFF" if event is None else "ON", "confidence": event and round(event.confidence, 3)}
        self.broker.keep(stream.place.sound_topic(identifier), to_json(document))

    def _show(self, stream: _Stream) -> None:
        """The caption of the event that is going on; with a fault nobody knows whether it is."""
        document: dict[str, object] = {"state": ""}
        if stream.event is not None and not stream.fault:
            event = stream.event
            document = {
                "state": event.text[:LONGEST_STATE],
                "caption": event.text,
                "confidence": round(event.confidence, 3),
                "calibrated": event.probability is not None,
            }
            document |= {"score": round(event.score, 4), "id": event.id, "rules": list(event.rules)}
        self.broker.keep(f"{stream.place.base}/caption", to_json(document))

    def _say(self, stream: _Stream, status: StatusSnapshot | None) -> None:
        """The state; that of a microphone which is not heard without a status."""
        level = None if status is None or stream.fault else round(stream.loudest, 1)
        document: dict[str, object] = {
            "sound": "ON" if stream.sound else "OFF",
            "level_dbfs": level,
            "fault": stream.fault,
            "audio_kept": self._audio_kept,
        }
        if status is not None:
            document |= {
                "source": status.source,
                "paused": status.paused,
                "hop": status.hop,
                "dropped": status.dropped,
                "celsius": status.celsius,
            }
        self.broker.keep(f"{stream.place.base}/state", to_json(document))
        stream.loudest, stream.next_word = LEVEL_FLOOR_DBFS, self._clock() + STATE_SECONDS

    def _release(self) -> None:
        if self._identity is not None:
            self._identity.close()


def names_of(config: ListenConfig) -> list[str]:
    """Names of the microphones that last: as configured, not what the devices call themselves."""
    if config.source.file is not None or config.source.stdin:
        return ["file" if config.source.file is not None else "stdin"]
    names: list[str] = []
    for number, microphone in enumerate(microphones(config), start=1):
        name = DEFAULT if microphone is None else microphone.name or microphone.place
        while name in names:
            name = f"{name} {number}"
        names.append(name)
    return names


def open_mqtt(context: SinkContext) -> Sink:
    """As configured by [mqtt]. Raises OutputError, ConfigError, MissingDependencyError."""
    config = context.config
    return Mqtt(
        config.mqtt,
        context.notify,
        model=context.model,
        names=names_of(config),
        rules=[rule.name for rule in config.rules],
        sounds=context.sounds,
        audio_kept=context.audio_kept,
    )
