"""Sound files of every documented kind are read in blocks."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgecap.audio import file as audio
from edgecap.audio import spool
from edgecap.audio.file import AudioFile, decode, sound_files
from edgecap.errors import AudioError, OutputError
from edgecap.util.stderr import silent_descriptor
from support.signals import RATE, noise, tone

FORMATS = {"wav": {}, "flac": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {}}


def read(path: str | Path) -> tuple[np.ndarray, AudioFile]:
    with AudioFile(path) as sound:
        return np.concatenate(list(sound.blocks())), sound


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read_completely(kind: str, tmp_path: Path) -> None:
    stereo = np.stack([tone(9, 48_000), tone(9, 48_000, 880.0)], axis=1)
    soundfile.write(tmp_path / f"a.{kind}", stereo, 48_000, **FORMATS[kind])
    samples, sound = read(tmp_path / f"a.{kind}")
    assert (sound.sample_rate, sound.channels) == (48_000, 2)
    assert sound.duration == pytest.approx(9.0, abs=0.03)  # an mp3 holds whole frames
    assert samples.shape == stereo.shape
    assert samples.dtype == np.float32
    assert [int(np.abs(np.fft.rfft(samples[:48_000, channel])).argmax()) for channel in (0, 1)] == [440, 880]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_each_kind_of_wav_has_its_full_scale(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1, level=0.5), RATE, subtype=subtype)
    assert np.abs(read(tmp_path / "a.wav")[0]).max() == pytest.approx(0.5, abs=0.02)


def test_a_block_is_small_however_long_the_file_is(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(60), RATE)
    with AudioFile(tmp_path / "a.wav") as sound:
        sizes = [len(block) for block in sound.blocks()]
    assert sum(sizes) == 60 * RATE
    assert max(sizes) <= audio.BLOCK_SAMPLES


def test_standard_input_is_read_through_a_file_without_a_name_of_which_nothing_can_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(2), RATE, format="FLAC")
    buffer.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
    with AudioFile("-") as sound:
        assert sound.name == "standard input"
        assert list(tmp_path.iterdir()) == []
        assert sum(len(block) for block in sound.blocks()) == 2 * RATE
    assert list(tmp_path.iterdir()) == []


def test_a_named_pipe_is_read_too(tmp_path: Path, sounds: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes((sounds / "noise.wav").read_bytes()))
    writer.start()
    samples, _ = read(tmp_path / "pipe")
    writer.join()
    assert len(samples) == 3 * RATE


def test_a_pipe_that_does_not_block_is_read_to_its_end(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    data = (sounds / "noise.wav").read_bytes()
    started, wait = threading.Event(), spool._wait

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data[:1000])
            pipe.flush()
            started.wait(20)
            pipe.write(data[1000:])

    def waiting(stream: Any) -> None:
        started.set()
        wait(stream)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        monkeypatch.setattr("edgecap.audio.spool._wait", waiting)
        samples, _ = read("-")
    writer.join()
    assert started.is_set()
    assert len(samples) == 3 * RATE


def test_a_folder_as_standard_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)

    class Input:
        buffer = io.FileIO(os.open(__file__, os.O_RDONLY))

    with Input.buffer:
        os.dup2(descriptor, Input.buffer.fileno())
        os.close(descriptor)
        monkeypatch.setattr(sys, "stdin", Input)
        with pytest.raises(AudioError, match=r"standard input cannot be read \(.*directory\)"):
            AudioFile("-")


def test_a_closed_file_leaves_no_descriptor(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(1), RATE)
    (tmp_path / "b.flac").write_bytes((tmp_path / "a.flac").read_bytes()[:-100] * 2)
    before = sorted(Path("/proc/self/fd").iterdir())
    sound = AudioFile(tmp_path / "b.flac")
    next(sound.blocks())
    sound.close()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_standard_input_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("edgecap.audio.spool.MOST_SPOOLED", 3 << 20)
    with Path("/dev/zero").open() as zero:
        monkeypatch.setattr(sys, "stdin", zero)
        with pytest.raises(AudioError, match="larger than"):
            AudioFile("-")
    assert list(tmp_path.iterdir()) == []


def test_standard_input_that_finds_no_room_is_an_error_of_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * 100)))
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(OutputError, match="TMPDIR"):
        AudioFile("-")


def test_a_truncated_flac_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.flac", noise(3), RATE)
    data = (tmp_path / "whole.flac").read_bytes()
    for share in (0.3, 0.7, 0.999):
        (tmp_path / "cut.flac").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(AudioError, match="cut short"):
            read(tmp_path / "cut.flac")


def test_an_mp3_cut_in_half_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.mp3", noise(10), RATE)
    data = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match="cut short"):
        read(tmp_path / "cut.mp3")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.raw", "a", "a.txt", "a.aiff"])
def test_a_text_file_is_refused_whatever_its_name(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("To be, or not to be, that is the question.\n" * 1000)
    with pytest.raises(AudioError, match="not a readable sound file") as caught:
        AudioFile(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


BEGINNINGS = [b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"FORM", b"\xff\xfb\x90\x00", b"caff", b".snd"]


@pytest.mark.parametrize("head", BEGINNINGS)
def test_random_bytes_behind_a_true_beginning_do_no_harm(head: bytes, tmp_path: Path) -> None:
    for seed in range(5):
        (tmp_path / "a.bin").write_bytes(head + np.random.default_rng(seed).bytes(50_000))
        with pytest.raises(AudioError):
            read(tmp_path / "a.bin")


def test_a_device_and_a_folder_are_no_sounds(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="not a regular file"):
        AudioFile("/dev/null")
    with pytest.raises(AudioError, match="is a folder"):
        AudioFile(tmp_path)


def test_a_file_name_that_is_not_utf_8_works(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9n \n.wav"))
    soundfile.write(os.fsencode(path), noise(1), RATE, format="WAV")
    assert len(read(path)[0]) == RATE
    with pytest.raises(AudioError, match="cannot be read"):
        AudioFile("a\0b.wav")


def test_the_place_of_a_bad_sample_counts_from_the_beginning_of_the_file(tmp_path: Path) -> None:
    samples = noise(12)
    samples[150_000] = np.inf
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav: sample 150000 of channel 1 \(9\.375 s\) is infinite"):
        read(tmp_path / "a.wav")


def test_a_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of `<&-`
    with pytest.raises(AudioError, match="standard input is closed"):
        AudioFile("-")


def test_threads_that_read_mp3s_at_once_leave_the_standard_error_as_it_was() -> None:
    before, inside = os.fstat(2), threading.Event()

    def first() -> None:
        with silent_descriptor():
            inside.set()
            time.sleep(0.2)  # the second one comes meanwhile and leaves later

    def second() -> None:
        assert inside.wait(20)
        with silent_descriptor():
            time.sleep(0.4)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.path.samestat(os.fstat(2), before)


def test_a_sound_is_decoded_to_one_mono_array_at_another_rate(sounds: Path) -> None:
    samples = decode(sounds / "tone.flac", RATE)
    assert samples.shape == (3 * RATE,)
    assert samples.dtype == np.float32
    assert int(np.abs(np.fft.rfft(samples[:RATE])).argmax()) == 440
    beginning = decode(sounds / "tone.flac", RATE, seconds=1.25)
    assert beginning.shape == (round(1.25 * RATE),)
    np.testing.assert_allclose(beginning[: RATE // 2], samples[: RATE // 2], atol=1e-5)
    assert decode(sounds / "tone.flac", RATE, seconds=60).shape == samples.shape


def test_the_sounds_of_a_folder_are_those_with_a_known_suffix(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.oga", "a.WAV", "deep/c.opus", "notes.txt", "d.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in sound_files(tmp_path)] == ["a.WAV", "b.oga", "c.opus"]
    for folder in (tmp_path / "none", tmp_path / "b.oga"):
        with pytest.raises(AudioError, match="no folder"):
            sound_files(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match=r"holds no sound files \(\.3gp, \.aac, \.aif"):
        sound_files(tmp_path / "empty")
