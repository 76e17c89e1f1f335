"""Where sound comes from: files, pipes, and a microphone that comes and goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile

from edgecap.audio.microphone import InputDevice, Ring, find_device
from edgecap.audio.samples import as_float
from edgecap.errors import AudioError, DeviceError
from edgecap.live.sources.file_kinds import kind_of
from edgecap.live.sources.file_source import FileSource
from edgecap.live.sources.microphone_source import MicrophoneSource
from edgecap.live.sources.microphones import Microphones
from edgecap.live.sources.pipe_source import HEAD_BYTES, PipeSource
from edgecap.live.sources.source import Intake
from edgecap.types import Waveform
from support.live_parts import Clock, Messages, notifier
from support.signals import RATE, noise, tone


def everything(source: FileSource | PipeSource) -> Waveform:
    parts = []
    while not source.ended:
        parts.append(source.read(0.05).samples)
    source.close()
    return np.concatenate(parts)


def test_a_file_without_a_clock_is_given_whole(sounds: Path) -> None:
    samples = everything(FileSource(sounds / "noise.wav", RATE, speed=0.0))
    assert np.allclose(samples, noise(3), atol=1e-4)


def test_a_file_of_another_rate_and_two_channels_is_converted(sounds: Path) -> None:
    samples = everything(FileSource(sounds / "tone.flac", RATE, speed=0.0))
    assert samples.size == pytest.approx(3 * RATE, abs=2)
    assert np.abs(np.fft.rfft(samples)).argmax() / 3 == pytest.approx(440, abs=1)


def test_a_file_is_played_at_its_speed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(20), RATE)
    clock = Clock()
    source = FileSource(tmp_path / "a.wav", RATE, speed=2.0, clock=clock, sleep=clock.sleep)
    given = sum(source.read(0.5).samples.size for _ in range(10))
    assert given == 2 * RATE * (clock.now - 1000.0)
    source.close()


def test_who_reads_a_running_file_too_late_gets_the_newest_and_the_count_of_the_rest(tmp_path: Path) -> None:
    sound, clock = noise(30), Clock()
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    source = FileSource(tmp_path / "a.wav", RATE, window=4.0, clock=clock, sleep=clock.sleep)
    source.read(0.0)
    clock.sleep(25.0)
    chunk = source.read(0.0)
    assert chunk.lost == pytest.approx(21.0, abs=0.01)
    assert np.array_equal(chunk.samples, sound[21 * RATE : 25 * RATE])
    source.close()


def pipe(data: bytes) -> int:
    end, start = os.pipe()
    os.write(start, data)
    os.close(start)
    return end


@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_raw_samples_come_out_of_a_pipe_whatever_the_cuts(speed: float) -> None:
    sound = (noise(0.9) * 32_767).astype("<i2")
    samples = everything(PipeSource(pipe(sound.tobytes()), RATE, 1, RATE, speed=speed))
    assert np.array_equal(samples, as_float(sound)[:, 0])


def test_channels_of_a_pipe_are_mixed_and_half_a_frame_at_the_end_is_left_out() -> None:
    left = np.arange(100, dtype="<i2")
    frames = np.stack([left, left * 3], axis=1)
    samples = everything(PipeSource(pipe(frames.tobytes() + b"\1"), RATE, 2, RATE))
    assert np.allclose(samples * 32_768, left * 2)


def test_a_frame_cut_in_two_between_reads_is_put_together() -> None:
    end, start = os.pipe()
    source = PipeSource(end, RATE, 1, RATE)
    os.write(start, bytes(HEAD_BYTES) + b"\x01\x02\x03")
    first = source.read(1.0).samples[HEAD_BYTES // 2 :]
    os.write(start, b"\x04")
    second = source.read(1.0).samples
    assert (np.concatenate((first, second)) * 32_768).tolist() == [0x0201, 0x0403]
    assert source.read(0.0).samples.size == 0
    assert not source.ended
    os.close(start)
    source.read(0.1)
    assert source.ended
    os.close(end)


def test_an_empty_pipe_is_an_error() -> None:
    with pytest.raises(AudioError, match="is empty; pipe raw samples into it"):
        PipeSource(pipe(b""), RATE, 1, RATE).read(1.0)


@pytest.mark.parametrize("rate", [0, -1, 10_000_000])
def test_a_pipe_with_a_rate_that_no_sound_has_is_refused(rate: int) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        PipeSource(0, rate, 1, RATE)


def test_what_is_no_number_does_not_poison_what_comes_after() -> None:
    intake = Intake(48_000, RATE)
    broken = np.full((4800, 1), np.nan, np.float32)
    broken[100] = np.inf
    broken[200] = 1e30
    assert np.isfinite(intake.push(broken)).all()
    after = np.concatenate([intake.push(tone(0.5, 48_000)[:, None]) for _ in range(4)])
    assert np.abs(after[-RATE // 2 :]).max() == pytest.approx(0.3, abs=0.05)


class Fake:
    """A microphone in the test's hands."""

    def __init__(self, name: str, index: int = 0, rate: float = RATE) -> None:
        self.device = InputDevice(index, name, 1, rate, "none", True)
        self.sample_rate, self.active, self.overflows, self.closed = rate, True, 0, False
        self.ring = Ring(round(4 * rate), 1)

    def close(self) -> None:
        self.closed = True


