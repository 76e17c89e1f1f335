"""The parts of a stream: log-mel frame by frame, levels, the gate, the hops, the worker."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.audio.samples import loudest_level
from edgecap.live.pipeline.gate import Gate, GateSettings
from edgecap.live.pipeline.hop_control import COOL_IN_A_ROW, HopControl
from edgecap.live.pipeline.meter import LevelMeter
from edgecap.live.pipeline.stream import MelStream
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.thermal import look
from edgecap.types import Waveform
from support.signals import RATE, noise, tone

LOG = FrontEnd(compression="log", win_length=400, power=1, mel_slopes="mel", f_min=125.0, f_max=7500.0)


def pieces(sound: Waveform, seed: int = 0) -> list[Waveform]:
    cuts = np.sort(np.random.default_rng(seed).integers(0, sound.size, 200))
    return np.split(sound, cuts)


@pytest.mark.parametrize(
    "front_end",
    [FrontEnd(), LOG, FrontEnd(clip_level=5.0), replace(LOG, clip_level=5.0)],
    ids=["decibel", "log", "decibel at a level", "log at a level"],
)
def test_a_window_of_the_stream_is_the_log_mel_of_the_same_stretch_but_for_its_reflected_ends(
    front_end: FrontEnd,
) -> None:
    sound = np.concatenate([noise(4), np.zeros(RATE, np.float32), tone(5, level=0.9), noise(5, seed=3, level=1e-4)])
    stream = MelStream(front_end, 1001)
    for piece in pieces(sound):
        stream.push(piece)
    window = stream.window()
    assert window.shape == (64, 1001)
    # The last whole frame is centred half a Fourier window before the end, on the grid of 160 samples.
    last = (sound.size - 256) // 160 * 160
    expected = log_mel(sound[last - 1000 * 160 : last + 1], front_end)
    assert np.abs(window[:, 2:-2] - expected[:, 2:-2]).max() < 2e-3
    assert np.abs(window - expected).max() > 0.1  # the ends do differ


def test_the_first_frame_of_a_stream_is_reflected_like_that_of_a_clip() -> None:
    sound, stream = noise(3), MelStream(FrontEnd(), 1001)
    for piece in pieces(sound):
        stream.push(piece)
    expected = log_mel(sound, FrontEnd())
    assert np.allclose(stream.window(), expected[:, : stream.frames], atol=1e-4)
    assert expected.shape[1] - stream.frames == 2


@pytest.mark.parametrize("least", [1, 50])
def test_no_frame_is_computed_twice_and_few_may_wait(least: int) -> None:
    sound, stream = noise(30), MelStream(FrontEnd(), 1001)
    counts = []
    for piece in pieces(sound):
        counts.append(stream.push(piece, least))
        if stream.frames:
            stream.window()
    assert all(not count or count >= least for count in counts)
    assert sum(counts) + stream.push(sound[:0]) == (sound.size - 256) // 160 + 1


def test_a_window_has_its_own_floor_below_its_own_loudest() -> None:
    stream = MelStream(FrontEnd(top_db=40.0), 200)
    stream.push(np.concatenate([tone(3, level=0.5), noise(3, level=1e-5)]))
    after_the_tone = stream.window()
    stream.push(tone(0.5, level=0.5))
    assert after_the_tone.max() < -60.0
    assert stream.window().min() == pytest.approx(stream.window().max() - 40.0)


def test_a_stream_that_restarts_knows_nothing_of_before() -> None:
    stream, fresh = MelStream(FrontEnd(), 1001), MelStream(FrontEnd(), 1001)
    stream.push(noise(5))
    stream.restart()
    stream.push(tone(2))
    fresh.push(tone(2))
    assert np.array_equal(stream.window(), fresh.window())


def test_levels_are_those_of_a_whole_clip() -> None:
    meter, sound = LevelMeter(RATE, 10.0), np.concatenate([noise(2, level=0.01), tone(1), noise(2, level=0.001)]) + 0.2
    for piece in pieces(sound.astype(np.float32)):
        meter.push(piece)
    assert meter.loudest(10.0) == pytest.approx(loudest_level(sound.astype(np.float32), RATE), abs=0.01)
    assert meter.loudest(1.0) == pytest.approx(-60.0, abs=1.0)


def test_one_constant_value_is_counted_as_a_dead_input_and_quiet_noise_is_not() -> None:
    meter = LevelMeter(RATE, 10.0)
    meter.push(noise(2, level=1e-6))
    assert meter.flat_seconds == 0.0
    meter.push(np.full(3 * RATE, 0.25, np.float32))
    assert meter.flat_seconds == pytest.approx(3.0)
    meter.push(noise(0.1))
    assert meter.flat_seconds == 0.0


def levels(gate: Gate, level: float, seconds: float) -> bool:
    for _ in range(round(seconds * 10)):
        gate.push(level)
    return gate.open


def test_the_gate_takes_a_steady_fan_for_quiet_and_a_bark_for_a_sound() -> None:
    gate = Gate(GateSettings())
    assert levels(gate, -57.0, 2.0)  # unknown yet
    assert not levels(gate, -57.0, 40.0)
    assert gate.floor == pytest.approx(-57.0, abs=0.5)
    assert levels(gate, -40.0, 0.1)
    assert not levels(gate, -57.0, 1.5)


def test_the_gate_stays_open_for_rain_that_lasts_all_day() -> None:
    assert levels(Gate(GateSettings()), -45.0, 3600.0)


def test_the_gate_does_not_flutter_between_its_two_levels() -> None:
    gate = Gate(GateSettings(fixed_dbfs=-50.0))
    assert not levels(gate, -51.0, 5.0)
    assert levels(gate, -49.0, 0.1)
    assert levels(gate, -52.0, 5.0)
    assert not levels(gate, -54.0, 1.1)


def test_nothing_below_the_silence_of_the_model_opens_the_gate() -> None:
    gate = Gate(GateSettings())
    levels(gate, -110.0, 60.0)
    assert gate.floor < -100.0
    assert not levels(gate, -66.0, 1.0)


def test_a_hop_is_due_once_and_missed_hops_are_counted() -> None:
    hops = HopControl(2.0)
    assert [hops.due(seconds) for seconds in (1.9, 2.0, 2.1, 4.0, 5.9)] == [False, True, False, True, False]
    assert hops.due(11.0)
    assert hops.late == 2
    assert not hops.due(11.9)
    assert hops.due(12.0)


def test_a_slow_machine_gets_longer_hops_and_a_fast_one_its_own_again() -> None:
    hops = HopControl(2.0)
    assert hops.caption_took(1.9) == ""
    assert "3.0 s instead of 2 s" in hops.caption_took(1.9)
    hops.caption_took(9.0)
    assert "a caption takes 9.0 s" in hops.caption_took(9.0)
    assert hops.hop == pytest.approx(9.0 / 0.8)
    messages = [hops.caption_took(0.1) for _ in range(100)]
    assert hops.hop == 2.0
    assert any("faster again" in line for line in messages)


def test_one_slow_caption_changes_nothing_and_a_hop_never_exceeds_its_longest() -> None:
    hops = HopControl(2.0, longest=20.0)
    for _ in range(10):
        hops.caption_took(30.0)
        hops.caption_took(0.9)
    assert hops.hop == 2.0
    for _ in range(50):
        hops.caption_took(500.0)
    assert hops.hop == 20.0


def test_a_hot_board_gets_twice_the_hop_until_it_has_cooled() -> None:
    hops = HopControl(2.0)
    assert "hot" in hops.board_is(hot=True)
    assert hops.board_is(hot=True) == ""
    for _ in range(50):
        hops.caption_took(0.01)
    assert hops.hop == 4.0
    for _ in range(COOL_IN_A_ROW - 1):
        assert hops.board_is(hot=False) == ""
    assert hops.board_is(hot=True) == ""  # it was at its limit, and this is no news
    assert [hops.board_is(hot=False) for _ in range(COOL_IN_A_ROW)][-1] == "the board has cooled down"
    for _ in range(50):
        hops.caption_took(0.01)
    assert hops.hop == 2.0


def test_heat_is_read_from_the_kernels_files(tmp_path: Path) -> None:
    assert not look(tmp_path).hot
    assert look(tmp_path).celsius is None
    zone = tmp_path / "class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("81500\n")
    assert look(tmp_path).celsius == 81.5
    assert look(tmp_path).hot
    (zone / "temp").write_text("50000\n")
    firmware = tmp_path / "devices/platform/soc/soc:firmware"
    firmware.mkdir(parents=True)
    (firmware / "get_throttled").write_text("50005\n")
    assert look(tmp_path).throttled
    assert look(tmp_path).undervoltage
    (firmware / "get_throttled").write_text("50000\n")  # it was, it is not
    assert not look(tmp_path).hot


def test_the_mailbox_holds_one_job_and_the_newest_wins() -> None:
    begun, go, done = threading.Event(), threading.Event(), []

    def work(job: int) -> int:
        begun.set()
        go.wait(20)
        done.append(job)
        return job * 10

    with CaptionWorker() as thread:
        worker = thread.mailbox(work)
        worker.submit(1)
        assert begun.wait(20)
        for job in range(2, 100):
            worker.submit(job)  # never waits
        assert worker.poll() == []
        assert worker.dropped == 97
        go.set()
        assert worker.drain(20)
        assert worker.poll() == [10, 990]
        assert worker.poll() == []
    assert done == [1, 99]


def test_what_goes_wrong_in_the_worker_is_raised_where_it_is_polled() -> None:
    def work(_job: int) -> int:
        raise ValueError("no")

    with CaptionWorker() as thread:
        worker = thread.mailbox(work)
        worker.submit(1)
        assert worker.drain(20)
        with pytest.raises(ValueError, match="no"):
            worker.poll()
