"""What Home Assistant is told. Its own schemas check it where the package `homeassistant` is installed, which is no
dependency. In an environment of its own, with edgecap, pytest and homeassistant==2024.3.3, in `tests`:
pytest --noconftest -p no:warnings runtime/live/sinks/test_home_assistant.py deploy/test_home_assistant_files.py
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from edgecap.live.sinks.homeassistant import LONGEST_SLUG, Node, Place, leftovers, slug

NODE = Node("d14f08", "raspberrypi", "home/edgecap", "homeassistant", "tiny", ("alarm", "sound", "pets"))


def test_a_name_that_can_be_a_topic_is_one_and_any_other_two_are_different() -> None:
    assert [slug(name) for name in ("kitchen", "USB-2", "a_b", "2")] == ["kitchen", "USB-2", "a_b", "2"]
    others = ["\u041a\u0443\u0445\u043d\u044f 1", "\u0421\u043f\u0430\u043b\u044c\u043d\u044f 1", "\u53a8\u623f"]
    others += ["K\u00fcche", "K\u00f6che"]
    others += ["a b", "a  b", "a/b", "a+b", "#", "+", "", " ", "-", "a" * 41, "a" * 42, "USB Audio: - (hw:1,0)"]
    others += [slug("a b"), slug(slug("a b"))]  # named after another's topic
    slugs = [slug(name) for name in others]
    assert len(set(slugs)) == len(others)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", each) and len(each) <= LONGEST_SLUG + 9 for each in slugs)
    assert slug("K\u00fcche") == "K-che-f7213924"  # it may never change: it identifies entities


def test_each_microphone_is_a_device_with_six_entities() -> None:
    place = Place(NODE, "kitchen")
    assert place.discovery_topic == "homeassistant/device/edgecap-d14f08/kitchen/config"
    document: Any = place.device()
    assert document["device"]["identifiers"] == ["edgecap-d14f08-kitchen"]
    assert document["device"]["name"] == "edgecap kitchen"
    assert document["origin"]["name"] == "edgecap"
    assert document["availability_topic"] == "home/edgecap/d14f08/availability"
    components = document["components"]
    assert {key: each["platform"] for key, each in components.items()} == {
        "event": "event",
        "caption": "sensor",
        "confidence": "sensor",
        "sound": "binary_sensor",
        "level": "sensor",
        "problem": "binary_sensor",
    }
    assert {each["unique_id"] for each in components.values()} == {
        f"edgecap-d14f08-kitchen-{key}" for key in components
    }
    assert components["event"]["state_topic"] == "home/edgecap/d14f08/kitchen/event"
    assert components["event"]["event_types"] == ["sound", "alarm", "pets"]


def test_the_host_is_a_name_for_people_only() -> None:
    document: Any = Place(NODE, "microphone", named=False).device()
    assert document["device"].pop("name") == "edgecap raspberrypi"
    assert "raspberrypi" not in str(document)


def test_only_what_this_listener_left_is_looked_for() -> None:
    filters = list(leftovers(NODE, ["kitchen", "\u53a8\u623f"], "raspberrypi"))
    assert filters == [
        "home/edgecap/d14f08/+/caption",
        "home/edgecap/raspberrypi/caption",
        "home/edgecap/d14f08/+/state",
        "home/edgecap/raspberrypi/state",
        "home/edgecap/d14f08/+/sounds/+",
        "homeassistant/device/edgecap-d14f08/+/config",
        "homeassistant/event/edgecap-d14f08/+/config",
        "homeassistant/binary_sensor/edgecap-d14f08/+/config",
        "homeassistant/sensor/edgecap-raspberrypi/+/config",
        "homeassistant/binary_sensor/edgecap-raspberrypi/+/config",
        "homeassistant/sensor/edgecap-raspberrypi-kitchen/+/config",
        "homeassistant/binary_sensor/edgecap-raspberrypi-kitchen/+/config",
    ]


def test_home_assistants_own_schemas_take_it() -> None:
    pytest.importorskip("homeassistant", reason="homeassistant is not installed; it is for this test alone")
    from homeassistant.components.mqtt import binary_sensor, event, sensor  # type: ignore[import-not-found]

    platforms = {"event": event, "sensor": sensor, "binary_sensor": binary_sensor}
    document: Any = Place(NODE, "kitchen").device()
    with suppress(ImportError):  # before 2024.11 there was none for devices
        from homeassistant.components.mqtt.schemas import (  # type: ignore[import-not-found]
            DEVICE_DISCOVERY_SCHEMA,
        )

        DEVICE_DISCOVERY_SCHEMA(document)
    common = {key: document[key] for key in ("device", "origin", "availability_topic", "qos")}
    for component in document["components"].values():
        checked = platforms[component["platform"]].DISCOVERY_SCHEMA({**common, **component})
        assert component.keys() - checked.keys() <= {"platform"}  # nothing was put aside as unknown
    for topic, sound in Place(replace(NODE, sounds={"our-doorbell": "our doorbell"}), "kitchen").sounds():
        checked = platforms[topic.split("/")[1]].DISCOVERY_SCHEMA(sound)
        assert sound.keys() <= checked.keys()


def test_each_named_sound_has_two_entities_of_the_same_device() -> None:
    place = Place(replace(NODE, sounds={"our-doorbell": "our doorbell"}), "kitchen")
    announced: Any = dict(place.sounds())
    assert list(announced) == [
        f"homeassistant/{platform}/edgecap-d14f08/kitchen-our-doorbell/config"
        for platform in ("binary_sensor", "event")
    ]
    assert {each["unique_id"] for each in announced.values()} == {
        "edgecap-d14f08-kitchen-heard-our-doorbell",
        "edgecap-d14f08-kitchen-sound-our-doorbell",
    }
    document: Any = place.device()
    assert all(each["device"]["identifiers"] == document["device"]["identifiers"] for each in announced.values())
