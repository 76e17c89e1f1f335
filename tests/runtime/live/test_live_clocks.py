"""Time is time: where events lie and how they are dated, whatever happens to clocks, machine and microphone."""

from __future__ import annotations

import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecap.captioner import Captioner
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.events.event import Change
from edgecap.live.listener import Listener
from edgecap.live.pipeline.gate import GateSettings
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.sinks.journal import Journal
from edgecap.live.thermal import Heat
from support.live_parts import FedSource, Machine, Messages, ignore, notifier, says
from support.signals import noise

BLOCK = 0.1
LOUD, QUIET = noise(BLOCK), noise(BLOCK, level=10 ** (-72 / 20))
TEN_YEARS = 10 * 365.25 * 86_400


class Scene:
    """A listener to a live source on a machine, with a real journal, as a session drives them."""

    def __init__(self, captioner: Captioner, worker: CaptionWorker, folder: Path) -> None:
        self.machine, self.messages, self.changes = Machine(), Messages(), list[Change]()
        self.clocks = self.machine.clocks()
        self.source = FedSource(live=True)
        self.began = self.machine.boot
        self.path = folder / "a.db"
        self.journal = Journal(
            str(self.path),
            "600w",
            ignore,
            model="tiny",
            wall=lambda: self.machine.wall,
            clock=lambda: self.machine.running,
        )
        self.listener = Listener(
            captioner,
            self.source,
            ListenerSettings(window=4.0, hop=1.0, gate=GateSettings(), events=EventsConfig(cooldown=8.0)),
            notifier(self.messages),
            worker,
            clock=lambda: self.machine.boot,
            clocks=self.clocks,
            heat=lambda: Heat(40.0, False, False),
            describe=says(),
        )

    def hear(self, seconds: float, block: np.ndarray = QUIET, at: dict[int, Callable[[], None]] | None = None) -> None:
        """Sound comes for some time; before some of its blocks, counted from 0, something happens."""
        for number in range(round(seconds / BLOCK)):
            if at and number in at:
                at[number]()
            self.machine.run(BLOCK)
            self.source.feed(block)
            self.step()

    def wait(self, seconds: float) -> None:
        """Time passes and no sound comes."""
        for _ in range(round(seconds / 0.5)):
            self.machine.run(0.5)
            self.step()

    def step(self) -> None:
        self.give(self.listener.step(0.0).changes)
        assert self.listener.drain(20)
        jump = self.clocks.look()
        if jump is not None and jump.clock_set:
            self.listener.clock_set(jump.clock_set)
            self.journal.on_clock_set(jump.clock_set)

    def give(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.changes.append(change)
            self.journal.on_event(change)

    def end(self) -> list[tuple[float, float]]:
        """Begin and end of all events as the journal dates them, in seconds from the start, by the clock of the end."""
        self.give(self.listener.finish().changes)
        self.journal.close()
        database = sqlite3.connect(self.path)
        rows = database.execute("SELECT began, ended FROM events ORDER BY id").fetchall()
        database.close()
        start = self.machine.wall - (self.machine.boot - self.began)
        return [(began - start, ended - start) for began, ended in rows]

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Where the events that ended lie in the sound, seconds."""
        return [(change.event.start, change.event.end) for change in self.changes if change.kind == "end"]


@pytest.fixture
def scene(captioner: Captioner, tmp_path: Path) -> Iterator[Scene]:
    with CaptionWorker() as worker:
        yield Scene(captioner, worker, tmp_path)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("seconds", [3600.0, -3600.0, TEN_YEARS, -TEN_YEARS])
def test_a_clock_that_is_set_moves_every_date_once(scene: Scene, seconds: float, seed: int) -> None:
    choose = random.Random(seed)
    scene.machine.wall = 1.7e9

    def jump() -> None:
        scene.machine.wall += seconds

    scene.hear(5.0, at={choose.randrange(30, 50): jump})
    scene.hear(5.0, LOUD, at={choose.randrange(50): jump})
    scene.hear(20.0, at={choose.randrange(100): jump})
    scene.hear(3.0, LOUD, at={choose.randrange(25): jump})
    scene.hear(15.0, at={choose.randrange(10): jump})
    assert scene.spans == [pytest.approx((5.0, 10.0), abs=0.11), pytest.approx((30.0, 33.0), abs=0.11)]
    assert scene.end() == [pytest.approx((5.0, 10.0), abs=0.2), pytest.approx((30.0, 33.0), abs=0.2)]


@pytest.mark.parametrize("how", ["suspended", "stopped", "away"])
@pytest.mark.parametrize("gap", [20.0, 600.0])
def test_what_was_not_heard_counts_as_time(scene: Scene, gap: float, how: str) -> None:
    scene.hear(5.0)
    scene.hear(5.0, LOUD)
    if how == "away":
        scene.wait(gap)
    else:
        (scene.machine.suspend if how == "suspended" else scene.machine.run)(gap)
    scene.hear(2.0)
    scene.hear(5.0, LOUD)  # the same again, after more than the cooldown
    scene.hear(15.0)
    spans = [(5.0, 10.0), (12.0 + gap, 17.0 + gap)]
    assert scene.spans == [pytest.approx(span, abs=0.21) for span in spans]
    assert scene.end() == [pytest.approx(span, abs=0.21) for span in spans]
    assert scene.listener.status.lost == pytest.approx(gap, abs=0.11)


def test_a_short_gap_is_neither_an_end_nor_a_loss(scene: Scene) -> None:
    scene.hear(5.0, LOUD)
    scene.machine.run(0.8)  # a busy machine; the sound comes late, and all of it
    scene.source.feed(noise(0.8))
    scene.hear(5.0, LOUD)
    scene.hear(15.0)
    assert scene.spans == [pytest.approx((0.0, 10.8), abs=0.11)]
    assert scene.listener.status.lost == 0.0


def test_a_card_whose_clock_is_a_little_wrong_loses_nothing(scene: Scene) -> None:
    for _ in range(600):
        scene.machine.run(10.0 * 1.0005)
        scene.source.feed(noise(10.0, level=1e-4))
        scene.step()
    assert scene.listener.status.lost == 0.0
    assert scene.messages == []
    assert scene.listener.status.fault == ""


def test_a_source_that_cannot_wait_and_is_faster_than_time_is_reported_at_once(scene: Scene) -> None:
    scene.hear(1.0)
    for _ in range(100):
        scene.machine.run(BLOCK)
        scene.source.feed(noise(10.0))
        scene.step()
    ((kind, text),) = scene.messages
    assert kind == "warning"
    assert "gives sound faster than time" in text
    assert scene.listener.status.fault == "sound comes faster than time"
    assert scene.listener.heard == pytest.approx(1.0 + 10.0 + 5.0, abs=0.3)  # no more than five seconds early
    assert scene.listener.status.lost == 0.0


def test_a_pipe_faster_than_time_is_taken_as_a_recording(
    edgecap: Callable[..., subprocess.CompletedProcess[str]], tiny_folder: Path, tmp_path: Path
) -> None:
    quiet, loud = noise(12, level=10 ** (-72 / 20)), noise(3)
    sound = np.concatenate([quiet, loud] * 20)
    options = ("--min-score", -99, "--cooldown", 0, "--csv", tmp_path / "a.csv")
    done = edgecap(
        "listen", "--model", tiny_folder, "--stdin", *options, input=(sound * 32_767).astype("<i2").tobytes()
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("gives sound faster than time, so it is taken as a recording") == 1
    assert "0 hops skipped, 0.0 s of sound dropped" in done.stderr
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    starts = [float(row[2]) for row in rows]
    assert starts == pytest.approx([12 + 15 * number for number in range(20)], abs=0.21)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