class Machine:
    """What is plugged in."""

    def __init__(self, *plugged: Fake) -> None:
        self.plugged, self.clock, self.messages = list(plugged), Clock(), Messages()
        self.asked: list[tuple[str | None, bool]] = []
        self.sounding: list[str | None] = []

    def open(self, query: str | None) -> Fake:
        return self.open_again(query, False)

    def open_again(self, query: str | None, known: bool) -> Fake:
        self.asked.append((query, known))
        for fake in self.plugged:
            if query in (None, fake.device.name, str(fake.device.index)):
                return fake
        raise DeviceError(f"no microphone is called {query!r}")

    def heard(self, name: str | None) -> None:
        self.sounding.append(name)

    def source(self, query: str | None = None, wait: bool = False) -> MicrophoneSource:
        return MicrophoneSource(
            query,
            RATE,
            cast("Microphones", self),
            notifier(self.messages),
            wait=wait,
            clock=self.clock,
            sleep=self.clock.sleep,
        )


def test_a_microphone_unplugged_is_waited_for_found_by_name_and_opened_again() -> None:
    first, second = Fake("USB mic", 3), Fake("USB mic", 7, rate=48_000)
    machine = Machine(Fake("other", 0), first)
    source = machine.source("3")
    first.ring.write(noise(1)[:, None])
    assert source.read(0.1).samples.size == RATE
    first.active = False
    machine.plugged.remove(first)
    assert source.read(0.1).samples.size == 0
    assert first.closed
    assert source.fault
    for _ in range(50):
        assert source.read(0.1).samples.size == 0
    machine.plugged.append(second)
    for _ in range(12):
        source.read(0.1)
    assert machine.sounding == []  # open, and not heard yet
    second.ring.write(noise(1, 48_000)[:, None])
    chunk = source.read(0.1)
    assert chunk.fresh
    assert chunk.samples.size == pytest.approx(RATE, rel=0.05)
    assert machine.sounding == ["USB mic"]
    assert machine.asked[1:] == [("USB mic", True)] * (len(machine.asked) - 1)
    assert len(machine.asked) <= 8  # once a second, not at each read
    assert [kind for kind, _ in machine.messages] == ["warning", "note"]
    assert "waiting for it to come back" in machine.messages[0][1]


def test_a_microphone_that_is_there_but_gives_nothing_is_opened_again() -> None:
    fake = Fake("deaf")
    machine = Machine(fake)
    source = machine.source()
    for _ in range(31):
        source.read(0.1)
    assert fake.closed
    assert machine.messages


def test_a_missing_microphone_is_an_error_or_waited_for() -> None:
    machine = Machine()
    with pytest.raises(DeviceError, match="no microphone is called 'USB'"):
        machine.source("USB")
    source = machine.source("USB", wait=True)
    assert machine.messages == [("warning", "no microphone is called 'USB'; waiting for it")]
    for _ in range(20):
        assert source.read(0.1).samples.size == 0
    assert source.fault
    machine.plugged.append(Fake("USB"))
    for _ in range(12):
        source.read(0.1)
    assert len(machine.messages) == 1  # reported when sound comes
    machine.plugged[0].ring.write(noise(0.1)[:, None])
    assert source.read(0.1).samples.size
    assert not source.fault
    assert machine.messages[-1] == ("note", f"the microphone 'USB' is there; listening at {RATE} Hz")


