"""The configuration of listening: a TOML file, the command line on top, and the same by keyword from Python.

`edgecap.live.config.config_file` reads and writes it. A key that is None is not set. A key that is an
`option` of the command line too is documented by its help text.
"""

# ruff: noqa: RUF009 - `option` returns a field
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edgecap.errors import ConfigError
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.config.options import ANY_HOST, address_host, camera_host, gate_level, option
from edgecap.live.config.rule_config import RuleConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.util.limits import MOST_MICROPHONES
from edgecap.util.limits.bounded import Beam, Seconds, Threads
from edgecap.util.parsing import host_of

Duration = Annotated[
    str, Meta(pattern=r"^[0-9]{1,6}[mhdw]$", description="a number and m, h, d or w, such as 90m, 12h, 30d or 4w")
]
"""Minutes, hours, days or weeks."""
Level = Literal["auto", "off"] | Annotated[float, Meta(ge=-120, le=0)]
"""A gate: over a running noise floor, none, or at a fixed level in dBFS."""
KINDS = ("device", "rtsp", "pulse", "pipewire")
"""Keys of [source] and [[microphones]] that each name a microphone."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where the sound comes from: microphones, unless `file` or `stdin` says otherwise."""

    device: str | list[str] | None = option(
        None,
        "--device -d NUMBER|NAME",
        "Microphone by number, name or a part of its name; repeat it to listen to several. [default: the system's]",
    )
    rtsp: str | list[str] | None = option(
        None,
        "--rtsp URL",
        "Camera or other microphone in the network, as rtsp://USER@HOST/PATH (repeatable). Password: [source] in "
        "--config.",
    )
    rtsp_password_file: str | None = None
    """A file whose first line is the password of the user in `rtsp`."""
    pulse: str | list[str] | None = option(
        None, "--pulse NAME", "Source of PulseAudio, as pactl list short sources names it (repeatable)."
    )
    pipewire: str | list[str] | None = option(
        None, "--pipewire NAME", "Source of PipeWire, as wpctl status --name names it (repeatable)."
    )
    wait: bool = option(False, "--wait/--no-wait", "Wait for a microphone that is missing at the start.")
    lost_after: Seconds = 3.0
    """A microphone that gives no samples for this long is treated as disconnected."""
    retry: Seconds = 1.0
    """Time from one search for a missing source to the next, which grows with its absence."""
    longest_retry: Seconds = 30.0
    """The longest such time."""
    file: str | None = option(None, "--file FILE", "Listen to a sound file as if it were live.")
    stdin: bool = option(False, "--stdin", "Listen to raw s16le samples on standard input.")
    rate: Annotated[int, Meta(ge=100, le=1_536_000)] = option(16_000, "--rate HERTZ", "Sample rate of --stdin.")
    channels: Annotated[int, Meta(ge=1, le=64)] = option(1, "--channels N", "Channels of --stdin.")
    speed: Annotated[float, Meta(ge=0, le=1000)] = option(
        1.0,
        "--speed X",
        "Play --file X times as fast; 0 is as fast as captions are made and drops nothing (--stdin too).",
    )

    def __post_init__(self) -> None:
        """Raise ConfigError for an address that is none of a camera."""
        for url in listed(self.rtsp):
            camera_host(url, "source.rtsp")


