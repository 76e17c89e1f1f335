"""Faults at random moments of a listener: is an announced event lost or doubled, is it back soon, does it say why?

    python -m edgecap_bench.faults.faults --rounds 100                     a table; some hours
    python -m edgecap_bench.faults.faults --rounds 5 --only "kill -9"

Needs root for a small disk (tmpfs), mosquitto for the broker, PulseAudio for the microphone; a fault that cannot be
made counts as not survived, and the reason is told. Exit code 0 where every round was survived, else 1.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit
from typing import Annotated

import typer

from edgecap.cli.console import say
from edgecap.cli.options import Model
from edgecap.errors import EdgecapError, MeasurementError
from edgecap_bench.faults.rig import Rig
from edgecap_bench.reports import output
from edgecap_bench.reports.tables import Criterion

BACK_SECONDS = 5.0
PATIENCE = 30.0
SHORTEST, LONGEST = 0.2, 3.0
"""Seconds that a fault lasts; longer, where the listener has yet to say what it must."""
Mend = Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """What is done to a listener; `inject` gives what ends it."""

    name: str
    inject: Callable[[Rig, random.Random], Mend]
    says: str = ""
    """What the listener must report, as a part of a line; empty where nothing is to be said."""


@dataclass
class Tally:
    """What became of the rounds of a fault."""

    rounds: int = 0
    survived: int = 0
    lost: int = 0
    doubled: int = 0
    said: int = 0
    back: list[float] = field(default_factory=list)
    """Seconds until all that was announced is stored and the next event is announced."""


def nothing() -> None:
    """What ends a fault that ends by itself."""


def kill(rig: Rig, _source: random.Random) -> Mend:
    """End it without a warning, as a power cut of the process does."""
    rig.process.kill()
    rig.process.wait()
    return rig.start


def tear(rig: Rig, source: random.Random) -> Mend:
    """The same, and the last row of the table was written in part."""
    mend = kill(rig, source)
    content = rig.table.read_bytes() if rig.table.exists() else b""
    rig.table.write_bytes(content[: max(0, len(content) - source.randrange(1, 40))])
    return mend


def fill(rig: Rig, _source: random.Random) -> Mend:
    """Leave no byte on the disk of the outputs. Raises MeasurementError where it is not a small one of its own."""
    if not rig.disk.is_mount():
        raise MeasurementError("no small disk could be mounted, which takes root")
    filler = rig.disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 256, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return filler.unlink


def move(rig: Rig, _source: random.Random) -> Mend:
    """Rotate journal and table, as logrotate does."""
    rig.set_aside()
    return nothing


def remove(rig: Rig, _source: random.Random) -> Mend:
    """Delete the table."""
    rig.table.unlink(missing_ok=True)
    return nothing


def empty(rig: Rig, _source: random.Random) -> Mend:
    """Empty the table, as logrotate's copytruncate does."""
    rig.table.write_bytes(b"")
    return nothing


def stop(rig: Rig, _source: random.Random) -> Mend:
    """Hold the process."""
    rig.process.send_signal(signal.SIGSTOP)
    return lambda: rig.process.send_signal(signal.SIGCONT)


def few_files(rig: Rig, source: random.Random) -> Mend:
    """Let it open hardly any further file."""
    before = prlimit(rig.process.pid, RLIMIT_NOFILE)
    prlimit(rig.process.pid, RLIMIT_NOFILE, (rig.handles + source.randrange(3), before[1]))
    return lambda: void(prlimit(rig.process.pid, RLIMIT_NOFILE, before))


def webhook(mode: str) -> Callable[[Rig, random.Random], Mend]:
    """The server behind --webhook does something else than answer."""

    def inject(rig: Rig, _source: random.Random) -> Mend:
        rig.webhook.mode = mode
        return lambda: setattr(rig.webhook, "mode", "answer")

    return inject


def program(text: str) -> Callable[[Rig, random.Random], Mend]:
    """The program behind --exec does that."""

    def inject(rig: Rig, _source: random.Random) -> Mend:
        rig.set_program(text)
        return lambda: rig.set_program("exit 0")

    return inject


def broker_gone(rig: Rig, _source: random.Random) -> Mend:
    """End the broker."""
    rig.broker.kill()
    rig.broker.wait()
    return rig.start_broker


def broker_hangs(rig: Rig, _source: random.Random) -> Mend:
    """Hold the broker."""
    rig.broker.send_signal(signal.SIGSTOP)
    return lambda: rig.broker.send_signal(signal.SIGCONT)


def unplug(rig: Rig, _source: random.Random) -> Mend:
    """Take the microphone away."""
    rig.microphones[0].unplug()

    def mend() -> None:
        rig.microphones[0].plug_in()
        rig.play()

    return mend


