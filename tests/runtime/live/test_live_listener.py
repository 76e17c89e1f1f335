"""The listener's timing rules: the sound, the clock and the model's time in the test's hands; then a real model."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.captioner import Captioner
from edgecap.errors import AudioError
from edgecap.live.events.describe import Described, Describer, WindowJob
from edgecap.live.events.event import EventSettings
from edgecap.live.listener import Listener
from edgecap.live.pipeline.gate import GateSettings
from edgecap.live.pipeline.hop_control import COOL_IN_A_ROW
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.sources.file_source import FileSource
from edgecap.live.thermal import Heat
from support.live_parts import TOLD, Clock, FedSource, says
from support.signals import RATE, noise, tone

COOL = Heat(40.0, False, False)


def listener(
    captioner: Captioner,
    source: object,
    told: TOLD | None = None,
    *,
    gate: bool = True,
    hop: float = 1.0,
    window: float = 4.0,
    **parts: object,
) -> Listener:
    settings = ListenerSettings(window=window, hop=hop, gate=GateSettings() if gate else None)
    told = [] if told is None else told
    parts = {"heat": lambda: COOL, **parts}
    return Listener(captioner, source, settings, lambda kind, text: told.append((kind, text)), **parts)  # type: ignore[arg-type]


def test_each_hop_of_a_sound_gets_the_newest_window_and_one_event(captioner: Captioner) -> None:
    source, jobs, sound = FedSource(), [], noise(8)

    def describe(job: WindowJob) -> Described:
        jobs.append(job)
        return says()(job)

    listening, changes = listener(captioner, source, describe=describe), []
    for second in range(8):
        source.hear(sound[second * RATE : (second + 1) * RATE])
        changes += listening.step()
        assert listening._mailbox.wait(10)
    changes += listening.step() + listening.finish(whole=False)
    assert [job.end for job in jobs] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [round(job.start, 1) for job in jobs] == [0, 0, 0, 0, 1, 2, 3, 4]
    assert [change.kind for change in changes] == ["begin", *["update"] * 7, "end"]
    assert (changes[-1].event.start, changes[-1].event.end) == (0, 8)
    assert listening.status.dropped == 0


def test_a_sound_that_is_over_before_the_window_begins_is_not_looked_for_in_the_quiet(captioner: Captioner) -> None:
    source, jobs = FedSource(), []

    def describe(job: WindowJob) -> Described:
        jobs.append(job)
        return says()(job)

    listening = listener(captioner, source, describe=describe, hop=10.0)
    quiet = noise(1, level=10 ** (-72 / 20))
    for second in range(16):
        source.hear(noise(1) if second in {0, 1, 5} else quiet)  # the second sound comes between two windows
        listening.step()
        assert listening._mailbox.wait(10)
    changes = listening.finish(whole=False)
    assert [(job.end, job.sounded) for job in jobs] == [(1.0, 1.0)]
    assert all(change.event.start <= change.event.end for change in changes)


def test_nobody_waits_while_the_model_sleeps_and_the_newest_window_wins(captioner: Captioner) -> None:
    source, begun, go, jobs = FedSource(), threading.Event(), threading.Event(), []

    def describe(job: WindowJob) -> Described:
        jobs.append(job)
        begun.set()
        assert go.wait(20)
        return says()(job)

    listening, longest = listener(captioner, source, describe=describe), 0.0
    for block in np.split(noise(30), 300):  # blocks of 100 ms
        source.hear(block)
        began = time.thread_time()
        assert listening.step() == []
        longest = max(longest, time.thread_time() - began)
        assert listening.heard < 1.0 or begun.wait(20)  # the model sleeps from the first window on
    assert longest < 0.1  # of processor time: no step takes longer than its block
    assert len(jobs) == 1
    assert listening._mel.frames == 401  # what is held is a window
    go.set()
    assert listening._mailbox.wait(10)
    listening.finish(whole=False)
    assert [job.end for job in jobs] == [1, 30]
    assert listening.status.dropped == 28


def test_a_model_too_slow_for_the_hop_makes_it_longer_and_says_so(captioner: Captioner) -> None:
    source, told = FedSource(), []

    def describe(job: WindowJob) -> Described:
        found = says()(job)
        return Described(job, found.beams, found.embedding, False, 1.7)

    listening = listener(captioner, source, told, describe=describe)
    for second in range(8):
        source.hear(noise(1, seed=second))
        listening.step()
        assert listening._mailbox.wait(10)
    listening.finish(whole=False)
    assert listening.status.hop > 1.7
    assert listening.status.captions < 8
    assert any(kind == "warning" and "instead of 1 s" in text for kind, text in told)


def test_quiet_does_not_ask_the_model(captioner: Captioner) -> None:
    source = FedSource()
    listening = listener(captioner, source, describe=says())
    for second in range(10):
        source.hear(noise(1, seed=second, level=10 ** (-70 / 20)))
        assert listening.step() == []
    assert (listening.status.windows, listening.status.quiet, listening.status.captions) == (10, 10, 0)
    listening.finish(whole=False)


def test_a_sound_after_quiet_is_captioned_one_second_in_with_little_of_the_quiet(captioner: Captioner) -> None:
    source, jobs = FedSource(), []

    def describe(job: WindowJob) -> Described:
        jobs.append(job)
        return says()(job)

    listening, changes = listener(captioner, source, hop=2.0, describe=describe), []
    sound = noise(10.5, level=10 ** (-70 / 20))
    sound[round(6.3 * RATE) : round(8.0 * RATE)] += noise(1.7, seed=2)
    for block in np.split(sound, 105):
        source.hear(block)
        changes += listening.step()
        listening._mailbox.wait(10)
    changes += listening.finish(whole=False)
    assert jobs[0].end == pytest.approx(7.3, abs=0.11)
    assert jobs[0].start == pytest.approx(5.8, abs=0.11)
    assert changes[-1].event.start == pytest.approx(6.3, abs=0.11)
    assert changes[-1].event.end == pytest.approx(8.0, abs=0.11)


def test_a_steady_sound_is_decoded_once_and_a_new_one_again(captioner: Captioner) -> None:
    decoded = []

    class Counting:
        manifest, windows, encode = captioner.manifest, captioner.windows, captioner.encode

        def decode(self, *arguments: object) -> object:
            decoded.append(1)
            return captioner.decode(*arguments)  # type: ignore[arg-type]

    source = FedSource()
    describe = Describer(Counting(), novelty=0.999)  # type: ignore[arg-type]
    listening = listener(captioner, source, describe=describe)

    def hear(sound: np.ndarray) -> None:
        source.hear(sound)
        listening.step()
        listening._mailbox.wait(10)

    for _ in range(6):
        hear(tone(1))
    steady = len(decoded)
    for _ in range(4):
        hear(noise(1))
    listening.finish(whole=False)
    assert steady < 6
    assert len(decoded) > steady
    assert listening.status.reused == 10 - len(decoded)


def test_an_event_ends_when_its_sound_has_been_gone_for_long_enough(captioner: Captioner) -> None:
    source, changes = FedSource(), []
    listening = listener(captioner, source, describe=says())
    for second in range(14):
        source.hear(noise(1, level=0.1 if second < 3 else 1e-4))
        changes += listening.step()
        listening._mailbox.wait(10)
    assert [change.kind for change in changes][-1] == "end"
    assert changes[-1].event.end == pytest.approx(3.0, abs=0.11)
    listening.finish(whole=False)


def test_stopping_in_mid_decode_lets_the_caption_come_and_closes_its_event(captioner: Captioner) -> None:
    source, stop, begun, go = FedSource(), threading.Event(), threading.Event(), threading.Event()

    def before() -> None:
        begun.set()
        assert go.wait(20)

    listening, found = listener(captioner, source, describe=says(before=before)), []
    source.hear(noise(1))
    thread = threading.Thread(target=lambda: found.extend(listening.changes(stop)))
    thread.start()
    assert begun.wait(20)
    stop.set()
    go.set()
    thread.join(20)
    assert [change.kind for change in found] == ["begin", "end"]


def test_a_fault_of_the_source_closes_the_open_event_first(captioner: Captioner) -> None:
    source = FedSource()
    source.hear(noise(1))
    listening, found = listener(captioner, source, describe=says()), []
    walk = listening.changes(threading.Event())
    found.append(next(walk))
    source.read = lambda _timeout: (_ for _ in ()).throw(AudioError("broken"))  # type: ignore[method-assign]
    with pytest.raises(AudioError, match="broken"):
        found.extend(walk)
    # extend() drops what it had when the error came, so the event itself tells
    assert listening.status.event is None


def test_a_dead_input_is_told_once_and_its_return_too(captioner: Captioner) -> None:
    source, told = FedSource(), []
    listening = listener(captioner, source, told, describe=says())
    for second in range(25):
        source.hear(np.zeros(RATE, np.float32) if second < 20 else noise(1, level=1e-4))
        listening.step()
        assert (listening.status.fault != "") == (9 <= second < 20)
    listening.finish(whole=False)
    assert [kind for kind, _ in told] == ["warning", "note"]
    assert "one constant value for 10 s" in told[0][1]


def test_sound_that_does_not_continue_what_was_heard_begins_a_new_window(captioner: Captioner) -> None:
    source, jobs = FedSource(), []

    def describe(job: WindowJob) -> Described:
        jobs.append(job)
        return says()(job)

    listening = listener(captioner, source, describe=describe, gate=False)
    for second in range(6):
        source.hear(noise(1, seed=second), fresh=second == 3)
        listening.step()
        listening._mailbox.wait(10)
    listening.finish(whole=False)
    assert [(round(job.start, 1), job.end) for job in jobs] == [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6)]


def test_lost_sound_is_counted_and_time_goes_on(captioner: Captioner) -> None:
    source = FedSource()
    listening = listener(captioner, source, describe=says())
    source.hear(noise(1), lost=5.0)
    listening.step()
    listening.finish(whole=False)
    assert listening.status.lost == 5.0
    assert listening.heard == 6.0


def test_a_hot_board_gets_longer_hops(captioner: Captioner) -> None:
    clock, heats, told = Clock(), [Heat(85.0, False, False), *[COOL] * COOL_IN_A_ROW], []
    listening = listener(captioner, FedSource(), told, clock=clock, heat=lambda: heats.pop(0), describe=says())
    listening.step()
    assert listening.status.hop == 2.0
    assert listening.status.celsius == 85.0
    listening.step()
    assert len(heats) == COOL_IN_A_ROW  # looked at every ten seconds, not at each step
    for _ in range(COOL_IN_A_ROW):
        clock.sleep(10.0)
        listening.step()
    listening.finish(whole=False)
    assert [text for _, text in told] == [
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


def walk(captioner: Captioner, path: Path, speed: float, **more: object) -> tuple[Listener, list]:
    source = FileSource(path, RATE, speed=speed)
    listening = listener(captioner, source, window=10.0, hop=2.0, **more)  # type: ignore[arg-type]
    found = list(listening.changes(threading.Event()))
    source.close()
    return listening, found


def test_a_file_gives_the_same_events_without_a_clock_and_at_twenty_times_its_speed(
    captioner: Captioner, two_sounds: Path
) -> None:
    listening, found = walk(captioner, two_sounds, 0.0)
    ends = [change.event for change in found if change.kind == "end"]
    assert (round(ends[0].start), round(ends[0].end)) == (3, 6)
    assert (round(ends[1].start), round(ends[-1].end)) == (16, 20)
    assert listening.status.dropped == 0
    assert listening.status.lost == 0.0
    clock = Clock()
    source = FileSource(two_sounds, RATE, speed=20.0, clock=clock, sleep=clock.sleep)
    running = listener(captioner, source, window=10.0, hop=2.0, clock=clock)
    fast = []
    while not source.ended:
        fast += running.step()
        assert running._mailbox.wait(10)  # the model needs none of the test's time
    fast += running.finish(whole=True)
    source.close()
    fast_ends = [change.event for change in fast if change.kind == "end"]
    assert (round(fast_ends[0].start), round(fast_ends[0].end)) == (3, 6)
    assert round(fast_ends[-1].end) == 20
    assert running.status.lost == 0.0


def test_what_is_left_when_a_file_ends_is_captioned(captioner: Captioner, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", noise(1.9), RATE)
    listening, found = walk(captioner, tmp_path / "short.wav", 0.0, gate=False)
    assert [change.kind for change in found] == ["begin", "end"]
    assert listening.status.captions == 1


def test_the_whole_window_of_a_stream_says_what_the_captioner_says(captioner: Captioner) -> None:
    source, sound, found = FedSource(), noise(10), []

    def describe(job: WindowJob) -> Described:
        found.append(Describer(captioner)(job))
        return found[-1]

    listening = listener(captioner, source, gate=False, window=10.0, hop=10.0, describe=describe)
    source.hear(sound)
    listening.step()
    listening._mailbox.wait(10)
    listening.finish(whole=False)
    assert found[0].beams[0].text == captioner.caption(sound, RATE).text


def test_a_sound_that_goes_on_is_one_event_even_where_hops_are_longer_than_the_time_to_close(
    captioner: Captioner,
) -> None:
    source, changes = FedSource(), []
    settings = ListenerSettings(window=4.0, hop=3.0, gate=GateSettings(), events=EventSettings(close_after=1.0))
    listening = Listener(captioner, source, settings, lambda *_: None, heat=lambda: COOL, describe=says())  # type: ignore[arg-type]
    for block in np.split(noise(15), 150):
        source.hear(block)
        changes += listening.step()
        listening._mailbox.wait(10)
    changes += listening.finish(whole=False)
    assert [change.kind for change in changes].count("begin") == 1


def test_an_event_ends_too_when_its_microphone_is_gone(captioner: Captioner) -> None:
    source, clock = FedSource(), Clock()
    listening = listener(captioner, source, clock=clock, describe=says())
    source.hear(noise(1))
    listening.step()
    assert listening._mailbox.wait(10)
    assert [change.kind for change in listening.step()] == ["begin"]
    clock.sleep(7.0)
    assert listening.step() == []
    clock.sleep(2.0)
    assert [change.kind for change in listening.step()] == ["end"]
    listening.finish(whole=False)
