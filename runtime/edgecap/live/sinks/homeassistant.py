"""What Home Assistant is told of a listener: MQTT discovery in its form for devices.

Each microphone is a device, so that it can be in a room, and is removed as a whole. Its components: an event entity,
which fires for each event even if the caption is the same; the caption of the event that is going on; whether there is
sound; the level; and whether something is wrong with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from edgecap._version import __version__

LONGEST_STATE = 255
"""Characters that Home Assistant allows in a state."""
DISCOVERY = "homeassistant"
"""Home Assistant's own prefix."""
LONGEST_SLUG = 40
SOUND = "sound"
"""Type of an event that matches no rule."""
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

    def device(self) -> Document:
        """The announcement."""
        own = f"edgecap-{self.node.name}-{slug(self.name)}"

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
            "origin": {"name": "edgecap", "sw_version": __version__},
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
        document = json.loads(payload)
    except ValueError:
        return False
    if not isinstance(document, dict):
        return False
    captioned = topic.endswith("/caption") and (document.keys() == {"state"} or "confidence" in document)
    return captioned or "level_dbfs" in document


def leftovers(node: Node, names: Sequence[str], old_node: str) -> Iterator[str]:
    """Filters of what this listener, or an early version of edgecap as `old_node`, left retained."""
    for kind in ("caption", "state"):
        yield f"{node.base}/+/{kind}"
        yield f"{node.topic}/{old_node}/{kind}"
    discovery = node.discovery or DISCOVERY  # where nothing is announced any more, what was is removed
    yield f"{discovery}/device/edgecap-{node.name}/+/config"
    parts = {re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-").lower() for name in names} - {""}
    for own in [f"edgecap-{old_node}", *(f"edgecap-{old_node}-{part}" for part in sorted(parts))]:
        yield from (f"{discovery}/{kind}/{own}/+/config" for kind in ("sensor", "binary_sensor"))