def test_overflows_are_counted_through_losses() -> None:
    fake = Fake("a")
    machine = Machine(fake)
    source = machine.source()
    fake.overflows, fake.active = 3, False
    source.read(0.1)
    again = Fake("a")
    machine.plugged[:] = [again]
    for _ in range(12):
        source.read(0.1)
    again.overflows = 2
    assert source.overflows == 5


def test_a_wrong_name_gets_the_near_ones() -> None:
    devices = [
        InputDevice(0, "USB Audio Device", 1, 48e3, "ALSA", False),
        InputDevice(1, "HDMI", 1, 48e3, "ALSA", True),
    ]
    with pytest.raises(DeviceError, match="'USB Adio Device'; similar: 'USB Audio Device'; type: edgecap devices"):
        find_device("USB Adio Device", devices)
    with pytest.raises(DeviceError, match="'xyz'; type: edgecap devices"):
        find_device("xyz", devices)


MP3 = b"\xff\xfb\x90\x00" + bytes(413)
"""A silent frame: MPEG-1, layer III, 128 kbit/s, 44.1 kHz."""
AAC = b"\xff\xf1\x50\x80\x19\x1f\xfc" + bytes(193)
"""A frame of 200 bytes in ADTS."""


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "a WAV file"),
        (b"fLaC\x00\x00\x00\x22", "a FLAC file"),
        (b"OggS\x00\x02", "an Ogg file"),
        (b"ID3\x04\x00", "an MP3 file"),
        (b"\x00\x00\x00\x20ftypM4A ", "an MP4 file"),
        (b"\x1a\x45\xdf\xa3\x9f", "a Matroska or WebM file"),
        (b"began,ended,start,end,text,score\n1,2,3\n", "text"),
        (b"hi\n", "text"),
        ("ein Hörspiel".encode(), "text"),
        ("a,b\n".encode("utf-16"), "text"),
        (MP3 * 20, "an MP3 or AAC stream"),
        ((bytes(100) + MP3 * 20)[:8192], "an MP3 or AAC stream"),
        (AAC * 40, "an MP3 or AAC stream"),
        ((b"\x47" + bytes(187)) * 50, "an MPEG transport stream"),
    ],
)
def test_a_file_piped_in_as_raw_samples_is_refused_with_what_to_type(data: bytes, kind: str) -> None:
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    source = PipeSource(read, 8000, 1, RATE)
    with pytest.raises(AudioError, match=rf"is {kind}, not raw samples; type: ffmpeg -i FILE .*-ar 8000 - "):
        everything(source)
    os.close(read)


@pytest.mark.parametrize("level", [1.0, 0.1, 1e-2, 1e-3, 1e-4, 3e-5, 0.0])
@pytest.mark.parametrize("offset", [0.0, 0.003, -0.003, -3e-5])
def test_raw_samples_are_not_taken_for_a_file(level: float, offset: float) -> None:
    for seed in range(20):
        for sound in (noise(0.256, seed=seed, level=level), tone(0.256, frequency=50.0 * 2**seed % 7919, level=level)):
            data = (np.clip(sound + offset, -1, 1) * 32767).astype("<i2").tobytes()
            assert kind_of(data) == ""


def test_the_samples_that_were_looked_at_are_heard_too() -> None:
    read, write = os.pipe()
    source = PipeSource(read, RATE, 1, RATE)
    data = (noise(1.0) * 32767).astype("<i2").tobytes()
    heard = 0
    for piece in (data[:100], data[100:HEAD_BYTES], data[HEAD_BYTES:]):
        os.write(write, piece)
        heard += source.read(1.0).samples.size
    os.close(write)
    heard += source.read(1.0).samples.size
    os.close(read)
    assert heard == RATE


def test_a_few_samples_and_the_end_are_heard() -> None:
    read, write = os.pipe()
    os.write(write, (noise(0.1) * 32767).astype("<i2").tobytes())
    os.close(write)
    source = PipeSource(read, RATE, 1, RATE)
    assert sum(source.read(1.0).samples.size for _ in range(2)) == 1600
    assert source.ended
    os.close(read)
