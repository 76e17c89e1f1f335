"""The text of the systemd unit.

Everything that a listener does not need is taken from it (systemd.exec(5)). What it does need: the sound device (a
node of /dev/snd, or the socket of PulseAudio or PipeWire), its state folder, and the network only where the
configuration sends events there. A user's unit runs with that user's rights and has no rules on devices, which only
the system's manager may set; its rules on addresses hold where the user's manager may set them, the one on address
families everywhere.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgecap.audio.sound_cards import GROUP
from edgecap.live.config.listen_config import ListenConfig
from edgecap.util.parsing import host_of, parse_address

Scope = Literal["user", "system"]
Network = Literal["none", "local", "all"]
NAME = "edgecap.service"
WATCHDOG_SECONDS = 90
"""More than a caption may take before it counts as stuck (`edgecap.live.watchdog.STUCK_SECONDS`)."""
STOP_SECONDS = 30
"""Time to close events and deliver what is left."""
USELESS_CODES = (2, 4, 5)
"""A wrong configuration, a broken model, a missing library: starting again does not help (`edgecap.errors`)."""
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
    """Whether interpreter or configuration lie in a home folder, which then must be readable."""


def network(config: ListenConfig) -> Network:
    """What of the network the outputs of a configuration need. Raises ConfigError for an address that is none."""
    output = config.output
    hosts = [config.mqtt.host, output.webhook and host_of(output.webhook)]
    served = [parse_address(address)[0] for address in (output.metrics, config.web.address) if address]
    used = [host for host in [*hosts, *served] if host]
    if output.exec:
        return "all"  # what the program does is its own affair
    if not used:
        return "none"
    return "local" if set(used) <= LOCAL_HOSTS else "all"


def render(unit: Unit) -> str:
    """The unit file."""
    system = unit.scope == "system"
    words = [str(unit.python), "-m", "edgecap", "listen", "--config", str(unit.config), "--wait", "--plain"]
    sections = {
        "Unit": [
            "Description=edgecap: says in words what this machine hears",
            f"After=sound.target{' network.target' if system else ' pipewire.service pulseaudio.service'}",
            "StartLimitIntervalSec=0",
        ],
        "Service": [
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={_escaped(shlex.join(words))}",
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
            "Nice=5",
            *_confinement(unit),
        ],
        "Install": [f"WantedBy={'multi-user.target' if system else 'default.target'}"],
    }
    return "\n\n".join("\n".join([f"[{name}]", *lines]) for name, lines in sections.items()) + "\n"


def _confinement(unit: Unit) -> list[str]:
    """What the process may not do.

    MemoryDenyWriteExecute is missing on purpose: the microphone's callback is made by libffi, which needs such memory.
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
    ]
    if unit.scope == "system":
        lines += ["DynamicUser=yes", f"SupplementaryGroups={GROUP}", "DevicePolicy=closed", "DeviceAllow=char-alsa rw"]
    return lines


def _addresses(used: Network) -> list[str]:
    """Rules on the network."""
    if used == "none":
        return ["RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes", "IPAddressDeny=any"]
    families = ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]
    return families if used == "all" else [*families, "IPAddressDeny=any", "IPAddressAllow=localhost"]


def _escaped(command: str) -> str:
    """A command line in which systemd finds no specifiers and no variables."""
    return command.replace("%", "%%").replace("$", "$$")