FAULTS = (
    Fault("kill -9", kill),
    Fault("torn last row", tear),
    Fault("disk full", fill, "cannot be written"),
    Fault("outputs rotated", move, "a new one is begun"),
    Fault("table deleted", remove, "a new one is begun"),
    Fault("table emptied", empty),
    Fault("SIGSTOP, SIGCONT", stop),
    Fault("few open files", few_files),
    Fault("webhook gone", webhook("close"), "webhook"),
    Fault("webhook hangs", webhook("hang")),
    Fault("webhook floods", webhook("flood")),
    Fault("program fails", program("exit 3"), "exec"),
    Fault("program hangs", program("sleep 1000")),
    Fault("program floods", program("yes x >&2")),
    Fault("broker gone", broker_gone, "broker"),
    Fault("broker hangs", broker_hangs),
)
MICROPHONE_FAULTS = (Fault("microphone unplugged", unplug, "microphone"),)


def void(_value: object) -> None:
    """Take a result and give none."""


def once(rig: Rig, fault: Fault, source: random.Random, tally: Tally, patience: float = PATIENCE) -> None:
    """One round, and what became of it; given up after `patience` seconds. Raises MeasurementError."""
    rig.wait_for_event(patience)
    time.sleep(source.uniform(0.0, 1.5))
    line, seconds = len(rig.messages), source.uniform(SHORTEST, LONGEST)
    mend = fault.inject(rig, source)
    began = time.monotonic()

    def said() -> bool:
        return not fault.says or any(fault.says in text for text in rig.messages[line:])

    time.sleep(seconds)
    while not said() and rig.process.poll() is None and time.monotonic() - began < patience:
        time.sleep(0.05)  # an output fails only when it gets an event
    mend()
    mended = time.monotonic()
    tally.rounds += 1
    rig.wait_for_event(patience)
    while (lost := rig.lost) and time.monotonic() - mended < patience:
        time.sleep(0.05)
    back, doubled = time.monotonic() - mended, rig.doubled
    tally.lost, tally.doubled, tally.said = tally.lost + len(lost), tally.doubled + doubled, tally.said + said()
    tally.back.append(back)
    tally.survived += not lost and not doubled and rig.process.poll() is None
    rig.forget(lost)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 8 MB; a folder of the usual one where none can be mounted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the disk, broker and listener end with us
    disk = folder / "disk"
    disk.mkdir()
    with ExitStack() as stack:
        if Rig.mount(disk):
            stack.callback(Rig.unmount, disk)
        yield disk


def faults(
    *,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Of each fault.")] = 100,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="These faults (repeatable).")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the random moments.")] = 0,
    patience: Annotated[
        float, typer.Option("--patience", metavar="SECONDS", help="After which a round is given up.")
    ] = PATIENCE,
    model: Model = None,
) -> None:
    """Do each fault many times to a running listener, and report what became of its events."""
    known = [fault.name for fault in (*FAULTS, *MICROPHONE_FAULTS)]
    for name in only or []:
        if name not in known:
            raise typer.BadParameter(f"unknown fault {name!r}; use {', '.join(known)}", param_hint="--only")
    criteria = []
    for group, microphones in ((FAULTS, 0), (MICROPHONE_FAULTS, 1)):
        for fault in group:
            if only and fault.name not in only:
                continue
            say("note", f"fault: {fault.name}")
            tally = Tally()
            with tempfile.TemporaryDirectory(prefix="edgecap-faults-") as folder, small_disk(Path(folder)) as disk:
                try:
                    with Rig(Path(folder), disk, microphones=microphones, model=model) as rig:
                        source = random.Random(seed)
                        for _ in range(rounds):
                            once(rig, fault, source, tally, patience)
                except (EdgecapError, OSError) as error:
                    say("warning", f"{fault.name}: {error}")
            criteria.append(criterion(fault, tally, rounds))
    output.finish(criteria)


def criterion(fault: Fault, tally: Tally, rounds: int) -> Criterion:
    """A row of the table."""
    late = sum(seconds > BACK_SECONDS for seconds in tally.back)
    slowest = max(tally.back, default=float("nan"))
    text = (
        f"{tally.survived} of {rounds} survived, {tally.lost} lost, {tally.doubled} doubled, back after at most "
        f"{slowest:.1f} s ({late} later than {BACK_SECONDS:g} s)"
    )
    if fault.says:
        text += f", told {tally.said} times"
    wanted = "all, none lost or doubled, within 5 s, with the reason"
    kept = tally.survived == rounds and not late and tally.said == tally.rounds
    return Criterion(fault.name, text, wanted, kept)


if __name__ == "__main__":
    output.run_command(faults)
