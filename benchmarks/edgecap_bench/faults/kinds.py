"""The faults: what is done to a listener or to something around it, and what ends that."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from resource import RLIMIT_AS, RLIMIT_NOFILE, prlimit

from edgecap_bench.faults.held_thread import busiest_thread, hold
from edgecap_bench.faults.memory_group import MemoryGroup
from edgecap_bench.faults.rig import NODE, Rig
from edgecap_bench.faults.servers import flood_topic

HOUR, TEN_YEARS = 3600, 10 * 365 * 86_400
SPARE_BYTES = 2_000_000
"""Memory that a listener may still take, at most, when it meets its limit."""
VISITS = 5
Mend = Callable[[], None]
Inject = Callable[[Rig, random.Random], Mend]


@dataclass(frozen=True)
class Fault:
    """What is done to a listener; `inject` gives what ends it."""

    name: str
    inject: Inject
    says: str = ""
    """What the listener must report, as a part of a line; empty where nothing is to be said."""
    each_time: bool = True
    """Whether it reports that each time, or only the first times, as of a connection that comes and goes."""
    if_refused: bool = False
    """Whether nothing is to be said where all was stored meanwhile, as on a full disk whose files have room left."""
    ends: bool = False
    """Whether the process ends, and another one is started."""
    keeps_table: bool = True
    """Whether the table must have all that ended; not where the fault itself takes rows away."""
    own_clock: bool = False
    """Whether the listener needs a clock that can be set for it alone."""
    microphones: int = 0
    may_end: bool = False
    """Whether the process may end of it, with nothing lost; it is started again, as systemd does."""


def nothing() -> None:
    """What ends a fault that ends by itself."""


def kill(rig: Rig, _source: random.Random) -> Mend:
    """End it without a warning, as the kernel does where memory is short."""
    rig.process.kill()
    rig.process.wait()
    return rig.start


def tear(rig: Rig, source: random.Random) -> Mend:
    """The same, and the last row of the table was written in part."""
    mend = kill(rig, source)
    table = rig.record.table
    content = table.read_bytes() if table.exists() else b""
    table.write_bytes(content[: max(0, len(content) - source.randrange(1, 40))])
    return mend


def cut_power(rig: Rig, source: random.Random) -> Mend:
    """The same, and all is lost that was written and not synced to the disk."""
    mend = kill(rig, source)
    rig.disk.cut_power()
    return mend


def fill(rig: Rig, _source: random.Random) -> Mend:
    """Leave no byte on the disk of the outputs."""
    filler = rig.disk.fill()
    return filler.unlink


def fill_and_kill(rig: Rig, source: random.Random) -> Mend:
    """The same, and the listener is killed before there is space again."""
    filler = rig.disk.fill()
    rig.wait_for_event(10.0)
    restart = kill(rig, source)

    def mend() -> None:
        filler.unlink()
        restart()

    return mend


def lock(rig: Rig, _source: random.Random) -> Mend:
    """Let journal and table be read, and not written."""
    rig.disk.lock(locked=True)
    return lambda: rig.disk.lock(locked=False)


def move(rig: Rig, _source: random.Random) -> Mend:
    """Rotate journal and table, as logrotate does."""
    rig.set_aside()
    return nothing


def remove(rig: Rig, _source: random.Random) -> Mend:
    """Delete the table."""
    rig.record.table.unlink(missing_ok=True)
    return nothing


def empty(rig: Rig, _source: random.Random) -> Mend:
    """Empty the table, as logrotate's copytruncate does."""
    rig.record.table.write_bytes(b"")
    return nothing


def stop(rig: Rig, _source: random.Random) -> Mend:
    """Hold the process."""
    rig.process.send_signal(signal.SIGSTOP)
    return lambda: rig.process.send_signal(signal.SIGCONT)


def hold_model(rig: Rig, _source: random.Random) -> Mend:
    """Hold the thread that captions."""
    return hold(busiest_thread(rig.process.pid))


