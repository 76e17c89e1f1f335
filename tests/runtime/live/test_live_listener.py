"""The listener's timing rules, with a clock, sound and model that the test controls; then with a real model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import soundfile

from edgecap.captioner import Captioner
from edgecap.errors import AudioError
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.events.describe import Described, Describer, WindowJob
from edgecap.live.events.event import Change
from edgecap.live.listener import Listener
from edgecap.live.loop import steps
from edgecap.live.pipeline.gate import GateSettings
from edgecap.live.pipeline.hop_control import COOL_IN_A_ROW
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.sources.file_source import FileSource
from edgecap.live.sources.source import AudioSource
from edgecap.live.thermal import Heat
from edgecap.types import Waveform
from support.live_parts import Clock, FedSource, Messages, Recorder, ignore, notifier, says
from support.signals import RATE, noise, tone

COOL = Heat(40.0, False, False)


class Listen(Protocol):
    """Makes a listener with a worker of its own."""

    def __call__(
        self,
        source: AudioSource,
        messages: Messages | None = None,
        *,
        gate: bool = True,
        hop: float = 1.0,
        window: float = 4.0,
        **parts: Any,
    ) -> Listener: ...


@pytest.fixture
def listener(captioner: Captioner) -> Iterator[Listen]:
    with CaptionWorker() as worker:

        def make(
            source: AudioSource,
            messages: Messages | None = None,
            *,
            gate: bool = True,
            hop: float = 1.0,
            window: float = 4.0,
            **parts: Any,
        ) -> Listener:
            settings = ListenerSettings(window=window, hop=hop, gate=GateSettings() if gate else None)
            parts = {"heat": lambda: COOL, "settings": settings, **parts}
            notify = ignore if messages is None else notifier(messages)
            return Listener(captioner, source, notify=notify, worker=worker, **parts)

        yield make


def test_each_hop_of_a_sound_gets_the_newest_window_and_one_event(listener: Listen) -> None:
    source, describe, sound = FedSource(), Recorder(), noise(8)

    listening = listener(source, describe=describe)
    changes: list[Change] = []
    for second in range(8):
        source.feed(sound[second * RATE : (second + 1) * RATE])
        changes += listening.step().changes
        assert listening.drain(20)
    changes += [*listening.step().changes, *listening.finish().changes]
    assert [job.end for job in describe.jobs] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [round(job.start, 1) for job in describe.jobs] == [0, 0, 0, 0, 1, 2, 3, 4]
    assert [change.kind for change in changes] == ["begin", *["update"] * 6, "end"]  # the first caption begins nothing
    assert (changes[-1].event.start, changes[-1].event.end) == (0, 8)
    assert listening.status.dropped == 0


def test_a_sound_that_is_over_before_the_window_begins_is_not_looked_for_in_the_quiet(listener: Listen) -> None:
    source, describe = FedSource(), Recorder()

    listening = listener(source, describe=describe, hop=10.0)
    quiet = noise(1, level=10 ** (-72 / 20))
    for second in range(16):
        source.feed(noise(1) if second in {0, 1, 5} else quiet)  # the second sound comes between two windows
        listening.step()
        assert listening.drain(20)
    changes = listening.finish().changes
    assert [(job.end, job.sounded) for job in describe.jobs] == [(2.0, 2.0)]
    assert all(change.event.start <= change.event.end for change in changes)


def test_no_step_waits_while_the_model_hangs_and_the_newest_window_wins(listener: Listen) -> None:
    source, begun, go, jobs = FedSource(), threading.Event(), threading.Event(), list[WindowJob]()

    def describe(job: WindowJob) -> Described:
        jobs.append(job)
        begun.set()
        assert go.wait(20)
        return says()(job)

    listening = listener(source, describe=describe)
    for block in np.split(noise(30), 300):  # blocks of 100 ms
        source.feed(block)
        assert listening.step().changes == ()  # returns although `go` is not set
        assert listening.heard < 1.0 or begun.wait(20)  # the model hangs from the first window on
    assert len(jobs) == 1
    go.set()
    assert listening.drain(20)
    listening.finish()
    assert [job.end for job in jobs] == [1, 30]
    assert len(jobs[1].frames) == 401  # of half a minute no more than a window was held
    assert listening.status.dropped == 28


def test_a_model_too_slow_for_the_hop_makes_it_longer_and_says_so(listener: Listen) -> None:
    source, messages = FedSource(), Messages()

    def describe(job: WindowJob) -> Described:
        return replace(says()(job), seconds=1.7)

    listening = listener(source, messages, describe=describe)
    for second in range(8):
        source.feed(noise(1, seed=second))
        listening.step()
        assert listening.drain(20)
    listening.finish()
    assert listening.status.hop > 1.7
    assert listening.status.captions < 8
    assert any(kind == "warning" and "instead of 1 s" in text for kind, text in messages)


def test_quiet_does_not_ask_the_model(listener: Listen) -> None:
    source = FedSource()
    listening = listener(source, describe=says())
    for second in range(10):
        source.feed(noise(1, seed=second, level=10 ** (-70 / 20)))
        assert listening.step().changes == ()
    assert (listening.status.windows, listening.status.quiet, listening.status.captions) == (10, 10, 0)
    listening.finish()


def test_a_sound_after_quiet_is_captioned_two_seconds_in_with_little_of_the_quiet(listener: Listen) -> None:
    source, describe = FedSource(), Recorder()

    listening = listener(source, hop=2.0, describe=describe)
    changes: list[Change] = []
    sound = noise(10.5, level=10 ** (-70 / 20))
    sound[round(6.3 * RATE) : round(8.0 * RATE)] += noise(1.7, seed=2)
    for block in np.split(sound, 105):
        source.feed(block)
        changes += listening.step().changes
        listening.drain(20)
    changes += listening.finish().changes
    assert describe.jobs[0].end == pytest.approx(8.3, abs=0.11)
    assert describe.jobs[0].start == pytest.approx(6.2, abs=0.11)
    assert changes[-1].event.start == pytest.approx(6.3, abs=0.11)
    assert changes[-1].event.end == pytest.approx(8.0, abs=0.11)


def test_a_second_caption_comes_soon_however_long_the_hop(listener: Listen) -> None:
    source, describe = FedSource(), Recorder()
    listening = listener(source, hop=8.0, describe=describe)
    begun = []
    for block in np.split(np.concatenate((noise(1, level=10 ** (-70 / 20)), noise(14))), 150):
        source.feed(block)
        begun += [listening.heard for change in listening.step().changes if change.kind == "begin"]
        assert listening.drain(20)
    assert [job.end for job in describe.jobs] == pytest.approx([3.0, 5.0, 13.0], abs=0.11)
    assert begun == pytest.approx([5.1], abs=0.11)
    listening.finish()


def test_a_short_sound_begins_its_event_when_it_is_over(listener: Listen) -> None:
    source, begun = FedSource(), []
    listening = listener(source, hop=2.0, describe=says())
    quiet = noise(5, level=10 ** (-70 / 20))
    for block in np.split(np.concatenate((quiet, noise(0.5), quiet)), 105):
        source.feed(block)
        begun += [(listening.heard, change.event) for change in listening.step().changes if change.kind == "begin"]
        assert listening.drain(20)
    (heard, event), *_ = begun
    assert heard == pytest.approx(7.1, abs=0.11)
    assert (event.start, event.end) == pytest.approx((5.0, 5.5), abs=0.11)
    listening.finish()


def test_a_steady_sound_is_decoded_once_and_a_new_one_again(
    listener: Listen, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    decode = captioner.decode

    def counted(*given: Any) -> Any:
        decoded.append(1)
        return decode(*given)

    monkeypatch.setattr(captioner, "decode", counted)
    source, describe = FedSource(), Describer(captioner, novelty=0.999)
    listening = listener(source, describe=describe)

    def hear(sound: Waveform) -> None:
        source.feed(sound)
        listening.step()
        listening.drain(20)

    for _ in range(6):
        hear(tone(1))
    steady = len(decoded)
    for _ in range(4):
        hear(noise(1))
    listening.finish()
    assert steady < 6
    assert len(decoded) > steady
    assert listening.status.reused == 10 - len(decoded)


def test_an_event_ends_when_its_sound_has_been_gone_for_long_enough(listener: Listen) -> None:
    source, changes = FedSource(), list[Change]()
    listening = listener(source, describe=says())
    for second in range(14):
        source.feed(noise(1, level=0.1 if second < 3 else 1e-4))
        changes += listening.step().changes
        listening.drain(20)
    assert [change.kind for change in changes][-1] == "end"
    assert changes[-1].event.end == pytest.approx(3.0, abs=0.11)
    listening.finish()


def test_stopping_in_mid_decode_lets_the_caption_finish_and_closes_its_event(listener: Listen) -> None:
    source, stop, begun, go = FedSource(), threading.Event(), threading.Event(), threading.Event()

    def before() -> None:
        begun.set()
        assert go.wait(20)

    listening = listener(source, describe=says(before=before))
    changes: list[Change] = []
    source.feed(noise(1))
    thread = threading.Thread(target=lambda: changes.extend(walked(listening, stop)))
    thread.start()
    assert begun.wait(20)
    stop.set()
    go.set()
    thread.join(20)
    assert [change.kind for change in changes] == ["begin", "end"]


def test_a_failure_of_the_source_closes_the_open_event_first(listener: Listen) -> None:
    source = FedSource()
    source.feed(noise(1))
    changes: list[Change] = []
    walk = walked(listener(source, describe=says()), threading.Event())
    changes.append(next(walk))
    source.failure = AudioError("broken")
    changes.append(next(walk))
    with pytest.raises(AudioError, match="broken"):
        next(walk)
    assert [change.kind for change in changes] == ["begin", "end"]


def test_a_dead_input_is_told_once_and_its_return_too(listener: Listen) -> None:
    source, messages, clock = FedSource(live=True), Messages(), Clock()
    listening = listener(source, messages, clock=clock, describe=says())
    for second in range(25):
        clock.sleep(1.0)
        source.feed(np.zeros(RATE, np.float32) if second < 20 else noise(1, level=1e-4))
        listening.step()
        assert (listening.status.fault != "") == (9 <= second < 20)
    listening.finish()
    assert [kind for kind, _ in messages] == ["warning", "note"]
    assert "one constant value for 10 s" in messages[0][1]


def test_silence_in_a_recording_is_no_fault(listener: Listen) -> None:
    source, messages = FedSource(), Messages()
    listening = listener(source, messages, describe=says())
    for _ in range(20):
        source.feed(np.zeros(RATE, np.float32))
        listening.step()
        assert listening.status.fault == ""
    listening.finish()
    assert messages == []


def test_sound_that_does_not_continue_what_was_heard_begins_a_new_window(listener: Listen) -> None:
    source, describe = FedSource(), Recorder()

    listening = listener(source, describe=describe, gate=False)
    for second in range(6):
        source.feed(noise(1, seed=second), fresh=second == 3)
        listening.step()
        listening.drain(20)
    listening.finish()
    assert [(round(job.start, 1), job.end) for job in describe.jobs] == [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6)]


def test_lost_sound_is_counted_and_time_goes_on(listener: Listen) -> None:
    source = FedSource()
    listening = listener(source, describe=says())
    source.feed(noise(1), lost=5.0)
    listening.step()
    listening.finish()
    assert listening.status.lost == 5.0
    assert listening.heard == 6.0


def test_a_hot_board_gets_longer_hops(listener: Listen) -> None:
    clock, heats, messages = Clock(), [Heat(85.0, False, False), *[COOL] * COOL_IN_A_ROW], Messages()
    listening = listener(FedSource(), messages, clock=clock, heat=lambda: heats.pop(0), describe=says())
    listening.step()
    assert listening.status.hop == 2.0
    assert listening.status.celsius == 85.0
    listening.step()
    assert len(heats) == COOL_IN_A_ROW  # looked at every ten seconds, not at each step
    for _ in range(COOL_IN_A_ROW):
        clock.sleep(10.0)
        listening.step()
    listening.finish()
    assert [text for _, text in messages if "board" in text] == [
        "the board is hot, so a caption comes every 2 s instead of 1 s",
        "the board has cooled down",
    ]


@pytest.fixture
def two_sounds(tmp_path: Path) -> Path:
    """Quiet noise with a tone from 3 to 6 s and loud noise from 16 to 20 s; 21.5 s."""
    sound = noise(21.5, level=10 ** (-72 / 20))
    sound[3 * RATE : 6 * RATE] += tone(3)
    sound[16 * RATE : 20 * RATE] += noise(4, seed=5)
    soundfile.write(tmp_path / "two.wav", sound, RATE)
    return tmp_path / "two.wav"


def walked(listening: Listener, stop: threading.Event) -> Iterator[Change]:
    """Changes from the event loop."""
    for step in steps([listening], stop):
        yield from step.changes


def walk_file(listener: Listen, path: Path, **more: Any) -> tuple[Listener, list[Change]]:
    """Listen to a file as fast as captions are made."""
    source = FileSource(path, RATE, speed=0.0)
    listening = listener(source, window=10.0, hop=2.0, **more)
    changes = list(walked(listening, threading.Event()))
    source.close()
    return listening, changes


def test_a_file_gives_the_same_events_without_a_clock_and_at_twenty_times_its_speed(
    listener: Listen, two_sounds: Path
) -> None:
    listening, changes = walk_file(listener, two_sounds)
    ends = [change.event for change in changes if change.kind == "end"]
    assert (round(ends[0].start), round(ends[0].end)) == (3, 6)
    assert (round(ends[1].start), round(ends[-1].end)) == (16, 20)
    assert listening.status.dropped == 0
    assert listening.status.lost == 0.0
    clock = Clock()
    source = FileSource(two_sounds, RATE, speed=20.0, clock=clock, sleep=clock.sleep)
    running = listener(source, window=10.0, hop=2.0, clock=clock)
    fast: list[Change] = []
    while not source.ended:
        fast += running.step().changes
        assert running.drain(20)  # the model takes no time of this clock
    fast += running.finish(caption_rest=True).changes
    source.close()
    fast_ends = [change.event for change in fast if change.kind == "end"]
    assert (round(fast_ends[0].start), round(fast_ends[0].end)) == (3, 6)
    assert round(fast_ends[-1].end) == 20
    assert running.status.lost == 0.0


def test_what_is_left_when_a_file_ends_is_captioned(listener: Listen, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", noise(1.9), RATE)
    listening, changes = walk_file(listener, tmp_path / "short.wav", gate=False)
    assert [change.kind for change in changes] == ["begin", "end"]
    assert listening.status.captions == 1


def test_the_caption_of_a_full_window_is_that_of_the_captioner(listener: Listen, captioner: Captioner) -> None:
    source, sound = FedSource(), noise(10)
    listening = listener(source, gate=False, window=10.0, hop=10.0)
    source.feed(sound)
    listening.step()
    listening.drain(20)
    listening.finish()
    assert listening.status.text == captioner.caption(sound, RATE).text


def test_a_sound_that_goes_on_is_one_event_even_where_hops_are_longer_than_the_time_to_close(listener: Listen) -> None:
    source, changes = FedSource(), list[Change]()
    settings = ListenerSettings(window=4.0, hop=3.0, gate=GateSettings(), events=EventsConfig(close_after=1.0))
    listening = listener(source, settings=settings, describe=says())
    for block in np.split(noise(15), 150):
        source.feed(block)
        changes += listening.step().changes
        listening.drain(20)
    changes += listening.finish().changes
    assert [change.kind for change in changes].count("begin") == 1


def test_an_event_ends_too_when_its_microphone_is_gone(listener: Listen) -> None:
    source, clock = FedSource(live=True), Clock()
    listening = listener(source, clock=clock, describe=says())
    source.feed(noise(1))
    listening.step()
    assert listening.drain(20)
    assert listening.step().changes == ()
    clock.sleep(7.0)
    assert [change.kind for change in listening.step().changes] == ["begin"]  # no second caption will come
    clock.sleep(2.0)
    assert [change.kind for change in listening.step().changes] == ["end"]
    listening.finish()


def test_a_source_that_stalls_is_faulty_and_quiet_until_it_gives_sound_again(listener: Listen) -> None:
    source, messages, clock = FedSource(live=True), Messages(), Clock()
    listening = listener(source, messages, clock=clock, describe=says())
    for _ in range(8):
        clock.sleep(1.0)
        source.feed(noise(1))
        listening.step()
    assert (listening.status.fault, listening.status.gate_open) == ("", True)
    clock.sleep(2.0)
    listening.step()
    assert listening.status.fault == ""
    clock.sleep(28.0)
    listening.step()
    listening.step()
    status = listening.status
    assert (status.fault, status.gate_open, status.level, status.loudest) == ("no sound comes", False, -120.0, -120.0)
    clock.sleep(1.0)
    source.feed(noise(1))
    listening.step()
    assert listening.status.fault == ""
    assert listening.status.lost == pytest.approx(30.0)
    assert listening.heard == pytest.approx(39.0)
    assert [text for _, text in messages] == [
        "the test gives no more sound; waiting for it",
        "the test gives sound again",
    ]
    listening.finish()


def test_a_faulty_microphone_is_quiet_at_once_and_reports_itself(listener: Listen) -> None:
    source, messages, clock = FedSource(live=True), Messages(), Clock()
    listening = listener(source, messages, clock=clock, describe=says())
    source.feed(noise(1))
    listening.step()
    source.fault = "the microphone gives no sound"
    listening.step()
    assert (listening.status.fault, listening.status.gate_open) == (source.fault, False)
    source.fault = ""
    source.feed(noise(1), fresh=True)
    listening.step()
    assert listening.status.gate_open
    assert messages == []
    listening.finish()


def test_lost_time_counts_for_the_cooldown(listener: Listen) -> None:
    source, clock = FedSource(live=True), Clock()
    listening = listener(source, clock=clock, describe=says())
    changes: list[Change] = []
    for second in range(60):
        clock.sleep(1.0)
        if not 4 <= second < 44:
            source.feed(noise(1))
        changes += listening.step().changes
        listening.drain(20)
    changes += listening.finish().changes
    begins = [change.event.start for change in changes if change.kind == "begin"]
    assert begins == pytest.approx([0.0, 44.0], abs=0.2)
