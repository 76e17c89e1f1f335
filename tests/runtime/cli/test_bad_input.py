"""Bad input gets one clear line, the documented exit code, nothing half-written and no invented caption."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.signals import RATE, noise

AUDIO, BUNDLE, OUTPUT = 3, 4, 7
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def refused(command: Run, edgecap: Run, tiny_folder: Path) -> Callable[..., str]:
    """Captions a file that cannot be used and gives the one line that says so; in a child process where `more` asks."""

    def run(code: int, *arguments: object, **more: object) -> str:
        done = (edgecap if more else command)("caption", "--model", tiny_folder, *arguments, **more)
        assert done.returncode == code, done.stderr
        assert not done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith("edgecap: error: ")
        assert ";" in line, "a message says what to do next"
        return line

    return run


def sparse_wav(path: Path, seconds: int) -> None:
    """A wav of zeros that takes no room on disk: a header and a hole."""
    size = seconds * RATE * 2
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16, b"data", size
    )
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def test_a_missing_file(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "does not exist" in refused(AUDIO, tmp_path / "gone.wav")


def test_a_directory(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "is a folder" in refused(AUDIO, tmp_path)


def test_an_empty_file(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "is empty" in refused(AUDIO, tmp_path / "empty.wav")


def test_empty_standard_input(refused: Callable[..., str]) -> None:
    assert "standard input is empty" in refused(AUDIO, "-", stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", ["wav", "mp3", "raw"])
def test_a_text_file_called_a_sound(refused: Callable[..., str], tmp_path: Path, kind: str) -> None:
    (tmp_path / f"letter.{kind}").write_text("Dear Sir or Madam,\n" * 200)
    assert "not a readable sound file" in refused(AUDIO, tmp_path / f"letter.{kind}")


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3"])
def test_what_is_left_of_a_truncated_file_is_captioned_and_the_loss_is_told(
    edgecap: Run, tiny_folder: Path, tmp_path: Path, kind: str
) -> None:
    soundfile.write(tmp_path / f"whole.{kind}", noise(15), RATE)
    data = (tmp_path / f"whole.{kind}").read_bytes()
    (tmp_path / f"cut.{kind}").write_bytes(data[: len(data) * 13 // 15])
    done = edgecap("caption", "--json", "--model", tiny_folder, tmp_path / f"cut.{kind}")
    assert done.returncode == AUDIO
    captions = [json.loads(line) for line in done.stdout.splitlines()]
    assert captions[0]["end"] == 10.0
    assert captions[-1]["end"] == pytest.approx(13.0, abs=0.3)
    (line,) = done.stderr.splitlines()
    assert "cut short" in line
    assert "copy it again" in line


def test_no_samples(refused: Callable[..., str], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), RATE)
    assert "contains no audio" in refused(AUDIO, tmp_path / "none.wav")


def test_fifty_milliseconds_are_padded_captioned_and_noted(command: Run, tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", noise(0.05), RATE)
    done = command("caption", "--json", "--model", tiny_folder, tmp_path / "click.wav")
    assert done.returncode == 0
    caption = json.loads(done.stdout)
    assert (caption["start"], caption["end"], len(caption["beams"])) == (0.0, 0.05, 3)
    (note,) = done.stderr.splitlines()
    assert note.startswith("edgecap: note: ")
    assert "0.050 s and was padded" in note


@pytest.mark.parametrize(("value", "word"), [(np.nan, "not a number"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_samples_that_are_no_numbers(refused: Callable[..., str], tmp_path: Path, value: float, word: str) -> None:
    samples = noise(3)
    samples[10_000] = value
    soundfile.write(tmp_path / "broken.wav", samples, RATE, subtype="FLOAT")
    line = refused(AUDIO, tmp_path / "broken.wav")
    assert "sample 10000 of channel 1 (0.625 s)" in line
    assert word in line


def test_hours_of_silence_are_captioned_as_silence(command: Run, tiny_folder: Path, tmp_path: Path) -> None:
    sparse_wav(tmp_path / "long.wav", 2 * 3600)
    done = command("caption", "--json", "--model", tiny_folder, tmp_path / "long.wav")
    (tmp_path / "long.wav").unlink()
    assert (done.returncode, done.stderr) == (0, "")
    captions = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(captions) == 720
    assert {(caption["text"], caption["score"], caption["silent"]) for caption in captions} == {("silence", None, True)}
    assert (captions[-1]["start"], captions[-1]["end"]) == (7_190.0, 7_200.0)


@pytest.mark.parametrize(
    "samples", [np.zeros(3 * RATE), np.full(3 * RATE, 0.2), noise(3, level=1e-4)], ids=["zeros", "constant", "hiss"]
)
def test_silence_is_never_an_invention(command: Run, tiny_folder: Path, tmp_path: Path, samples: np.ndarray) -> None:
    soundfile.write(tmp_path / "quiet.wav", samples, RATE, subtype="FLOAT")
    assert command("caption", "--model", tiny_folder, tmp_path / "quiet.wav").stdout == "silence\n"


def test_192_kilohertz_and_eight_channels_are_captioned(command: Run, tiny_folder: Path, tmp_path: Path) -> None:
    wide = np.repeat(noise(2, rate=192_000)[:, None], 8, axis=1)
    soundfile.write(tmp_path / "wide.wav", wide, 192_000)
    soundfile.write(tmp_path / "narrow.wav", wide[:, 0], 192_000)
    done = command("caption", "--json", "--model", tiny_folder, tmp_path / "wide.wav", tmp_path / "narrow.wav")
    assert (done.returncode, done.stderr) == (0, "")
    left, right = (json.loads(line) for line in done.stdout.splitlines())
    assert left["end"] == 2.0
    assert left["text"] == right["text"]


def _obey_permissions() -> None:
    """Give up root's right to read every file (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) before the next exec."""
    drop_from_bounding_set = 24  # PR_CAPBSET_DROP in linux/prctl.h
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):
        if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
            raise PermissionError(ctypes.get_errno(), "prctl")


