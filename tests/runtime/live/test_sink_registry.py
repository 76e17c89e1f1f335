"""Every sink is one module and one key of the configuration: its option, its opener, its line in the documentation."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

import pytest

from edgecap.captioner import Captioner
from edgecap.live.config.config_file import ConfigKey, config_keys
from edgecap.live.config.listen_config import ListenConfig, OutputConfig
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.live.sinks.registry import configured, open_sinks
from support.live_parts import ignore

DOCUMENT = Path(__file__).parents[3] / "docs/listening.md"
SINKS = [key for key in config_keys() if key.option and key.option.sink]


@pytest.mark.parametrize("key", SINKS, ids=lambda key: key.name)
def test_every_sink_can_be_opened_by_its_name_and_stands_in_the_documentation(key: ConfigKey) -> None:
    assert key.option is not None
    module, _, function = key.option.sink.partition(":")
    path = module if "." in module else f"edgecap.live.sinks.{module}"
    assert callable(resolve_name(f"{path}:{function}"))
    usage = f"{key.option.flags[0]} {key.option.metavar}".replace("T|S", "T\\|S")
    assert f"| `{usage}` | {key.option.help} |" in DOCUMENT.read_text(encoding="utf-8").splitlines()


def test_sinks_that_store_are_opened_first_then_views_then_the_others(captioner: Captioner, tmp_path: Path) -> None:
    output = OutputConfig(csv=str(tmp_path / "a.csv"), journal=str(tmp_path / "a.db"))
    view = Sink()
    sinks = list(open_sinks(SinkContext(ListenConfig(output=output), captioner, ignore), [view]))
    assert [sink.name for sink in sinks] == ["--journal", "the view", "--csv"]
    for sink in sinks:
        sink.close()


def test_what_is_not_set_is_not_opened() -> None:
    assert configured(ListenConfig()) == []
    config = ListenConfig(mqtt=MqttConfig(host="broker.lan"), web=WebConfig(address="8080"))
    assert [value for _, value in configured(config)] == ["broker.lan", "8080"]
