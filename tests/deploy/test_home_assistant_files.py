"""The add-on and the blueprints of Home Assistant, as far as they can be checked without one."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from edgecap.errors import ConfigError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.listen_config import MicrophoneConfig, microphones
from support.source_tree import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "homeassistant"
ADD_ON = FOLDER / "edgecap"
BLUEPRINTS = sorted((FOLDER / "blueprints").glob("*.yaml"))


class Input(str):
    """A tag !input."""


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Knows !input."""


Loader.add_constructor("!input", lambda loader, node: Input(loader.construct_scalar(node)))


def read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def inputs(value: Any) -> set[str]:
    match value:
        case Input():
            return {str(value)}
        case list():
            return set().union(*map(inputs, value))
        case dict():
            return set().union(*map(inputs, value.values()))
    return set()


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_add_on", ADD_ON / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_options_as_they_come_make_a_configuration_for_ingress_alone(run: ModuleType, tmp_path: Path) -> None:
    options = read(ADD_ON / "config.yaml")["options"]
    broker = {"host": "core-mosquitto", "port": 1883, "user": "addons", "password": 'a"b\\'}
    (tmp_path / "a.toml").write_text(run.configuration(options, broker, None))
    config = load_config(tmp_path / "a.toml")
    assert microphones(config) == [MicrophoneConfig(pulse="@DEFAULT_SOURCE@")]
    assert (config.web.address, config.web.ingress, config.web.token) == ("0.0.0.0:8099", "172.30.32.2", None)
    assert (config.mqtt.host, config.mqtt.password, config.output.keep) == ("core-mosquitto", 'a"b\\', "30d")
    assert config.output.keep_audio is None


def test_options_override_the_users_own_file_and_a_wrong_one_is_named(run: ModuleType, tmp_path: Path) -> None:
    own = tmp_path / "listen.toml"
    own.write_text('[source]\nrtsp = "rtsp://camera/1"\n[stream]\nhop = 3\n')
    none = {"microphones": [], "only": [], "ignore": ["music"], "keep": "7d"}
    (tmp_path / "a.toml").write_text(run.configuration(none, {}, own))
    config = load_config(tmp_path / "a.toml")
    assert (config.stream.hop, config.events.ignore, config.mqtt.host) == (3, ("music",), None)
    assert [each.rtsp for each in microphones(config) if each] == ["rtsp://camera/1"]
    kitchen = {"name": "kitchen", "pulse": "usb", "rtsp": ""}
    (tmp_path / "b.toml").write_text(run.configuration(none | {"microphones": [kitchen]}, {}, None))
    assert microphones(load_config(tmp_path / "b.toml")) == [MicrophoneConfig(name="kitchen", pulse="usb")]
    with pytest.raises(ConfigError, match=r"number 1 needs one of device, rtsp, pulse, pipewire$"):
        run.configuration(none | {"microphones": [{"name": "kitchen"}]}, {}, None)


def test_every_option_is_explained_in_every_language_and_the_port_is_that_of_ingress() -> None:
    config = read(ADD_ON / "config.yaml")
    assert config["options"].keys() == config["schema"].keys()
    for path in (ADD_ON / "translations").glob("*.yaml"):
        assert read(path)["configuration"].keys() == config["options"].keys(), path
    assert f'"0.0.0.0:{config["ingress_port"]}"' in (ADD_ON / "run.py").read_text()
    assert f"[PORT:{config['ingress_port']}]" in config["watchdog"]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_uses_each_of_its_inputs_and_no_other(path: Path) -> None:
    document = read(path)
    assert inputs(document) == document["blueprint"]["input"].keys()
    assert path.name in (FOLDER / "README.md").read_text()


def test_home_assistants_own_schemas_take_the_blueprints() -> None:
    pytest.importorskip("homeassistant", reason="homeassistant is not installed; it is for this test alone")
    from homeassistant.components.automation import config as automation  # type: ignore[import-not-found]
    from homeassistant.components.blueprint import models, schemas  # type: ignore[import-not-found]
    from homeassistant.util.yaml import load_yaml  # type: ignore[import-not-found]

    given = {
        "event": "event.edgecap_kitchen_event",
        "sound": "binary_sensor.edgecap_kitchen_sound",
        "light": {"entity_id": "light.kitchen"},
    }
    for path in BLUEPRINTS:
        blueprint = models.Blueprint(load_yaml(str(path)), path=path.name, expected_domain="automation")
        schemas.BLUEPRINT_SCHEMA(blueprint.data)
        use = {"path": path.name, "input": {key: given[key] for key in blueprint.inputs if key in given}}
        inputs = models.BlueprintInputs(blueprint, {"use_blueprint": use})
        inputs.validate()
        config = inputs.async_substitute()
        config.pop("blueprint", None)
        automation.PLATFORM_SCHEMA({"id": "1", "alias": path.stem, **config})


def test_the_words_of_the_notification_are_whole_words() -> None:
    template = read(FOLDER / "blueprints" / "notify_on_words.yaml")["condition"][1]["value_template"]
    assert re.findall(r"regex_findall\('(.+?)'\)", template) == [r"\w+", r"\w+"]
