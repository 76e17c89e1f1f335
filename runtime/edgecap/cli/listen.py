"""`edgecap listen`: a microphone, a file or a pipe to events, and where they go."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli import stop_on_signals
from edgecap.cli.console import say, write
from edgecap.cli.options import BeamSize, Model, WindowLength
from edgecap.live.config.config_file import load_config, render_config
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import Status
from edgecap.live.session import ListenSession
from edgecap.live.sinks.base import Sink
from edgecap.live.sinks.lines import JsonLines, PeopleLines
from edgecap.live.sinks.window_log import WindowLog

if TYPE_CHECKING:
    from edgecap.cli.live_view import LiveView


def listen(
    *,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            "-d",
            metavar="NUMBER|NAME",
            help="Microphone by number, name or a part of its name; repeat it to listen to several. "
            "[default: the system's]",
        ),
    ] = None,
    wait: Annotated[
        bool | None, typer.Option("--wait/--no-wait", help="Wait for a microphone that is not there at the start.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Listen to a sound file as if it were live.")
    ] = None,
    stdin: Annotated[
        bool | None, typer.Option("--stdin", help="Listen to raw s16le samples on standard input.")
    ] = None,
    rate: Annotated[
        int | None, typer.Option("--rate", metavar="HERTZ", help="Sample rate of --stdin. [default: 16000]")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", metavar="N", help="Channels of --stdin. [default: 1]")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="X",
            help="Play --file X times as fast; 0 is as fast as captions are made, and "
            "drops nothing (--stdin too). [default: 1]",
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            "--hop",
            metavar="SECONDS",
            help="Seconds between captions. It grows by itself on a machine that is too slow or hot. [default: 2]",
        ),
    ] = None,
    window: WindowLength = None,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", help="Stop after so much sound. [default: never]")
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            "--gate",
            metavar="auto|off|DBFS",
            help="Ask the model only above a running noise floor, always, "
            "or above a level such as -45. [default: auto]",
        ),
    ] = None,
    novelty: Annotated[
        float | None,
        typer.Option(
            "--novelty",
            metavar="COSINE",
            help="Likeness of two windows from which a caption is kept; "
            "above 1 every window is decoded. [default: 0.998]",
        ),
    ] = None,
    close_after: Annotated[
        float | None,
        typer.Option("--close-after", metavar="SECONDS", help="An event ends when unheard for so long. [default: 8]"),
    ] = None,
    longest: Annotated[
        float | None, typer.Option("--longest", metavar="SECONDS", help="No event goes on for longer. [default: 600]")
    ] = None,
    cooldown: Annotated[
        float | None,
        typer.Option(
            "--cooldown", metavar="SECONDS", help="The same is not told again so soon after its end. [default: 8]"
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", metavar="SCORE", help="Captions with a lower score begin no event. [default: -1.5]"
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="WORD", help="Tell only events with this word (repeatable).")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="WORD", help="Tell no event with this word (repeatable).")
    ] = None,
    json: Annotated[
        bool | None, typer.Option("--json", help="Print one JSON object for the beginning and the end of an event.")
    ] = None,
    updates: Annotated[bool | None, typer.Option("--updates", help="Print every caption of an event.")] = None,
    plain: Annotated[
        bool | None, typer.Option("--plain", help="On a terminal too, print lines instead of the live view.")
    ] = None,
    srt: Annotated[str | None, typer.Option("--srt", metavar="FILE", help="Write subtitles.")] = None,
    vtt: Annotated[str | None, typer.Option("--vtt", metavar="FILE", help="Write WebVTT subtitles.")] = None,
    csv: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Append a table of events.")] = None,
    exec_: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="CMD",
            help="Run a shell command for each event: JSON on its standard input, "
            "EDGECAP_TEXT and more in its environment.",
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Post each event as JSON; tried five times.")
    ] = None,
    hook_on: Annotated[
        str | None,
        typer.Option("--hook-on", metavar="begin|end|both", help="When --exec and --webhook run. [default: begin]"),
    ] = None,
    journal: Annotated[
        str | None, typer.Option("--journal", metavar="FILE", help="Keep events in a SQLite file.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="TIME", help="How long the journal keeps them: 90m, 12h, 30d, 4w. [default: 30d]"
        ),
    ] = None,
    keep_audio: Annotated[
        str | None,
        typer.Option(
            "--keep-audio",
            metavar="FOLDER",
            help="Keep the sound of each event as a FLAC file. Without it no sound is stored anywhere.",
        ),
    ] = None,
    keep_audio_for: Annotated[
        str | None,
        typer.Option("--keep-audio-for", metavar="TIME", help="How long these sounds are kept. [default: 7d]"),
    ] = None,
    hearing: Annotated[
        bool | None,
        typer.Option(
            "--hearing",
            help="What is it hearing? Print level, gate, and the best captions with "
            "their scores for each window, event or not.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="[HOST:]PORT",
            help="Serve Prometheus metrics, on this machine alone unless a host is named.",
        ),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            "--web",
            metavar="[HOST:]PORT",
            help="Serve the live page: on this machine alone, or with a token where a host such as 0.0.0.0 is named.",
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            "--mqtt",
            metavar="[USER@]HOST[:PORT]",
            help="Send events to an MQTT broker, announced to Home Assistant. Password: [mqtt] in --config.",
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="FILE", help="Read a TOML file; options win over it.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the configuration that would be used, and exit.")
    ] = False,
    beam: BeamSize = None,
    model: Model = None,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", min=1, metavar="N", help="Processor threads. [default: 1]")
    ] = None,
) -> None:
    """Say what is heard, one line for each event, until Ctrl-C or SIGTERM.

    Captions that say the same are one event, with a beginning and an end. In quiet the model is not asked. A microphone
    that is unplugged is waited for and opened again. Sound is held in memory for as long as a window and never stored,
    unless --keep-audio asks for it, which every view then shows. Captions describe; they never transcribe speech.
    On a terminal a live view shows level, gate, caption and recent events.

    \b
    Examples:
      edgecap listen
      edgecap listen --device "USB Audio" --device "Webcam" --hearing
      edgecap listen --only dog --exec 'notify-send "$EDGECAP_TEXT"'
      edgecap listen --json --wait --journal events.db --metrics 9100
      edgecap listen --web 8080
      edgecap listen --file walk.flac --speed 0 --srt walk.srt
      ffmpeg -i rtsp://camera/1 -f s16le -ac 1 -ar 16000 - | edgecap listen --stdin
      edgecap listen --print-config > listen.toml
    """
    level: str | float | None = gate
    if gate is not None and gate not in {"auto", "off"}:
        try:
            level = float(gate)
        except ValueError as error:
            raise typer.BadParameter(f"--gate takes auto, off or a level in dBFS, not {gate!r}") from error
    broker = re.fullmatch(r"(?:([^@]+)@)?([^@:]+|\[[^]]+\])(?::(\d+))?", mqtt or "localhost")
    if broker is None:
        raise typer.BadParameter(f"--mqtt takes [USER@]HOST[:PORT], not {mqtt!r}")
    user, host, port = broker.groups() if mqtt else (None, None, None)
    found = load_config(
        config,
        {
            "source": {
                "device": device[0] if device and len(device) == 1 else device or None,
                "wait": wait,
                "file": file,
                "stdin": stdin,
                "rate": rate,
                "channels": channels,
                "speed": speed,
            },
            "model": {"name": model, "threads": threads, "beam": beam},
            "stream": {"hop": hop, "window": window, "duration": duration, "gate": level, "novelty": novelty},
            "events": {
                "close_after": close_after,
                "longest": longest,
                "cooldown": cooldown,
                "min_score": min_score,
                "only": only or None,
                "ignore": ignore or None,
            },
            "output": {
                "json": json,
                "updates": updates,
                "plain": plain,
                "srt": srt,
                "vtt": vtt,
                "csv": csv,
                "exec": exec_,
                "webhook": webhook,
                "hook_on": hook_on,
                "journal": journal,
                "keep": keep,
                "metrics": metrics,
                "keep_audio": keep_audio,
                "keep_audio_for": keep_audio_for,
                "hearing": hearing,
            },
            "web": {"address": web},
            "mqtt": {"host": host and host.strip("[]"), "user": user, "port": int(port) if port else None},
        },
    )
    if print_config:
        write(render_config(found).rstrip("\n"))
        return
    say("note", _run(found))


def _run(config: ListenConfig) -> str:
    """Listen until the end; what happened, in one line."""
    stop, console = stop_on_signals(), _Console()
    with ListenSession(config, console.tell, sinks=[console]) as session:
        console.open(config, session)
        began, worked = time.monotonic(), time.process_time()
        for _ in session.changes(stop):
            pass
        share = (time.process_time() - worked) / max(1e-3, time.monotonic() - began)
        return summary(session.statuses, share)


class _Console(Sink):
    """What is seen: lines, JSON or the live view. Opened last, so that no error appears inside a view."""

    def __init__(self) -> None:
        self._sink = Sink()
        self._hearing = Sink()
        self._view: LiveView | None = None

    def open(self, config: ListenConfig, session: ListenSession) -> None:
        """Choose the view."""
        output = config.output
        say("note", f"listening to {', '.join(session.sources)}; Ctrl-C stops")
        if output.hearing:
            self._hearing = WindowLog(write, as_json=output.json)
        if output.json:
            self._sink = JsonLines(
                write, model=session.model, updates=output.updates, audio_kept=bool(output.keep_audio)
            )
        elif output.plain or output.hearing or not sys.stdout.isatty():
            self._sink = PeopleLines(write, updates=output.updates, named=len(session.sources) > 1)
        else:
            from edgecap.cli.live_view import LiveView

            self._sink = self._view = LiveView()

    def tell(self, kind: str, message: str) -> None:
        """Print what people should know, above the view where there is one."""
        (self._view.tell if self._view else say)(kind, message)

    def change(self, change: Change) -> None:
        """See `Sink.change`."""
        self._sink.change(change)

    def tick(self, status: Status) -> None:
        """See `Sink.tick`."""
        self._sink.tick(status)
        self._hearing.tick(status)

    def close(self) -> None:
        """See `Sink.close`."""
        self._sink.close()
        self._view = None


def summary(statuses: Sequence[Status], share: float) -> str:
    """What happened, in one line; `share` of one core was used."""

    def total(field: str) -> int:
        return sum(getattr(status, field) for status in statuses)

    return (
        f"stopped after {total('events')} events, {total('captions')} captions, {total('quiet')} hops quiet, "
        f"{total('dropped')} hops skipped, {sum(status.lost for status in statuses):.1f} s of sound dropped, "
        f"{total('overflows')} overflows; {100 * share:.2f} % of one core, "
        f"captions at most {1000 * max(status.slowest for status in statuses):.0f} ms after their window"
    )
