"""What strangers' programs write: every container, codec and header is heard to its end, or its fault is told."""

from __future__ import annotations

import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.audio import file as file_module
from edgecap.audio.decoders import containers, media
from edgecap.audio.decoders.ffmpeg import FfmpegDecoder
from edgecap.audio.file import AudioFile, decode
from edgecap.audio.samples import to_mono
from edgecap.errors import AudioError
from support.signals import noise, tone

RATE = 44_100
SECONDS = 12.0
Make = Callable[..., Path]

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


def heard(path: Path) -> tuple[float, str]:
    """Seconds that come out of a file, and the fault that follows them."""
    frames = 0
    with AudioFile(path) as sound:
        try:
            for block in sound.blocks():
                frames += len(block)
        except AudioError as error:
            return frames / sound.sample_rate, str(error)
        return frames / sound.sample_rate, ""


def decoded_by_ffmpeg(path: Path) -> float:
    """Seconds that ffmpeg decodes."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-ac", "1", "-ar", str(RATE), "-"]
    return len(subprocess.run(command, capture_output=True, check=True).stdout) / 4 / RATE


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, quiet, a tone: what misleads an estimate from the first frame's bit rate."""
    path = tmp_path_factory.mktemp("base") / "base.wav"
    parts = [noise(3, RATE), np.zeros(round((SECONDS - 5) * RATE), np.float32), tone(2, RATE)]
    soundfile.write(path, np.concatenate(parts), RATE)
    return path


@pytest.fixture
def make(base: Path, tmp_path: Path) -> Make:
    """Converts the base sound with ffmpeg's `options`; through a pipe its writer cannot go back to the header."""

    def run(name: str, *options: str, piped: bool = False) -> Path:
        path = tmp_path / name
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(base), *options]
        if piped:
            done = subprocess.run([*command, "-"], check=True, capture_output=True)
            path.write_bytes(done.stdout)
        else:
            subprocess.run([*command, str(path)], check=True, capture_output=True)
        return path

    return run


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options", "piped"),
    [
        ("vbr-without-xing.mp3", "-c:a libmp3lame -q:a 4 -f mp3", True),
        ("vbr.mp3", "-c:a libmp3lame -q:a 4", False),
        ("cbr-without-xing.mp3", "-c:a libmp3lame -b:a 128k -write_xing 0", False),
        ("low.mp3", "-c:a libmp3lame -ar 22050 -ac 1 -b:a 32k", False),
        ("unknown-length.flac", "-f flac", True),
        ("unknown-length.wav", "-f wav", True),
        ("large.w64", "-f w64", False),
        ("big-endian.aiff", "", False),
        ("sun.au", "", False),
        ("vorbis.ogg", "-c:a libvorbis", False),
        ("opus.opus", "-c:a libopus", False),
    ],
)
def test_libsndfile_hears_it_all(make: Make, name: str, options: str, piped: bool) -> None:
    path = make(name, *options.split(), piped=piped)
    seconds, fault = heard(path)
    assert fault == ""
    assert seconds == pytest.approx(decoded_by_ffmpeg(path), abs=0.05)


@needs_ffmpeg
@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("phone.m4a", "-c:a aac"),
        ("radio.aac", "-c:a aac"),
        ("browser.webm", "-c:a libopus"),
        ("film.mp4", "-c:a aac"),
        ("flac-in-ogg.ogg", "-c:a flac -f ogg"),
        ("alac.m4a", "-c:a alac"),
        ("windows.wma", ""),
        ("console.ast", "-ac 2"),
        ("disc.mlp", "-c:a mlp -strict -2 -ar 48000"),
        ("page.swf", "-c:a libmp3lame"),
    ],
)
def test_ffmpeg_hears_what_libsndfile_cannot(
    make: Make, monkeypatch: pytest.MonkeyPatch, decoder: str, name: str, options: str
) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(file_module, "open_media", FfmpegDecoder)
    path = make(name, *options.split())
    seconds, fault = heard(path)
    assert fault == ""
    assert seconds == pytest.approx(decoded_by_ffmpeg(path), abs=0.05)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["phone.m4a", "phone.3gp", "phone.aac", "browser.webm"])