def few_files(rig: Rig, source: random.Random) -> Mend:
    """Let it open hardly any further file."""
    return limit(rig, RLIMIT_NOFILE, rig.handles + source.randrange(3))


def little_memory(rig: Rig, source: random.Random) -> Mend:
    """Let it take hardly any further memory, and visit the page, which takes some. It may end of that."""
    pages = int(Path(f"/proc/{rig.process.pid}/statm").read_text().split()[0])
    unlimit = limit(rig, RLIMIT_AS, 4096 * pages + source.randrange(SPARE_BYTES))
    for _ in range(VISITS):
        rig.visit_page()
    return unlimit


def out_of_memory(rig: Rig, source: random.Random) -> Mend:
    """Let the kernel end it when it has taken a little more, as where a service's MemoryMax is reached."""
    group = MemoryGroup(rig.process.pid).enter(source.randrange(4096, SPARE_BYTES // 20))
    for _ in range(VISITS):
        rig.visit_page()
    return group.leave


def limit(rig: Rig, resource: int, value: int) -> Mend:
    """Limit a resource of the running listener."""
    pid = rig.process.pid
    before = prlimit(pid, resource)
    prlimit(pid, resource, (value, before[1]))

    def unlimit() -> None:
        with suppress(ProcessLookupError):  # it ended of it
            prlimit(pid, resource, before)

    return unlimit


def clock(*jumps: int) -> Inject:
    """Set the listener's clock by one of so many seconds, and right again."""

    def inject(rig: Rig, source: random.Random) -> Mend:
        rig.set_clock(source.choice(jumps))
        return lambda: rig.set_clock(0)

    return inject


def webhook(mode: str) -> Inject:
    """The server behind --webhook does something else than answer."""

    def inject(rig: Rig, _source: random.Random) -> Mend:
        rig.webhook.mode = mode
        return lambda: setattr(rig.webhook, "mode", "answer")

    return inject


def program(text: str) -> Inject:
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


def broker_floods(rig: Rig, _source: random.Random) -> Mend:
    """Let somebody send to the topic that the listener reads, as fast as the broker passes it on."""
    return flood_topic(rig.broker_port, f"edgecap/{NODE}/start")


def unplug(rig: Rig, _source: random.Random) -> Mend:
    """Take the microphone away."""
    rig.microphones[0].unplug()

    def mend() -> None:
        rig.microphones[0].plug_in()
        rig.play()

    return mend


FAULTS = (
    Fault("kill -9", kill, ends=True),
    Fault("torn last row", tear, ends=True, keeps_table=False),
    Fault("power cut", cut_power, ends=True),
    Fault("disk full", fill, "cannot be written", if_refused=True),
    Fault("disk full, then kill -9", fill_and_kill, ends=True, keeps_table=False),
    Fault("outputs read-only", lock, "cannot be written"),
    Fault("outputs rotated", move, "a new one is begun"),
    Fault("table deleted", remove, "a new file of that name", keeps_table=False),
    Fault("table emptied", empty, keeps_table=False),
    Fault("clock set by an hour", clock(HOUR, -HOUR), "the system's clock was set", own_clock=True),
    Fault("clock set by ten years", clock(TEN_YEARS, -TEN_YEARS), "the system's clock was set", own_clock=True),
    Fault("SIGSTOP, SIGCONT", stop),
    Fault("model hangs", hold_model),
    Fault("few open files", few_files),
    Fault("little memory", little_memory, may_end=True),
    Fault("out of memory", out_of_memory, may_end=True),
    Fault("webhook gone", webhook("close"), "webhook"),
    Fault("webhook hangs", webhook("hang")),
    Fault("webhook floods", webhook("flood")),
    Fault("program fails", program("exit 3"), "exec"),
    Fault("program hangs", program("sleep 1000")),
    Fault("program floods", program("yes x >&2")),
    Fault("broker gone", broker_gone, "the MQTT broker", each_time=False),
    Fault("broker hangs", broker_hangs),
    Fault("broker floods", broker_floods),
    Fault("microphone unplugged", unplug, "microphone", microphones=1),
)
