"""Starts `edgecap listen` with what the add-on's options and Home Assistant's Supervisor say."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecap.errors import EdgecapError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import microphones
from edgecap.util.files import write_atomically

DATA, OWN = Path("/data"), Path("/config/listen.toml")
"""The add-on's state, and a configuration of the user's own, which the options override."""
INGRESS = "172.30.32.2"
"""Home Assistant's proxy, which lets in its own users alone."""
SUPERVISOR = "http://supervisor"


def main() -> None:
    """Write the configuration and become the listener."""
    options = json.loads((DATA / "options.json").read_text(encoding="utf-8"))
    try:
        config = configuration(options, broker(), OWN if OWN.exists() else None)
    except EdgecapError as error:
        sys.exit(f"edgecap: error: {error}")
    write_atomically(DATA / "listen.toml", config.encode())
    os.environ["EDGECAP_HOME"] = str(DATA)
    command = ["-m", "edgecap", "listen", "--config", str(DATA / "listen.toml"), "--wait", "--plain"]
    os.execv(sys.executable, [sys.executable, *command])


def configuration(options: Mapping[str, Any], mqtt: Mapping[str, object], own: Path | None) -> str:
    """The configuration of `edgecap listen` for the options of the add-on. Raises ConfigError."""
    listed = [{key: value for key, value in each.items() if value} for each in options["microphones"]]
    over: dict[str, dict[str, object]] = {
        "web": {"address": "0.0.0.0:8099", "ingress": INGRESS},
        "events": {key: tuple(options[key]) for key in ("only", "ignore") if options[key]},
        "output": {"journal": str(DATA / "events.db"), "keep": options["keep"]},
        "mqtt": dict(mqtt),
    }
    tables = {"microphones": listed} if listed else {}
    if not listed and microphones(load_config(own)) == [None]:
        over["source"] = {"pulse": "@DEFAULT_SOURCE@"}
    return render_config(load_config(own, over, tables))


def broker() -> dict[str, object]:
    """The section [mqtt] for Home Assistant's own broker; empty where it has none."""
    request = urllib.request.Request(f"{SUPERVISOR}/services/mqtt")
    request.add_header("Authorization", f"Bearer {os.environ.get('SUPERVISOR_TOKEN', '')}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            data = json.load(answer)["data"]
        given = {"user": data.get("username"), "password": data.get("password"), "tls": bool(data.get("ssl"))}
        return {"host": data["host"], "port": int(data["port"]), **{key: each for key, each in given.items() if each}}
    except (OSError, ValueError, KeyError) as error:
        print(f"note: no MQTT broker of Home Assistant ({error}); events are on the page alone", file=sys.stderr)  # noqa: T201
        return {}


if __name__ == "__main__":
    main()
