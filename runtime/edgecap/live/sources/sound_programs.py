"""The programs whose sound edgecap hears: ffmpeg for a camera, parec and pw-record for one source of a sound server.

An address with its password goes to ffmpeg's standard input, as the list of a "concat" input, so that no list of
processes shows it; what ffmpeg says of it is never passed on, only what it means.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from urllib.parse import quote, urlsplit

from edgecap.errors import ConfigError, MissingDependencyError
from edgecap.live.config.config_file import read_secret
from edgecap.live.config.listen_config import MicrophoneConfig
from edgecap.types import Notify
from edgecap.util.text import clean

ANSWER_SECONDS = 5
"""For each step of a connection to a camera."""
PROTOCOLS = "pipe,rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto"
LIST_SECONDS = 5.0
"""For a sound server to list its sources."""
MOST_NAMES = 8
"""Names of sources in a message."""
REASONS = (
    (r"401 Unauthorized", "it wants a user and a password, or refuses these; write rtsp://USER:PASSWORD@HOST/PATH"),
    (r"403 Forbidden", "it forbids this user to listen; give the user that right in the camera"),
    (r"40[04] |45[0-9] ", "it has no stream of this path; check the address in the camera's manual"),
    (r"Failed to resolve hostname", "no host of this name is known; check the address"),
    (r"Connection refused", "nothing answers at this port; check address and port, and that RTSP is on"),
    (r"timed out|[Nn]o route|unreachable|Host is down", "the address does not answer; check address and network"),
    (r"nknown keyword 'option'", "ffmpeg is too old; version 5.1 or newer is needed"),
    (r"Protocol not found", "this ffmpeg has no TLS; write rtsp:// or install a full ffmpeg"),
    (r"matches no streams|Invalid data found", "it gives no sound; switch the sound on in the camera's settings"),
)
"""What ffmpeg says, to what it means; the first that fits."""
REFUSED = "a user and a password"
"""In a reason after which to wait long: a camera locks out who tries often."""


@dataclass(frozen=True)
class SoundProgram:
    """A program that writes mono s16le samples to its standard output until it is ended."""

    name: str
    """Of the source, in events."""
    command: tuple[str, ...]
    install: str
    """The Debian package that has it."""
    meaning: Callable[[str], str]
    """Why there is no sound, from what the program wrote to standard error; empty where that says nothing."""
    hint: Callable[[], str] = str
    """More about that for a failure at the start; may take `LIST_SECONDS`."""
    document: bytes = b""
    """For its standard input."""
    moved: str = ""
    """It listens to something else from when it says this on; empty for never."""


def program_of(microphone: MicrophoneConfig, rate: int, notify: Notify) -> SoundProgram | None:
    """The program for a microphone that is no device of this machine; samples have `rate` hertz; None for a device.

    Raises ConfigError, MissingDependencyError.
    """
    if microphone.rtsp is not None:
        program = _rtsp(with_password(microphone.rtsp, microphone.password_file, notify), rate)
    elif microphone.pulse is not None:
        program = _pulse(microphone.pulse, rate)
    elif microphone.pipewire is not None:
        program = _pipewire(microphone.pipewire, rate)
    else:
        return None
    if shutil.which(program.command[0]) is None:
        raise MissingDependencyError(
            f"listening to {program.name} needs {program.command[0]}, which was not found; type: sudo apt install "
            f"{program.install}"
        )
    return program


def with_password(url: str, password_file: str | None, notify: Notify) -> str:
    """The address with the password of the file for its user. Raises ConfigError."""
    if password_file is None:
        return url
    parts = urlsplit(url)
    if not parts.username or parts.password is not None:
        raise ConfigError("a password file needs an address with a user and no password: rtsp://USER@HOST/PATH")
    password = quote(read_secret(password_file, "password", notify), safe="")
    user, _, rest = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.rstrip(':')}:{password}@{rest}").geturl()


def _rtsp(url: str, rate: int) -> SoundProgram:
    """TCP where the camera has it, and the sound alone: no picture travels."""
    lines = (
        "ffconcat version 1.0",
        f"file '{url}'",
        "option rtsp_flags prefer_tcp",
        "option allowed_media_types audio",
        f"option timeout {ANSWER_SECONDS * 1_000_000}",
    )
    command = (
        *("ffmpeg", "-hide_banner", "-nostats", "-v", "error", "-f", "concat", "-safe", "0"),
        *("-protocol_whitelist", PROTOCOLS, "-i", "pipe:0", "-map", "0:a:0", "-ac", "1", "-ar", str(rate)),
        *("-flush_packets", "1", "-f", "s16le", "pipe:1"),
    )
    host = urlsplit(url).hostname or "camera"
    return SoundProgram(host, command, "ffmpeg", _ffmpeg_meaning, document="\n".join((*lines, "")).encode())


def _ffmpeg_meaning(said: str) -> str:
    return next((meaning for words, meaning in REASONS if re.search(words, said)), "")


def _pulse(name: str, rate: int) -> SoundProgram:
    command = (
        *("parec", "--verbose", f"--device={name}", "--raw", "--format=s16le", f"--rate={rate}", "--channels=1"),
        *("--latency-msec=100", "--client-name=edgecap"),
    )
    moved = "" if name == "@DEFAULT_SOURCE@" else "Stream moved to device "
    hint = partial(_known, name, _pulse_names, "pactl list short sources")
    return SoundProgram(clean(name), command, "pulseaudio-utils", _pulse_meaning, hint, moved=moved)


def _pulse_meaning(said: str) -> str:
    if "No such entity" in said:
        return "PulseAudio has no source of this name"
    if "Stream moved" in said:
        return "its source is gone"
    refused = re.search(r"(?:Connection failure|pa_context_connect\(\) failed|Stream error): (.*)", said)
    return f"PulseAudio does not answer ({clean(refused[1])}); check that it runs for this user" if refused else ""


def _pulse_names() -> list[str]:
    return [line.split("\t")[1] for line in _printed("pactl", "list", "short", "sources").splitlines() if "\t" in line]


def _pipewire(name: str, rate: int) -> SoundProgram:
    """Without the two properties it would hear another source where this one is missing."""
    raw = ("--raw",) if "--raw" in _printed("pw-record", "--help") else ()  # what older ones do without it
    stay = "{ node.dont-reconnect = true, node.dont-fallback = true }"
    command = ("pw-record", "-P", stay, "--target", name, "--rate", str(rate), "--channels", "1", "--format", "s16")
    hint = partial(_known, name, _pipewire_names, "wpctl status --name")
    return SoundProgram(clean(name), (*command, *raw, "-"), "pipewire-bin", _pipewire_meaning, hint)


def _pipewire_meaning(said: str) -> str:
    if "pw_context_connect() failed" in said:
        return "PipeWire does not answer; check that it runs for this user"
    return "its source is gone" if "remote error" in said else ""


def _pipewire_names() -> list[str]:
    names = []
    with suppress(ValueError):
        for item in json.loads(_printed("pw-dump") or "[]"):
            properties: Mapping[str, object] = (item.get("info") or {}).get("props") or {}
            if re.match(r"Audio/(Source|Duplex|Sink)", str(properties.get("media.class"))):
                names.append(str(properties.get("node.name")))
    return names


def _known(name: str, names: Callable[[], Sequence[str]], command: str) -> str:
    """Which sources there are, those with similar names first; empty where this one is there."""
    there = names()
    if not there or name in there:
        return ""
    near = get_close_matches(name, there, n=MOST_NAMES, cutoff=0.5)
    shown = list(dict.fromkeys([*near, *there]))[:MOST_NAMES]
    return f"there is no {name!r}; there are {', '.join(map(clean, shown))}; type: {command}"


def _printed(*command: str) -> str:
    """What a short command prints; empty where it fails."""
    try:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIST_SECONDS,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
