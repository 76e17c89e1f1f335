"""An output that fails ends neither the listener nor another output."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import soundfile

from edgecap.live.config.events_config import EventsConfig
from edgecap.live.config.listen_config import ListenConfig, ModelConfig, OutputConfig, SourceConfig
from edgecap.live.events.event import Change
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.session import ListenSession
from edgecap.live.sinks.base import Outbox, Sink
from edgecap.live.sinks.guard import FIRST_RETRY, GuardedSink
from edgecap.live.sinks.kept_audio import KeptAudio
from edgecap.live.sinks.metrics import Metrics
from edgecap.live.thermal import look
from support.live_parts import Clock, Messages, change, ignore, notifier, usb_status
from support.signals import RATE, noise


def descriptors() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


class Failing(Sink):
    """Fails where the test says so."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.changes: list[Change] = []
        self.closed = 0

    def on_event(self, change: Change) -> None:
        if self.error is not None:
            raise self.error
        self.changes.append(change)

    def close(self) -> None:
        self.closed += 1


def test_nothing_waits_while_a_sink_that_failed_delivers_what_it_has() -> None:
    clock, deliver, opened = Clock(), threading.Event(), list[Failing]()

    class Slow(Failing):
        def close(self) -> None:
            assert deliver.wait(20)
            super().close()

    def open_sink() -> Sink:
        opened.append(Slow())
        return opened[-1]

    sink = GuardedSink("--slow", open_sink, ignore, clock=clock)
    opened[0].error = RuntimeError("no")
    sink.on_event(change())  # returns although closing takes its time
    clock.sleep(FIRST_RETRY)
    sink.on_status(usb_status())
    assert len(opened) == 1  # not yet: the first one still has the file
    deliver.set()
    for thread in threading.enumerate():
        if thread.name == "edgecap closes --slow":
            thread.join(20)
    sink.on_status(usb_status())
    assert [each.closed for each in opened] == [1, 0]
    sink.close()
    assert [each.closed for each in opened] == [1, 1]


def test_a_sink_that_fails_is_reported_once_closed_and_opened_again() -> None:
    messages, clock, sinks = Messages(), Clock(), list[Failing]()

    def open_sink() -> Sink:
        sinks.append(Failing())
        return sinks[-1]

    guarded = GuardedSink("--csv", open_sink, notifier(messages), clock=clock)
    sinks[0].error = AssertionError("the library's")
    for number in (1, 2, 3):
        guarded.on_event(change("begin", number))
    guarded.on_status(usb_status())
    assert [text for _, text in messages] == [
        "--csv failed (AssertionError: the library's); listening goes on without it, it is opened again in 10 s"
    ]
    assert sinks[0].closed == 1
    clock.sleep(FIRST_RETRY)
    guarded.on_status(usb_status())
    guarded.on_event(change("begin", 4))
    assert [item.event.id for item in sinks[1].changes] == [4]
    assert messages[-1] == ("note", "--csv works again; it lacks 3 events")
    guarded.close()
    assert sinks[1].closed == 1


def test_a_sink_that_cannot_be_opened_again_is_tried_less_and_less_often() -> None:
    messages, clock, tries = Messages(), Clock(), list[float]()

    def open_sink() -> Sink:
        tries.append(clock())
        if len(tries) > 1:
            raise OSError(5, "Input/output error")
        return sinks[0]

    sinks = [Failing()]
    guarded = GuardedSink("--csv", open_sink, notifier(messages), clock=clock)
    sinks[0].error = ValueError("no")
    guarded.on_event(change("begin"))
    for _ in range(200):
        clock.sleep(1.0)
        guarded.on_status(usb_status())
    assert [round(later - earlier) for earlier, later in pairwise(tries)] == [10, 20, 40, 80]
    guarded.close()
    assert [kind for kind, _ in messages] == ["warning", "warning"]
    assert messages[-1][1] == "--csv lacks 1 events"


