"""Install, inspect and remove the unit."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecap.audio.sound_cards import GROUP
from edgecap.errors import ConfigError, MissingDependencyError, OutputError, ServiceError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import ListenConfig, OutputConfig, SourceConfig, written_folders
from edgecap.service.unit import NAME, Scope, Unit, configuration_of, network, render
from edgecap.util.files import read_at_most, write_atomically
from edgecap.util.limits import MOST_NOTES

RUNNING = Path("/run/systemd/system")
"""Exists where systemd runs the machine (sd_booted(3))."""
SHOWN = {
    "state": "ActiveState",
    "detail": "SubState",
    "says": "StatusText",
    "restarts": "NRestarts",
    "process": "MainPID",
    "exit_code": "ExecMainStatus",
    "since": "ActiveEnterTimestamp",
}
"""Key of `status` to systemd's property."""
STARTED = "ActiveEnterTimestampMonotonic"
"""Microseconds since boot."""
REASON = "starts the service again, and gives it the network and the folders that its outputs need, and no others"
CALL_SECONDS = 180.0
"""Time for systemctl: more than a service may take to stop and start again (`edgecap.service.unit`)."""
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


@dataclass(frozen=True)
class ServicePaths:
    """Paths of the unit and the configuration."""

    unit: Path
    config: Path


def service_paths(scope: Scope) -> ServicePaths:
    """The paths of a scope: /etc for the system, ~/.config (or XDG_CONFIG_HOME) for a user."""
    if scope == "system":
        return ServicePaths(Path("/etc/systemd/system") / NAME, Path("/etc/edgecap/listen.toml"))
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return ServicePaths(base / "systemd/user" / NAME, base / "edgecap/listen.toml")


def service_config() -> ListenConfig:
    """What a new service begins with: wait for the microphone, keep a journal in the state folder."""
    return replace(ListenConfig(), source=SourceConfig(wait=True), output=OutputConfig(journal="events.db"))


def install(scope: Scope, config: Path | None = None, *, start: bool = True) -> list[str]:
    """Write the unit, and a configuration where there is none; start it where systemd runs.

    `config` is the user's configuration file. Returns what was done, and what is left to type. Raises ConfigError for
    invalid configuration, OutputError where a file cannot be written, ServiceError where systemd refuses.
    """
    paths = service_paths(scope)
    report = []
    settings = service_config()
    if config is not None or paths.config.exists():
        paths = replace(paths, config=(config or paths.config).expanduser().absolute())
        settings = load_config(paths.config)
    else:
        text = f"# After a change type: {install_command(scope)}\n# It {REASON}.\n\n{render_config(settings)}"
        _write(paths.config, text, 0o644 if scope == "system" else 0o600)
        report.append(f"wrote the configuration {paths.config}")
    unit = unit_for(scope, paths.config, settings)
    if scope == "system" and unit.home_needed:
        report.append(
            f"{_in_home(paths.config, unit.folders)[0]} lies in a home folder, which the service may then read; all "
            "users must be able to read it, as after: sudo python3 -m venv /opt/edgecap"
        )
    if scope == "system":
        report += [
            f"the service writes to {folder}; type: sudo chgrp {GROUP} {shlex.quote(str(folder))} && "
            f"sudo chmod g+rwx {shlex.quote(str(folder))}"
            for folder in unit.folders
        ]
    _write(paths.unit, render(unit), 0o644)
    report.append(f"wrote the unit {paths.unit}")
    if not start:
        return [*report, f"start it: {_shown(scope, 'enable', '--now', NAME)}"]
    if not RUNNING.is_dir():
        return [
            *report,
            f"systemd does not run here; where it does, type: {_shown(scope, 'daemon-reload')} && "
            f"{_shown(scope, 'enable', '--now', NAME)}",
        ]
    _systemctl(scope, "daemon-reload")
    _systemctl(scope, "enable", NAME)
    _systemctl(scope, "restart", NAME)
    report.append(f"running; its messages: journalctl {'--user ' if scope == 'user' else ''}-u edgecap -f")
    if scope == "user":
        report.append("to have it run while you are not logged in, type: sudo loginctl enable-linger $USER")
    return report


def unit_for(scope: Scope, config: Path, settings: ListenConfig) -> Unit:
    """The unit that a configuration needs, which lies at `config`."""
    folders = (folder.expanduser() for folder in written_folders(settings))
    written = tuple(sorted({folder for folder in folders if folder.is_absolute()}))
    return Unit(
        scope=scope,
        python=Path(sys.executable),
        config=config,
        network=network(settings),
        home_needed=bool(_in_home(config, written)),
        folders=written,
    )