@dataclass(frozen=True, kw_only=True)
class MicrophoneConfig:
    """One of several microphones: a table [[microphones]] for each, in place of `device` and others of [source]."""

    device: str | None = None
    """Number, name or a part of the name."""
    rtsp: str | None = None
    """Or the address of a camera, as rtsp://USER@HOST/PATH."""
    password_file: str | None = None
    """A file whose first line is the password of that user."""
    pulse: str | None = None
    """Or a source of PulseAudio."""
    pipewire: str | None = None
    """Or a source of PipeWire."""
    name: str | None = None
    """Its name in events, as "kitchen"; without it that of the device, source or host."""
    gate: Level | None = None
    """Without it that of [stream]."""

    @property
    def fault(self) -> str:
        """Why it is no microphone; empty where it is one."""
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            return f"needs one of {', '.join(KINDS)}{', and only one' if given else ''}"
        try:
            camera_host(self.rtsp or "rtsp://camera", "rtsp")
        except ConfigError as error:
            return str(error)
        return ""

    @property
    def place(self) -> str:
        """What identifies it where it has no name; nothing secret."""
        return camera_host(self.rtsp, "rtsp") if self.rtsp else self.device or self.pulse or self.pipewire or ""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What captions. The options --model and --beam are shared with other commands."""

    name: str | None = None
    """A name or a folder."""
    threads: Threads | None = option(None, "--threads -t N", "Processor threads. [default: 1, or what a hop needs]")
    beam: Beam | None = None
    """Beam size; 1 is greedy. Without it the model's, 3."""


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How the stream is cut into windows, and which of them are captioned."""

    window: Seconds | None = None
    """Seconds captioned at once; without it the model's. The option --window is shared with other commands."""
    hop: Seconds = option(2.0, "--hop SECONDS", "Seconds between captions; grows on a machine too slow or too hot.")
    gate: Level = option(
        "auto",
        "--gate auto|off|DBFS",
        "Caption only above a running noise floor, always, or above a level such as -45.",
        parse=gate_level,
    )
    novelty: Annotated[float, Meta(ge=0, le=2)] = option(
        0.998, "--novelty COSINE", "Similarity of windows from which the caption is kept; above 1 each is decoded."
    )
    duration: Seconds | None = option(None, "--duration SECONDS", "Stop after this much sound. [default: never]")
    constant_after: Seconds = 10.0
    """A source whose samples all have one value for this long is reported as faulty."""


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is printed, and the sinks without a section, in the order in which they get an event."""

    json: bool = option(False, "--json", "Print one JSON object for the beginning and the end of an event.")
    updates: bool = option(False, "--updates", "Print every caption of an event.")
    plain: bool = option(False, "--plain", "On a terminal too, print lines instead of the live view.")
    hearing: bool = option(
        False, "--hearing", "Print level, gate and the best captions with their scores for each window."
    )
    journal: str | None = option(
        None, "--journal FILE", "Keep events in an SQLite file.", sink="journal:open_journal", stores=True
    )
    keep: Duration = option("30d", "--keep TIME", "How long the journal keeps events: 90m, 12h, 30d, 4w.")
    keep_audio: str | None = option(
        None,
        "--keep-audio FOLDER",
        "Keep the sound of each event as a FLAC file. Without it no sound is stored anywhere.",
        sink="kept_audio:open_kept_audio",
        stores=True,
    )
    keep_audio_for: Duration = option("7d", "--keep-audio-for TIME", "How long these sounds are kept.")
    srt: str | None = option(None, "--srt FILE", "Write subtitles.", sink="files:open_srt")
    vtt: str | None = option(None, "--vtt FILE", "Write WebVTT subtitles.", sink="files:open_vtt")
    csv: str | None = option(None, "--csv FILE", "Append to a table of events.", sink="files:open_csv")
    metrics: str | None = option(
        None,
        "--metrics [HOST:]PORT",
        "Serve Prometheus metrics, to this machine alone unless a host is named.",
        sink="metrics:open_metrics",
        events=False,
        host=address_host,
    )
    syslog: str | None = option(
        None,
        "--syslog HOST:PORT|SOCKET",
        "Send a line for the beginning and the end of each event to syslog: by UDP, or to a socket as /dev/log.",
        sink="syslog:open_syslog",
        host=address_host,
    )
    exec: str | None = option(
        None,
        "--exec CMD",
        "Run a shell command for each event: JSON on its standard input, EDGECAP_TEXT and more in its environment.",
        sink="hooks:open_program",
        host=lambda _command: ANY_HOST,
    )
    webhook: str | None = option(
        None, "--webhook URL", "Post each event as JSON; tried five times.", sink="hooks:open_webhook", host=host_of
    )
    hook_on: Literal["begin", "end", "both"] = option(
        "begin", "--hook-on begin|end|both", "When --exec and --webhook run."
    )


@dataclass(frozen=True, kw_only=True)
class ListenConfig:
    """All sections."""

    source: SourceConfig = field(default_factory=SourceConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    web: WebConfig = field(default_factory=WebConfig)
    microphones: Annotated[list[MicrophoneConfig], Meta(max_length=MOST_MICROPHONES)] = field(default_factory=list)
    rules: list[RuleConfig] = field(default_factory=list)


def written_folders(config: ListenConfig) -> list[Path]:
    """Folders of the files that outputs write; what is named without a folder lies in the working folder, "."."""
    output = config.output
    files = [Path(file).parent for file in (output.journal, output.csv, output.srt, output.vtt) if file]
    return files + ([Path(output.keep_audio)] if output.keep_audio else [])


def microphones(config: ListenConfig) -> list[MicrophoneConfig | None]:
    """The microphones to listen to; one None is the system's own, or what a file or standard input stands in for."""
    if config.source.file is not None or config.source.stdin:
        return [None]
    if config.microphones:
        return [*config.microphones]
    source = config.source
    return [
        *(MicrophoneConfig(device=each) for each in listed(source.device)),
        *(MicrophoneConfig(rtsp=each, password_file=source.rtsp_password_file) for each in listed(source.rtsp)),
        *(MicrophoneConfig(pulse=each) for each in listed(source.pulse)),
        *(MicrophoneConfig(pipewire=each) for each in listed(source.pipewire)),
    ] or [None]


def listed(value: str | list[str] | None) -> list[str]:
    """A key that may be set once, several times or not at all."""
    return [] if value is None else [value] if isinstance(value, str) else value


def camera_hosts(config: ListenConfig) -> set[str]:
    """Hosts of the network that sound comes from."""
    return {each.place for each in microphones(config) if each is not None and each.rtsp is not None}
