"""The text of the systemd unit.

The unit drops every privilege that a listener does not need (systemd.exec(5)). It needs the sound device (a node of
/dev/snd, or the socket of PulseAudio or PipeWire), its state folder, and the network only where the configuration sends
events there. A user's unit runs with that user's rights and has no rules on devices, which only the system's manager
may set; its rules on addresses hold where the user's manager may set them, the one on address families everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgecap.audio.sound_cards import GROUP
from edgecap.errors import ConfigError
from edgecap.live.config.listen_config import ListenConfig, camera_hosts
from edgecap.live.sinks.registry import configured
from edgecap.util.text import clean

Scope = Literal["user", "system"]
Network = Literal["none", "local", "all"]
NAME = "edgecap.service"
WATCHDOG_SECONDS = 90
"""More than a caption may take before it counts as hung (`edgecap.live.watchdog.STUCK_SECONDS`)."""
STOP_SECONDS = 30
"""Time to close events and deliver what is left."""
USELESS_CODES = (2, 4, 5)
"""A wrong configuration, a broken model, a missing library: a restart does not help (`edgecap.errors`)."""
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What the unit file depends on."""

    scope: Scope
    python: Path
    """The interpreter that has edgecap."""
    config: Path
    network: Network
    home_needed: bool
    """Whether interpreter, configuration or an output lie in a home folder, which then must be readable."""
    folders: tuple[Path, ...] = ()
    """Absolute folders besides the state folder where outputs write."""


def network(config: ListenConfig) -> Network:
    """The network access that sources and sinks of a configuration need. Raises ConfigError for an invalid address."""
    hosts = {option.host(value) for option, value in configured(config) if option.host is not None} - {None}
    hosts |= camera_hosts(config)
    if not hosts:
        return "none"
    return "local" if hosts <= LOCAL_HOSTS else "all"


def render(unit: Unit) -> str:
    """The unit file. Raises ConfigError for a path with a line break or another character that is not printable."""
    for path in (unit.python, unit.config, *unit.folders):
        if not str(path).isprintable():
            raise ConfigError(f"a unit cannot hold the path {clean(str(path))!r}; rename that file or folder")
    system = unit.scope == "system"
    words = [str(unit.python), "-m", "edgecap", "listen", "--config", str(unit.config), "--wait", "--plain"]
    sections = {
        "Unit": [
            "Description=edgecap: describes in words the sounds at this machine",
            f"After=sound.target{' network.target' if system else ' pipewire.service pulseaudio.service'}",
            "StartLimitIntervalSec=0",
        ],
        "Service": [
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={' '.join(map(_quoted, words))}",
            f"WatchdogSec={WATCHDOG_SECONDS}",
            f"TimeoutStopSec={STOP_SECONDS}",
            "TimeoutStartSec=120",
            "Restart=always",
            "RestartSec=5",
            f"RestartPreventExitStatus={' '.join(map(str, USELESS_CODES))}",
            "StateDirectory=edgecap",
            "WorkingDirectory=%S/edgecap",
            "Environment=PYTHONUNBUFFERED=1 EDGECAP_HOME=%S/edgecap",
            "UMask=0077",
            "OOMScoreAdjust=200",
            "OOMPolicy=continue",  # a program of --exec that is ended for memory does not end the listener
            "Nice=5",
            *_confinement(unit),
        ],
        "Install": [f"WantedBy={'multi-user.target' if system else 'default.target'}"],
    }
    return "\n\n".join("\n".join([f"[{name}]", *lines]) for name, lines in sections.items()) + "\n"


def configuration_of(text: str) -> Path:
    """The configuration that a unit file names. Raises ValueError for a file that `render` did not write."""
    command = re.search(r'^ExecStart=.* --config (\S+|"(?:[^"\\]|\\.)*") --wait', text, re.MULTILINE)
    if command is None:
        raise ValueError("no command of edgecap")
    plain = re.sub(r"\\(.)", r"\1", command[1].strip('"'))
    return Path(plain.replace("%%", "%").replace("$$", "$"))


def _confinement(unit: Unit) -> list[str]:
    """The restrictions of the process.

    MemoryDenyWriteExecute is left out: libffi, which makes the microphone's callback, needs such memory.
    """
    readable = unit.home_needed or unit.scope == "user"  # the sockets of PulseAudio and PipeWire count as home
    lines = [
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if readable else 'yes'}",
        "PrivateTmp=yes",
        "PrivateMounts=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectProc=invisible",
        "LockPersonality=yes",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "RemoveIPC=yes",
        "KeyringMode=private",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallErrorNumber=EPERM",
        *_addresses(unit.network),
        *(f"ReadWritePaths={_listed(f'-{folder}')}" for folder in unit.folders),  # "-": it may be mounted later
    ]
    if unit.scope == "system":
        lines += ["DynamicUser=yes", f"SupplementaryGroups={GROUP}", "DevicePolicy=closed", "DeviceAllow=char-alsa rw"]
    return lines


def _addresses(access: Network) -> list[str]:
    """Rules on the network."""
    if access == "none":
        return ["RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes", "IPAddressDeny=any"]
    families = ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]
    return families if access == "all" else [*families, "IPAddressDeny=any", "IPAddressAllow=localhost"]


def _quoted(word: str) -> str:
    """A word of a command line, without systemd's specifiers, variables and escapes (systemd.service(5))."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return plain if re.fullmatch(r"[A-Za-z0-9/._+@:,=-]+", word) else f'"{plain}"'


def _listed(path: str) -> str:
    """A path as a word of a list, where "$" is no sign."""
    return _quoted(path).replace("$$", "$")