def _in_home(config: Path, folders: Sequence[Path]) -> list[Path]:
    needed = (Path(sys.executable), Path(sys.prefix), Path(__file__), config, *folders)
    return [path for path in needed if any(path.is_relative_to(home) for home in HOMES)]


def _changed(scope: Scope, unit: Path, started: float | None) -> str:
    """What the configuration asks for and the unit, or the service since it started, does not know yet; "" for nothing.

    `started` is a time.time().
    """
    try:
        text = read_at_most(unit, MOST_NOTES).decode()
        config = configuration_of(text)
        settings = load_config(config)
    except (OSError, ValueError):
        return ""
    except ConfigError as error:
        return f"the configuration cannot be used: {error}"
    if text != render(unit_for(scope, config, settings)):
        return f"the unit does not fit {config} (network, folders) or this edgecap; type: {install_command(scope)}"
    if started is not None and config.stat().st_mtime > started:
        return f"{config} was changed after the service started; type: {install_command(scope)}"
    return ""


def remove(scope: Scope) -> list[str]:
    """Stop the service and remove its unit; the configuration and its recordings stay. Returns what was done."""
    paths = service_paths(scope)
    if not paths.unit.exists():
        return [f"the unit {paths.unit} does not exist; nothing to remove"]
    if RUNNING.is_dir():
        _systemctl(scope, "disable", "--now", NAME)
    try:
        paths.unit.unlink()
    except OSError as error:
        raise OutputError(f"{paths.unit} cannot be removed ({error.strerror}); {_rights(scope)}") from error
    if RUNNING.is_dir():
        _systemctl(scope, "daemon-reload")
    return [f"removed {paths.unit}; {paths.config} and the state folder are left"]


def status(scope: Scope) -> dict[str, object]:
    """systemd's properties of the service; `installed` and `active` in any case."""
    unit = service_paths(scope).unit
    result: dict[str, object] = {"scope": scope, "unit": str(unit), "installed": unit.exists(), "active": False}
    if not RUNNING.is_dir():
        return {**result, "fault": "systemd does not run here", "changed": _changed(scope, unit, None)}
    properties = (*SHOWN.values(), STARTED)
    lines = _systemctl(scope, "show", NAME, *(f"--property={name}" for name in properties)).splitlines()
    shown = dict(line.split("=", 1) for line in lines if "=" in line)
    active = shown.get("ActiveState") == "active"
    microseconds = int(shown.get(STARTED) or 0)
    started = time.time() - (time.monotonic() - microseconds / 1e6) if active and microseconds else None
    return {
        **result,
        "active": active,
        **{key: shown.get(name, "") for key, name in SHOWN.items()},
        "changed": _changed(scope, unit, started),
    }


def _systemctl(scope: Scope, *arguments: str) -> str:
    """Run systemctl. Raises ServiceError with its last line where it fails, MissingDependencyError without it."""
    if not shutil.which("systemctl"):
        raise MissingDependencyError(
            "a service needs systemd, and systemctl was not found; start "
            "edgecap listen --wait with the tool that starts your programs"
        )
    see = f"see: journalctl {'--user ' if scope == 'user' else ''}-u edgecap -n 20"
    try:
        done = subprocess.run(
            ["systemctl", *_scope(scope), *arguments], capture_output=True, text=True, check=False, timeout=CALL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{_shown(scope, *arguments)} did not finish in {CALL_SECONDS:g} s; {see}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"code {done.returncode}").splitlines()[-1]
        raise ServiceError(f"{_shown(scope, *arguments)} failed: {last}; {see}")
    return done.stdout


def _scope(scope: Scope) -> Sequence[str]:
    return ["--user"] if scope == "user" else []


def _shown(scope: Scope, *arguments: str) -> str:
    """A systemctl line to type."""
    return " ".join([*(["systemctl", "--user"] if scope == "user" else ["sudo", "systemctl"]), *arguments])


def install_command(scope: Scope) -> str:
    """What to type to install the service."""
    return "sudo edgecap service install --system" if scope == "system" else "edgecap service install"


def _rights(scope: Scope) -> str:
    return "type the same with sudo" if scope == "system" else "check the owner of that folder"


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file as a whole. Raises OutputError."""
    try:
        write_atomically(path, text, mode=mode)
    except OutputError as error:
        scope: Scope = "system" if path.is_relative_to("/etc") else "user"
        raise OutputError(f"{error}; {_rights(scope)}") from error