def test_without_pyav_and_ffmpeg_a_phone_recording_is_one_line_that_can_be_typed(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path = make(name, "-c:a", "libopus" if name.endswith("webm") else "aac")
    monkeypatch.setattr(media, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        AudioError, match=r"^\S+ is .+, which needs PyAV or ffmpeg; type: sudo apt install ffmpeg, or "
    ) as raised:
        AudioFile(path)
    assert str(raised.value).endswith(f"or {shlex.quote(sys.executable)} -m pip install av")  # edgecap's own Python


@needs_ffmpeg
def test_joined_and_tagged_mp3s_are_heard_to_the_last_frame(make: Make, tmp_path: Path) -> None:
    one = make("one.mp3", "-c:a", "libmp3lame", "-q:a", "4")
    rubbish = b"ID3\x04\0\0" + bytes((0, 8, 0, 0)) + bytes(1 << 17)  # a tag of 128 kB, as a cover picture makes
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(one.read_bytes() + rubbish + one.read_bytes() + b"TAG".ljust(128, b"\0"))
    seconds, fault = heard(joined)
    assert fault == ""
    assert seconds == pytest.approx(2 * SECONDS, abs=0.1)  # each has the delay of its encoder


@needs_ffmpeg
@pytest.mark.parametrize(("kind", "codec"), [("ogg", "libvorbis"), ("opus", "libopus")])
def test_every_link_of_a_chained_ogg_file_is_heard(make: Make, tmp_path: Path, kind: str, codec: str) -> None:
    one = make(f"one.{kind}", "-c:a", codec)
    other = make(f"other.{kind}", "-c:a", codec, "-ac", "2", "-ar", "48000")
    chained = tmp_path / f"chained.{kind}"
    chained.write_bytes(one.read_bytes() + other.read_bytes() + one.read_bytes())
    seconds, fault = heard(chained)
    assert fault == ""
    assert seconds == pytest.approx(3 * SECONDS, abs=0.05)


@needs_ffmpeg
def test_an_opus_file_that_does_not_name_its_input_rate_keeps_its_treble(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "treble.wav", tone(3, 48_000, 7_000.0), 48_000)
    path = tmp_path / "treble.opus"
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "treble.wav"), "-c:a", "libopus", "-b:a", "96k", str(path)]
    subprocess.run(command, check=True)
    data = bytearray(path.read_bytes())
    rate = data.index(b"OpusHead") + 12
    data[rate : rate + 4] = bytes(4)
    data[22:26] = bytes(4)
    data[22:26] = struct.pack("<I", containers.ogg_crc(data[: rate + 7]))
    path.write_bytes(data)
    samples = decode(path, 48_000)
    assert int(np.abs(np.fft.rfft(samples[: 2 * 48_000])).argmax()) == pytest.approx(14_000, abs=20)


def test_a_wav_whose_recorder_lost_power_is_heard(base: Path, tmp_path: Path) -> None:
    data = bytearray(base.read_bytes())
    place = data.index(b"data")
    data[place + 4 : place + 8] = struct.pack("<I", 0)
    (tmp_path / "zero.wav").write_bytes(data)
    seconds, fault = heard(tmp_path / "zero.wav")
    assert (round(seconds, 3), fault) == (SECONDS, "")


@pytest.mark.parametrize(
    ("kind", "chunk", "sizes"),
    [
        ("WAV", b"data", slice(4, 8)),
        ("RIFX", b"data", slice(4, 8)),
        ("RF64", b"ds64", slice(16, 24)),
        ("AIFF", b"SSND", slice(4, 8)),
        ("CAF", b"data", slice(4, 12)),
        ("AU", b".snd", slice(8, 12)),
    ],
)
def test_every_uncompressed_file_whose_recorder_lost_power_is_heard(
    base: Path, tmp_path: Path, kind: str, chunk: bytes, sizes: slice
) -> None:
    samples, _ = soundfile.read(base)
    path, endian = tmp_path / "lost.sound", "BIG" if kind == "RIFX" else "FILE"
    soundfile.write(path, samples, RATE, format=kind.replace("RIFX", "WAV"), subtype="PCM_16", endian=endian)
    data = path.read_bytes()
    place = data.index(chunk)
    path.write_bytes(data[: place + sizes.start] + bytes(sizes.stop - sizes.start) + data[place + sizes.stop :])
    seconds, fault = heard(path)
    assert (round(seconds, 3), fault) == (SECONDS, "")


def test_a_wav_that_really_has_no_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), RATE)
    data = (tmp_path / "none.wav").read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO"
    (tmp_path / "none.wav").write_bytes(data)
    seconds, fault = heard(tmp_path / "none.wav")
    assert seconds == 0.0
    assert "contains no audio" in fault


