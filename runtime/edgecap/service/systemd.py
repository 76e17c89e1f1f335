"""Installing, asking about and removing the unit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecap.errors import EdgecapError, MissingDependencyError, OutputError
from edgecap.live.config.config_file import load_config, render_config
from edgecap.live.config.listen_config import ListenConfig, OutputConfig, SourceConfig
from edgecap.service.unit import NAME, Scope, Unit, network, render

RUNNING = Path("/run/systemd/system")
"""Where this folder is, systemd runs the machine (sd_booted(3))."""
SHOWN = {
    "state": "ActiveState",
    "detail": "SubState",
    "says": "StatusText",
    "restarts": "NRestarts",
    "process": "MainPID",
    "exit_code": "ExecMainStatus",
    "since": "ActiveEnterTimestamp",
}
"""Key of `status` → systemd's own name."""
CALL_SECONDS = 180.0
"""Time for systemctl: more than a service may take to stop and start again (`edgecap.service.unit`)."""
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


@dataclass(frozen=True)
class Places:
    """Where unit and configuration lie."""

    unit: Path
    config: Path


def places(scope: Scope) -> Places:
    """The places of a scope: /etc for the system, ~/.config (or XDG_CONFIG_HOME) for a user."""
    if scope == "system":
        return Places(Path("/etc/systemd/system") / NAME, Path("/etc/edgecap/listen.toml"))
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Places(base / "systemd/user" / NAME, base / "edgecap/listen.toml")


def service_config() -> ListenConfig:
    """What a new service begins with: wait for the microphone, keep a journal in the state folder."""
    return replace(ListenConfig(), source=SourceConfig(wait=True), output=OutputConfig(journal="events.db"))


def install(scope: Scope, config: Path | None = None, *, start: bool = True) -> list[str]:
    """Write the unit, and a configuration where there is none; start it where systemd runs.

    `config` is a configuration of one's own. What was done, and what is left to type. Raises ConfigError for a
    configuration that cannot be used, OutputError where a file cannot be written, EdgecapError where systemd refuses.
    """
    at = places(scope)
    told = []
    settings = service_config()
    if config is not None or at.config.exists():
        at = replace(at, config=(config or at.config).expanduser().absolute())
        settings = load_config(at.config)
    else:
        _write(at.config, render_config(settings), 0o644 if scope == "system" else 0o600)
        told.append(f"wrote the configuration {at.config}")
    python = Path(sys.executable)
    inside = [
        path
        for path in (python, Path(sys.prefix), Path(__file__), at.config)
        if any(path.is_relative_to(home) for home in HOMES)
    ]
    if scope == "system" and inside:
        told.append(
            f"{inside[0]} lies in a home folder, which the service may then read; all users must be able to "
            "read it, as after: sudo python3 -m venv /opt/edgecap"
        )
    unit = Unit(scope=scope, python=python, config=at.config, network=network(settings), home_needed=bool(inside))
    _write(at.unit, render(unit), 0o644)
    told.append(f"wrote the unit {at.unit}")
    if not start:
        return [*told, f"start it: {_shown(scope, 'enable', '--now', NAME)}"]
    if not RUNNING.is_dir():
        return [
            *told,
            f"systemd does not run here; where it does, type: {_shown(scope, 'daemon-reload')} && "
            f"{_shown(scope, 'enable', '--now', NAME)}",
        ]
    _systemctl(scope, "daemon-reload")
    _systemctl(scope, "enable", NAME)
    _systemctl(scope, "restart", NAME)
    told.append(f"running; what it says: journalctl {'--user ' if scope == 'user' else ''}-u edgecap -f")
    if scope == "user":
        told.append("to have it run while you are not logged in, type: sudo loginctl enable-linger $USER")
    return told


def remove(scope: Scope) -> list[str]:
    """Stop the service and remove its unit; the configuration and what it recorded stay. What was done."""
    at = places(scope)
    if not at.unit.exists():
        return [f"there is no unit {at.unit}, so there is nothing to remove"]
    if RUNNING.is_dir():
        _systemctl(scope, "disable", "--now", NAME)
    try:
        at.unit.unlink()
    except OSError as error:
        raise OutputError(f"{at.unit} cannot be removed ({error.strerror}); {_rights(scope)}") from error
    if RUNNING.is_dir():
        _systemctl(scope, "daemon-reload")
    return [f"removed {at.unit}; {at.config} and the state folder are left"]


def status(scope: Scope) -> dict[str, object]:
    """What systemd says about the service; `installed` and `active` in any case."""
    unit = places(scope).unit
    found: dict[str, object] = {"scope": scope, "unit": str(unit), "installed": unit.exists(), "active": False}
    if not RUNNING.is_dir():
        return {**found, "fault": "systemd does not run here"}
    lines = _systemctl(scope, "show", NAME, *(f"--property={name}" for name in SHOWN.values())).splitlines()
    shown = dict(line.split("=", 1) for line in lines if "=" in line)
    return {
        **found,
        "active": shown.get("ActiveState") == "active",
        **{key: shown.get(name, "") for key, name in SHOWN.items()},
    }


def _systemctl(scope: Scope, *arguments: str) -> str:
    """Run systemctl. Raises EdgecapError with its last line where it fails, MissingDependencyError without it."""
    if not shutil.which("systemctl"):
        raise MissingDependencyError(
            "a service needs systemd, and systemctl was not found; let whatever starts your "
            "programs run edgecap listen --wait"
        )
    see = f"see: journalctl {'--user ' if scope == 'user' else ''}-u edgecap -n 20"
    try:
        done = subprocess.run(
            ["systemctl", *_scope(scope), *arguments], capture_output=True, text=True, check=False, timeout=CALL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise EdgecapError(
            f"{_shown(scope, *arguments)} did not come to an end in {CALL_SECONDS:g} s; {see}"
        ) from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"code {done.returncode}").splitlines()[-1]
        raise EdgecapError(f"{_shown(scope, *arguments)} failed: {last}; {see}")
    return done.stdout


def _scope(scope: Scope) -> Sequence[str]:
    return ["--user"] if scope == "user" else []


def _shown(scope: Scope, *arguments: str) -> str:
    """A systemctl line as a person types it."""
    return " ".join([*(["systemctl", "--user"] if scope == "user" else ["sudo", "systemctl"]), *arguments])


def _rights(scope: Scope) -> str:
    return "type the same with sudo" if scope == "system" else "see who owns that folder"


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file under another name, then rename it into place. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(mode)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        scope: Scope = "system" if path.is_relative_to("/etc") else "user"
        raise OutputError(f"{path} cannot be written ({error.strerror}); {_rights(scope)}") from error
