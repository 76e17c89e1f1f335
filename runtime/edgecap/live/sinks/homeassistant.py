"""What Home Assistant is told of a listener: MQTT discovery in its form for devices.

Each microphone is a device, so that it can be in a room, and is removed as a whole. Its components: an event entity,
which fires for each event even if the caption is the same; the caption of the event that is going on and its
confidence; whether there is sound; the level; and whether something is wrong with it. Each named sound has an entity
for whether it is heard and one for its events, announced alone, so that they go when the sound is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from edgecap._version import __version__
from edgecap.util.documents import from_json

LONGEST_STATE = 255
"""Characters that Home Assistant allows in a state."""
DISCOVERY = "homeassistant"
"""Home Assistant's own prefix."""
LONGEST_SLUG = 40
SOUND = "sound"
"""Type of an event that matches no rule."""
HEARD = "heard"
"""Type of an event of a named sound's own entity."""
ORIGIN = {"name": "edgecap", "sw_version": __version__}
Document = dict[str, object]


@dataclass(frozen=True)
class Node:
    """A listener."""

    name: str
    """What identifies it: [A-Za-z0-9_-]."""
    host: str
    """For people only."""
    topic: str
    """Its topics begin with this and its name."""
    discovery: str
    """Home Assistant's prefix."""
    model: str
    event_types: tuple[str, ...] = ()
    """Names of rules."""
    sounds: Mapping[str, str] = field(default_factory=dict)
    """Named sounds: identifier to name."""

    @property
    def base(self) -> str:
        """Topic of the listener, with "/availability" below."""
        return f"{self.topic}/{self.name}"


@dataclass(frozen=True)
class Place:
    """A microphone of a listener, by the name in the configuration."""

    node: Node
    name: str
    named: bool = True
    """Whether people know it by its name; it is that of the listener's host otherwise."""

    @property
    def base(self) -> str:
        """Topic of the microphone, with "/event", "/ended", "/caption" and "/state" below."""
        return f"{self.node.base}/{slug(self.name)}"

    @property
    def discovery_topic(self) -> str:
        """Where its device is announced."""
        return f"{self.node.discovery}/device/edgecap-{self.node.name}/{slug(self.name)}/config"

    @property
    def own(self) -> str:
        """What identifies its device."""
        return f"edgecap-{self.node.name}-{slug(self.name)}"

    def sound_topic(self, identifier: str) -> str:
        """Where it is said whether a named sound is heard, with "/heard" below for when it begins."""
        return f"{self.base}/sounds/{identifier}"

    def sounds(self) -> Iterator[tuple[str, Document]]:
        """Topics and announcements of the named sounds."""
        for identifier, name in self.node.sounds.items():
            common: Document = {
                "name": name[:1].upper() + name[1:],
                "device": {"identifiers": [self.own]},
                "origin": ORIGIN,
                "availability_topic": f"{self.node.base}/availability",
                "qos": 1,
            }
            topic = self.sound_topic(identifier)
            more: dict[str, Document] = {
                "binary_sensor": {
                    "unique_id": f"{self.own}-heard-{identifier}",
                    "state_topic": topic,
                    "value_template": "{{ value_json.state }}",
                    "json_attributes_topic": topic,
                    "device_class": "sound",
                },
                "event": {
                    "unique_id": f"{self.own}-sound-{identifier}",
                    "state_topic": f"{topic}/heard",
                    "event_types": [HEARD],
                    "icon": "mdi:ear-hearing",
                },
            }
            for platform, document in more.items():
                place = f"{self.node.discovery}/{platform}/edgecap-{self.node.name}/{slug(self.name)}-{identifier}"
                yield f"{place}/config", {**common, **document}

    def device(self) -> Document:
        """The announcement."""
        own = self.own

        def component(platform: str, key: str, name: str, **more: object) -> Document:
            return {"platform": platform, "unique_id": f"{own}-{key}", "name": name, **more}

        state = f"{self.base}/state"
        return {
            "device": {
                "identifiers": [own],
                "name": f"edgecap {self.name if self.named else self.node.host}",
                "manufacturer": "edgecap",
                "model": self.node.model,
                "sw_version": __version__,
            },
            "origin": ORIGIN,
            "availability_topic": f"{self.node.base}/availability",
            "qos": 1,
            "components": {
                "event": component(
                    "event",
                    "event",
                    "Event",
                    state_topic=f"{self.base}/event",
                    event_types=list(dict.fromkeys((SOUND, *self.node.event_types))),
                    icon="mdi:ear-hearing",
                ),
                "caption": component(
                    "sensor",
                    "caption",
                    "Caption",
                    state_topic=f"{self.base}/caption",
                    value_template="{{ value_json.state }}",
                    json_attributes_topic=f"{self.base}/caption",
                    icon="mdi:text-short",
                ),
                "confidence": component(
                    "sensor",
                    "confidence",
                    "Confidence",
                    state_topic=f"{self.base}/caption",
                    value_template="{{ 100 * value_json.confidence if 'confidence' in value_json else None }}",
                    unit_of_measurement="%",
                    state_class="measurement",
                    suggested_display_precision=0,
                    icon="mdi:percent",
                ),
                "sound": component(
                    "binary_sensor",
                    "sound",
                    "Sound",
                    state_topic=state,
                    value_template="{{ value_json.sound }}",
                    device_class="sound",
                ),
                "level": component(
                    "sensor",
                    "level",
                    "Level",
                    state_topic=state,
                    value_template="{{ value_json.level_dbfs }}",
                    unit_of_measurement="dBFS",
                    state_class="measurement",
                    icon="mdi:volume-high",
                ),
                "problem": component(
                    "binary_sensor",
                    "problem",
                    "Problem",
                    state_topic=state,
                    value_template="{{ 'ON' if value_json.fault else 'OFF' }}",
                    json_attributes_topic=state,
                    json_attributes_template="{{ {'fault': value_json.fault} | tojson }}",
                    device_class="problem",
                    entity_category="diagnostic",
                ),
            },
        }


