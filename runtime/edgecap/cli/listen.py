"""`edgecap listen`: the microphone to the console."""

from __future__ import annotations

import signal
import threading
from datetime import datetime
from types import FrameType
from typing import Annotated

import typer

from edgecap.captioner import Captioner
from edgecap.cli.caption import document
from edgecap.cli.console import as_json, say, write
from edgecap.cli.options import BeamSize, Json, Model, Threads, WindowLength
from edgecap.listening import Listener
from edgecap.microphone import Microphone, find_device

DEFAULT_HOP = 2.0


def listen(
    *,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", metavar="NUMBER|NAME",
                     help="Microphone by number, name or a part of its name. [default: the system's]"),
    ] = None,
    hop: Annotated[float, typer.Option("--hop", metavar="SECONDS", help="Seconds between captions.")] = DEFAULT_HOP,
    window: WindowLength = None,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", help="Stop after so much sound. [default: never]")
    ] = None,
    json: Json = False,
    beam: BeamSize = None,
    model: Model = None,
    threads: Threads = None,
) -> None:
    """Say what the microphone hears, one line each hop, until Ctrl-C or SIGTERM.

    Each caption is of the newest window; the first come from shorter ones. Sound is held in memory for as long as a
    window and is never stored.

    \b
    Examples:
      edgecap listen
      edgecap listen --device "USB Audio" --hop 5
      edgecap listen --json --duration 60 > minute.jsonl
    """
    captioner = Captioner.load(model, threads=threads)
    length = captioner.window if window is None else window
    try:
        captioner.windows(0.0, window=length, hop=hop)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    stop = _stop_on_signals()
    with Microphone(find_device(device), ring_seconds=length) as microphone:
        say("note", f"listening to {microphone.device.name} at {microphone.sample_rate:g} Hz; Ctrl-C stops")
        listener = Listener(captioner, microphone, window=length, hop=hop, beam=beam)
        for caption in listener.captions(stop, duration):
            now = datetime.now().astimezone()
            if json:
                more = {"time": now.isoformat(timespec="milliseconds"), "device": microphone.device.name}
                write(as_json(document(caption, **more, model=captioner.manifest.name)))
            else:
                write(f"{now:%H:%M:%S}  {caption.text}")
    counts = listener.counts
    say("note", f"stopped after {counts.captions} captions, {counts.skipped} hops skipped, {counts.dropped:.1f} s of "
                f"sound dropped, {microphone.overflows} overflows")


def _stop_on_signals() -> threading.Event:
    """An event that the first Ctrl-C or SIGTERM sets; a second one ends the process at once."""
    stop = threading.Event()

    def first(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, first)
    return stop