def test_a_listener_survives_whatever_an_output_raises(tiny_folder: Path, tmp_path: Path) -> None:
    class Broken(Sink):
        wants_audio = True

        def on_audio(self, source: str, samples: object, end: float) -> None:
            raise AssertionError

        def on_status(self, status: StatusSnapshot) -> None:
            raise RuntimeError("no")

        def close(self) -> None:
            raise ValueError

    soundfile.write(tmp_path / "a.wav", noise(12), RATE)
    config = ListenConfig(
        source=SourceConfig(file=str(tmp_path / "a.wav"), speed=0.0),
        model=ModelConfig(name=str(tiny_folder)),
        events=EventsConfig(min_score=-99.0),
        output=OutputConfig(journal=str(tmp_path / "a.db")),
    )
    messages = Messages()
    with ListenSession(config, notifier(messages), sinks=[Broken()]) as session:
        kinds = [item.kind for item in session.changes(threading.Event())]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    assert [text.split(";")[0] for kind, text in messages] == [
        "the view failed (AssertionError: AssertionError)",
        "the view lacks 1 events",
    ]
    database = sqlite3.connect(tmp_path / "a.db")
    assert database.execute("SELECT open FROM events").fetchall() == [(0,)]
    database.close()


def test_an_unexpected_exception_of_a_delivery_does_not_end_its_thread() -> None:
    messages, delivered = Messages(), list[str]()

    def deliver(item: str) -> None:
        item.encode()
        delivered.append(item)

    outbox = Outbox("--exec", deliver, notifier(messages))
    for item in ("a", "\ud800", "b"):
        outbox.put(item)
    outbox.close()
    assert delivered == ["a", "b"]
    assert outbox.lost == 1
    assert messages[0][1].startswith("--exec: an event was not delivered (UnicodeEncodeError")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_under_kept_sound_leaves_no_cut_file(
    small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    messages = Messages()
    kept = KeptAudio(str(small_disk), "1d", notifier(messages), sample_rate=RATE, window=1.0)
    block = noise(1.0)
    kept.on_event(change("begin", 1))
    for second in range(1, 61):  # about 30 kB of FLAC a second
        kept.on_audio("USB", block, float(second))
    kept.on_event(change("end", 1))
    assert list(small_disk.iterdir()) == []
    assert len(messages) == 1
    assert "No space left on device" in messages[0][1]
    kept.on_event(change("begin", 2))
    kept.on_audio("USB", block, 61.0)
    kept.on_event(change("end", 2))
    kept.close()
    (path,) = small_disk.iterdir()
    assert soundfile.info(path).frames == RATE
    assert capfd.readouterr().err == ""


def answer(port: int, host: str = "127.0.0.1") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={"Host": host})
        return connection.getresponse().status


def test_slow_visitors_of_the_metrics_keep_nobody_out_and_hold_few_files() -> None:
    metrics = Metrics("0", ignore)
    metrics.on_status(usb_status())
    before = len(descriptors())
    with contextlib.ExitStack() as stack:
        visitors = [stack.enter_context(socket.create_connection(("127.0.0.1", metrics.port))) for _ in range(200)]
        for visitor in visitors:
            with contextlib.suppress(OSError):
                visitor.sendall(b"GET /met")
        assert answer(metrics.port) == 200
        held = len(descriptors()) - before - len(visitors)
        assert held <= 40  # of the server
    metrics.close()


def test_a_visitor_that_drips_is_cut_off_when_its_time_is_over() -> None:
    metrics = Metrics("0", ignore, request_seconds=0.5)
    with socket.create_connection(("127.0.0.1", metrics.port), timeout=20) as visitor:
        cut = False
        for _ in range(1000):
            try:
                visitor.sendall(b"x")
                visitor.settimeout(0.02)
                cut = visitor.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                cut = True
            if cut:
                break
        assert cut
    metrics.close()


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:9100", 200), ("localhost", 200), ("rebound.example", 421), ("prom.lan", 200)]
)
def test_metrics_are_served_under_names_of_this_machine_only(host: str, status: int) -> None:
    metrics = Metrics("0", ignore, hosts=["prom.lan"])
    assert answer(metrics.port, host) == status
    metrics.close()


def test_a_temperature_that_cannot_be_read_for_want_of_files_is_unknown() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 4, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        heat = look()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (heat.celsius, heat.hot) == (None, False)