@pytest.mark.parametrize(("kind", "header"), [("wav", 44), ("aiff", 60), ("au", 24), ("caf", 4096), ("w64", 128)])
def test_an_uncompressed_file_that_was_copied_in_half_says_so_after_its_last_sample(
    base: Path, tmp_path: Path, kind: str, header: int
) -> None:
    samples, _ = soundfile.read(base, dtype="int16")
    soundfile.write(tmp_path / f"whole.{kind}", samples, RATE, subtype="PCM_16")
    data = (tmp_path / f"whole.{kind}").read_bytes()
    kept = header + round(5.0 * RATE) * 2
    (tmp_path / f"half.{kind}").write_bytes(data[:kept])
    seconds, fault = heard(tmp_path / f"half.{kind}")
    assert seconds == pytest.approx(5.0, abs=0.01)
    assert "cut short" in fault
    assert "12.0" in fault


@needs_ffmpeg
def test_a_damaged_flac_gives_all_that_was_decoded_before_the_damage(make: Make, tmp_path: Path) -> None:
    data = make("whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) * 3 // 4])
    seconds, fault = heard(tmp_path / "cut.flac")
    assert 1.0 < seconds < SECONDS
    assert f"could be read up to {seconds:.3f} s" in fault
    assert decode(tmp_path / "cut.flac", 16_000, 1.0).size == 16_000  # what is wanted lies before the damage


def test_what_is_no_sound_says_what_to_do(tmp_path: Path) -> None:
    for head, said in ((b"PK\3\4", "a zip archive; unpack it"), (b"\x1f\x8b", "gzip"), (b"MThd", "MIDI, .* no sound")):
        (tmp_path / "dog.wav").write_bytes(head + bytes(1000))
        with pytest.raises(AudioError, match=f"dog.wav is .*{said}"):
            AudioFile(tmp_path / "dog.wav")


def test_a_git_lfs_pointer_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "dog.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(AudioError, match="git lfs pull"):
        AudioFile(tmp_path / "dog.wav")


def test_opposite_channels_do_not_cancel_each_other() -> None:
    one = noise(1, RATE)
    assert np.allclose(to_mono(np.stack([one, -one], axis=1)), one, atol=1e-6)
    other = noise(1, RATE, seed=1)
    assert np.allclose(to_mono(np.stack([one, other], axis=1)), (one + other) / 2, atol=1e-6)


@needs_ffmpeg
def test_a_playlist_opens_no_other_file(base: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:12\n#EXTINF:12,\n{base}\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match="not a readable sound file"):
        AudioFile(playlist)


@pytest.mark.parametrize("kind", ["wav", "flac", "au"])
def test_files_joined_by_cat_are_heard_to_the_end(base: Path, tmp_path: Path, kind: str) -> None:
    samples, _ = soundfile.read(base)
    soundfile.write(tmp_path / f"a.{kind}", samples, RATE)
    soundfile.write(tmp_path / f"b.{kind}", np.stack([samples[:RATE]] * 2, axis=1), RATE // 2)
    joined = tmp_path / f"joined.{kind}"
    joined.write_bytes((tmp_path / f"a.{kind}").read_bytes() * 2)
    assert [round(heard(joined)[0], 2), heard(joined)[1]] == [2 * SECONDS, ""]
    joined.write_bytes((tmp_path / f"a.{kind}").read_bytes() * 2 + (tmp_path / f"b.{kind}").read_bytes())
    seconds, fault = heard(joined)
    assert fault == ""
    # nothing marks the next file in an AU: its header is heard as a few samples, its channels as one after the other
    assert seconds == pytest.approx(2 * SECONDS + 2.0, abs=0.01)


def test_a_flac_that_holds_more_than_it_declares_is_heard(base: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "more.flac", soundfile.read(base)[0], RATE)
    data = bytearray((tmp_path / "more.flac").read_bytes())
    data[18:26] = (int.from_bytes(data[18:26], "big") - 4 * RATE).to_bytes(8, "big")
    (tmp_path / "more.flac").write_bytes(data)
    assert heard(tmp_path / "more.flac")[0] == pytest.approx(SECONDS)


def test_a_file_joined_from_many_has_few_descriptors(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", noise(0.1, RATE), RATE)
    (tmp_path / "radio.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() * 200)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with AudioFile(tmp_path / "radio.ogg") as sound:
        for block in sound.blocks():
            assert len(block)
            assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3


@needs_ffmpeg
def test_mp3s_of_other_rates_and_channels_joined_with_rubbish_and_holes_are_heard(make: Make, tmp_path: Path) -> None:
    parts = [
        make(f"{rate}.mp3", "-ar", str(rate), "-ac", "2" if rate == 48_000 else "1")
        for rate in (44_100, 48_000, 16_000)
    ]
    rubbish = np.random.default_rng(0).integers(0, 250, 3_000, np.uint8).tobytes()
    first = parts[0].read_bytes()
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(
        rubbish
        + first[: len(first) // 2]
        + bytes(3 << 20)
        + first[len(first) // 2 :]
        + b"".join(p.read_bytes() for p in parts)
    )
    seconds, fault = heard(joined)
    assert fault == ""
    assert seconds == pytest.approx(4 * SECONDS, abs=0.2)  # each has the delay of its encoder


@needs_ffmpeg
def test_a_companion_file_of_macos_does_not_hide_an_mp3(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "media_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    for name, options in (("info.mp3", "-q:a 4"), ("bare.mp3", "-q:a 4 -write_xing 0")):
        path = make(name, "-c:a", "libmp3lame", *options.split(), "-id3v2_version", "0")
        for companion in (f"._{name}", "._"):
            (tmp_path / companion).write_bytes(bytes.fromhex("0005160700020000") + b"Mac OS X".ljust(4088, b"\0"))
        seconds, fault = heard(path)
        assert fault == ""
        assert seconds == pytest.approx(decoded_by_ffmpeg(path), abs=0.05)


@needs_ffmpeg
def test_an_mp3_of_any_bit_rate_inside_a_wav_is_heard(make: Make) -> None:
    for name, options in (("vbr.wav", "-q:a 2"), ("cbr.wav", "-b:a 64k")):
        path = make(name, "-c:a", "libmp3lame", *options.split())
        seconds, fault = heard(path)
        assert fault == ""
        assert seconds == pytest.approx(decoded_by_ffmpeg(path), abs=0.05)


@needs_ffmpeg
def test_a_recording_in_pieces_is_not_called_cut_short(make: Make, tmp_path: Path) -> None:
    for kind, options in (("flac", ""), ("mka", "-c:a flac"), ("webm", "-c:a libopus"), ("ogg", "-c:a libvorbis")):
        make(f"piece%d.{kind}", *options.split(), "-f", "segment", "-segment_time", "5")
        for path in sorted(tmp_path.glob(f"piece?.{kind}")):
            seconds, fault = heard(path)
            assert fault == ""
            assert seconds == pytest.approx(decoded_by_ffmpeg(path), abs=0.05)


@needs_ffmpeg
@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize(
    ("name", "options"), [("cut.webm", "-c:a libopus"), ("cut.m4a", "-c:a aac -movflags faststart"), ("cut.caf", "")]
)
def test_half_a_copy_is_told_whoever_decodes_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, decoder: str, name: str, options: str
) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(file_module, "open_media", FfmpegDecoder)
    path = make(name, *options.split())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    seconds, fault = heard(path)
    assert seconds == pytest.approx(decoded_by_ffmpeg(path), abs=0.05)
    assert "cut short" in fault


def test_a_wav_whose_chunks_lead_nowhere_costs_no_memory(base: Path, tmp_path: Path) -> None:
    data = base.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 0x7F00_001A) + b"INFOISFT"
    (tmp_path / "lost.wav").write_bytes(data[:36] + chunk + data[36:])
    with pytest.raises(AudioError, match=r"lost\.wav is not a readable sound file"):
        AudioFile(tmp_path / "lost.wav")


@needs_ffmpeg
def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mute.mkv"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "mpeg4", str(path)]
    subprocess.run(command, check=True)
    with pytest.raises(AudioError, match="it holds no sound"):
        AudioFile(path)


@needs_ffmpeg
@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
def test_seven_point_one_and_a_change_of_channels_are_heard(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decoder: str
) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(file_module, "open_media", FfmpegDecoder)
    film = make("film.mka", "-ac", "8", "-c:a", "flac")
    with AudioFile(film) as sound:
        assert sound.channels == 8
    seconds, fault = heard(film)
    assert fault == ""
    assert seconds == pytest.approx(SECONDS, abs=0.05)
    radio = tmp_path / "radio.aac"
    radio.write_bytes(make("mono.aac", "-ac", "1").read_bytes() + make("stereo.aac", "-ac", "2").read_bytes())
    seconds, fault = heard(radio)
    assert fault == ""
    assert seconds == pytest.approx(decoded_by_ffmpeg(radio), abs=0.05)


@needs_ffmpeg
def test_a_damaged_packet_costs_only_itself(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("av")
    data = bytearray(make("whole.webm", "-c:a", "libopus").read_bytes())
    place = len(data) // 2
    data[place : place + 40] = bytes(40)
    (tmp_path / "hurt.webm").write_bytes(data)
    seconds, _ = heard(tmp_path / "hurt.webm")
    assert seconds == pytest.approx(decoded_by_ffmpeg(tmp_path / "hurt.webm"), abs=0.1)