def test_an_unreadable_file(refused: Callable[..., str], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", noise(1), RATE)
    (tmp_path / "secret.wav").chmod(0)
    try:
        line = refused(AUDIO, tmp_path / "secret.wav", preexec_fn=_obey_permissions if os.geteuid() == 0 else None)
    except subprocess.SubprocessError:
        pytest.skip("runs as root, and root's rights cannot be given up here")
    assert "cannot be read (Permission denied)" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_full_disk_under_the_output(refused_output: Callable[..., str], sounds: Path, arguments: list[str]) -> None:
    assert "No space left on device" in refused_output(*arguments, sounds / "noise.wav")


@pytest.fixture
def refused_output(edgecap: Run, tiny_folder: Path) -> Callable[..., str]:
    """Captions onto a full disk and gives the one line that says so."""

    def run(*arguments: object) -> str:
        with Path("/dev/full").open("w") as full:
            done = edgecap("caption", "--model", tiny_folder, *arguments, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == OUTPUT
        (line,) = done.stderr.splitlines()
        return line

    return run


def test_a_full_disk_under_the_temporary_files(refused: Callable[..., str], sounds: Path, tmp_path: Path) -> None:
    # A limit on the size of files makes the kernel refuse the write, as a full disk does.
    (tmp_path / "spool").mkdir()
    line = refused(
        OUTPUT,
        "-",
        input=(sounds / "long.wav").read_bytes(),
        env={"TMPDIR": str(tmp_path / "spool")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert "standard input cannot be stored" in line
    assert list((tmp_path / "spool").iterdir()) == []


def flip(folder: Path) -> None:
    data = bytearray((folder / "encode.onnx").read_bytes())
    data[len(data) // 2] ^= 0x10
    (folder / "encode.onnx").write_bytes(data)


def change(**keys: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / "manifest.json").read_text())
        document.update(keys)
        (folder / "manifest.json").write_text(json.dumps(document))

    return edit


def lead_out(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["files"][0]["name"] = "../../../etc/passwd"
    (folder / "manifest.json").write_text(json.dumps(document))


BUNDLES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a flipped byte", flip, "encode.onnx was changed"),
    ("a missing file", lambda folder: (folder / "decode.onnx").unlink(), "decode.onnx is missing"),
    ("a newer format version", change(format_version=4), "format version 4 and this edgecap reads up to 3"),
    ("a path outside the folder", lead_out, "'../../../etc/passwd', a path"),
    ("no manifest", lambda folder: (folder / "manifest.json").unlink(), "cannot be read"),
    ("half a manifest", lambda folder: os.truncate(folder / "manifest.json", 300), "not JSON"),
]


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of a good bundle, to be spoiled."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.mark.parametrize(("spoil", "reason"), [case[1:] for case in BUNDLES], ids=[case[0] for case in BUNDLES])
def test_a_bundle_that_is_not_as_it_was_written(
    refused: Callable[..., str], copy: Path, sounds: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(copy)
    assert reason in refused(BUNDLE, "--model", copy, sounds / "noise.wav")


def test_an_unknown_model(refused: Callable[..., str], sounds: Path) -> None:
    assert "no model called 'gardn'" in refused(BUNDLE, "--model", "gardn", sounds / "noise.wav")


def test_an_hour_takes_no_more_memory_than_a_minute(tiny_folder: Path, tmp_path: Path) -> None:
    # Noise in every window, so that every stage runs; 8 kHz, so that it is resampled as well.
    script = """
import sys
from pathlib import Path
from edgecap import Captioner
captions = sum(1 for _ in Captioner.load(sys.argv[1], threads=1).caption_file(sys.argv[2], beam=1))
print(captions, Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    peaks = []
    for minutes in (1, 60):
        path = tmp_path / f"{minutes}.wav"
        minute = noise(60, rate=8_000)
        with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_U8") as file:
            for _ in range(minutes):
                file.write(minute)
        command = [sys.executable, "-c", script, str(tiny_folder), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        captions, peak = map(int, done.stdout.split())
        assert captions == minutes * 6
        peaks.append(peak)
        path.unlink()
    assert peaks[1] - peaks[0] < 8 * 1024, f"kilobytes at the peak: {peaks}"