def slug(name: str) -> str:
    """A level of a topic for a name: the name itself if it can be one, else what is left of it and a checksum."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:LONGEST_SLUG]
    if plain and plain == name and not re.search(r"-[0-9a-f]{8}\Z", name):  # that could be another name's checksum
        return name
    return f"{plain or 'microphone'}-{crc32(name.encode(errors='surrogateescape')):08x}"


def is_own(topic: str, payload: bytes) -> bool:
    """Whether what is retained there is edgecap's: other programs may use topics beside its own."""
    if topic.endswith("/config"):
        return True  # below "edgecap-NODE"
    try:
        document = from_json(payload)
    except ValueError:
        return False
    if not isinstance(document, dict):
        return False
    if topic.split("/")[-2:-1] == ["sounds"]:
        return document.keys() >= {"state", "confidence"}
    captioned = topic.endswith("/caption") and (document.keys() == {"state"} or "confidence" in document)
    return captioned or "level_dbfs" in document


def leftovers(node: Node, names: Sequence[str], old_node: str) -> Iterator[str]:
    """Filters of what this listener, or an early version of edgecap as `old_node`, left retained."""
    for kind in ("caption", "state"):
        yield f"{node.base}/+/{kind}"
        yield f"{node.topic}/{old_node}/{kind}"
    yield f"{node.base}/+/sounds/+"
    discovery = node.discovery or DISCOVERY  # where nothing is announced any more, what was is removed
    yield f"{discovery}/device/edgecap-{node.name}/+/config"
    yield from (f"{discovery}/{kind}/edgecap-{node.name}/+/config" for kind in ("event", "binary_sensor"))
    parts = {re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-").lower() for name in names} - {""}
    for own in [f"edgecap-{old_node}", *(f"edgecap-{old_node}-{part}" for part in sorted(parts))]:
        yield from (f"{discovery}/{kind}/{own}/+/config" for kind in ("sensor", "binary_sensor"))
