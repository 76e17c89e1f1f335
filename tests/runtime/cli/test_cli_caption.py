"""`edgecap caption` through the real command line."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from edgecap.captioner import Captioner
from edgecap.cli.app import build_app
from edgecap.cli.caption_files import plain_arguments
from edgecap.cli.console import clock
from support.signals import RATE, noise

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_one_short_file_prints_its_sentence_and_nothing_else(
    command: Run, tiny_folder: Path, sounds: Path, captioner: Captioner
) -> None:
    done = command("caption", "--model", tiny_folder, sounds / "noise.wav")
    (expected,) = captioner.caption_file(sounds / "noise.wav")
    assert (done.returncode, done.stdout, done.stderr) == (0, expected.text + "\n", "")


def test_a_long_file_prints_a_line_with_its_times_for_each_window(
    command: Run, tiny_folder: Path, sounds: Path, captioner: Captioner
) -> None:
    done = command("caption", "--model", tiny_folder, sounds / "long.wav")
    texts = [caption.text for caption in captioner.caption_file(sounds / "long.wav")]
    assert done.stdout.splitlines() == [f"0:00-0:10  {texts[0]}", "0:10-0:20  silence", f"0:20-0:25  {texts[2]}"]
    assert done.stderr == ""


def test_lines_of_several_files_begin_with_their_names(command: Run, tiny_folder: Path, sounds: Path) -> None:
    done = command("caption", "--model", tiny_folder, sounds / "silence.wav", sounds / "long.wav")
    first, second, *_ = done.stdout.splitlines()
    assert first == f"{sounds / 'silence.wav'}: silence"
    assert second.startswith(f"{sounds / 'long.wav'}: 0:00-0:10  ")


def test_json_is_one_object_a_line(command: Run, tiny_folder: Path, sounds: Path, captioner: Captioner) -> None:
    done = command("caption", "--json", "--model", tiny_folder, sounds / "long.wav")
    loud, silent, _ = (json.loads(line) for line in done.stdout.splitlines())
    expected = next(captioner.caption_file(sounds / "long.wav"))
    assert loud == {
        "file": str(sounds / "long.wav"),
        "model": "tiny",
        "start": 0.0,
        "end": 10.0,
        "text": expected.text,
        "score": pytest.approx(expected.score, abs=1e-6),
        "confidence": None,
        "level_dbfs": pytest.approx(expected.level_dbfs, abs=0.01),
        "silent": False,
        "beams": [
            {"text": beam.text, "score": pytest.approx(beam.score, abs=1e-6), "tokens": list(beam.tokens)}
            for beam in expected.beams
        ],
    }
    assert (silent["text"], silent["score"], silent["silent"], silent["beams"]) == ("silence", None, True, [])
    assert silent["level_dbfs"] == -120.0


def test_beam_window_and_hop_are_obeyed(command: Run, tiny_folder: Path, sounds: Path) -> None:
    options = ("--json", "--beam", 1, "--window", 5, "--hop", 2.5, "--model", tiny_folder)
    done = command("caption", *options, sounds / "long.wav")
    captions = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(caption["start"], caption["end"]) for caption in captions][:3] == [(0, 5), (2.5, 7.5), (5, 10)]
    assert captions[-1]["end"] == 25
    assert {len(caption["beams"]) for caption in captions} == {0, 1}


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus", "mp3"])
def test_every_format_is_taken_from_a_file_and_from_standard_input(
    edgecap: Run, tiny_folder: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, noise(3, 48_000), 48_000, **({"format": "OGG", "subtype": "OPUS"} if kind == "opus" else {}))
    from_file = edgecap("caption", "--json", "-m", tiny_folder, path)
    from_pipe = edgecap("caption", "--json", "-m", tiny_folder, "-", input=path.read_bytes())
    assert (from_file.returncode, from_pipe.returncode) == (0, 0), from_file.stderr + from_pipe.stderr
    left, right = json.loads(from_file.stdout), json.loads(from_pipe.stdout)
    assert (left.pop("file"), right.pop("file")) == (str(path), "-")
    assert left == right


def test_a_bad_file_among_several_is_reported_and_the_others_are_captioned(
    command: Run, tiny_folder: Path, sounds: Path
) -> None:
    done = command("caption", "-m", tiny_folder, sounds / "gone.wav", sounds / "silence.wav")
    assert done.returncode == 3
    assert done.stdout == f"{sounds / 'silence.wav'}: silence\n"
    assert done.stderr == f"edgecap: error: {sounds / 'gone.wav'} does not exist; check the name\n"


@pytest.mark.parametrize(
    "arguments",
    [["--beam", "0"], ["--beam", "many"], ["--window", "11"], ["--hop", "0"], ["--threads", "0"], ["--nonsense"]],
)
def test_a_wrong_option_is_a_wrong_command_line(
    command: Run, tiny_folder: Path, sounds: Path, arguments: list[str]
) -> None:
    done = command("caption", "-m", tiny_folder, *arguments, sounds / "noise.wav")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "a.wav",
        "- b.mp3 --json a.wav",
        "--model tiny a.wav",
        "-m ./folder a.wav -b 1 -t 2",
        "--beam 32 --threads 16 --json a.wav --json",
        "--beam 3 -b 2 a.wav",
    ],
)
def test_a_plain_line_means_the_same_with_and_without_typer(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, object]] = []
    monkeypatch.setattr(
        "edgecap.cli.caption.caption_files", lambda files, **more: calls.append({"files": files} | more)
    )
    words = ["caption", *line.split()]
    with pytest.raises(SystemExit):
        build_app(words)(words)
    (parsed,) = calls
    plain = plain_arguments(words[1:])
    assert plain is not None
    unset = {
        "json": False,
        "beam": None,
        "window": None,
        "hop": None,
        "model": None,
        "threads": None,
        "min_confidence": 0.0,
    }
    assert unset | plain == parsed


@pytest.mark.parametrize(
    "line",
    [
        *("", "--json", "-h a.wav", "--help", "-- a.wav", "a.wav --nonsense", "--js a.wav", "--json=1 a.wav"),
        *("--beam=3 a.wav", "-b3 a.wav", "--beam 0 a.wav", "--beam 33 a.wav", "--beam ٣ a.wav", "--beam 1.5 a.wav"),
        *(
            "--beam a.wav",
            "a.wav --beam",
            "a.wav -m",
            "a.wav -m --json",
            "--threads 0 a.wav",
            "-w 5 a.wav",
            "--hop 2 a.wav",
        ),
    ],
)
def test_every_other_line_is_left_to_typer(line: str) -> None:
    assert plain_arguments(line.split()) is None


def test_no_file_is_a_wrong_command_line(command: Run) -> None:
    assert command("caption").returncode == 2


def test_a_reader_that_goes_away_ends_it_quietly(edgecap: Run, tiny_folder: Path, sounds: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = edgecap("caption", "-m", tiny_folder, sounds / "long.wav", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_it_with_130_and_no_traceback(tiny_folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecap", "caption", "-m", str(tiny_folder), str(tmp_path / "pipe")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with (tmp_path / "pipe").open("wb") as pipe:  # waits until the command opens it
        pipe.write(b"RIFF")
        pipe.flush()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in error


def test_a_terminal_shows_a_bar_on_standard_error_only(tiny_folder: Path, sounds: Path) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-m", "edgecap", "caption", "-m", str(tiny_folder), "--window", "2"]
    command.append(str(sounds / "long.wav"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, text=True, env=environment) as process:
        out, _ = process.communicate(timeout=60)
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert "long.wav" in shown.decode()
    assert "%" in shown.decode()
    assert "\x1b" not in out
    assert len(out.splitlines()) == 13


def test_a_file_name_with_a_line_break_stays_on_one_line(command: Run, tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a\nb.wav"
    soundfile.write(path, noise(1), RATE)
    done = command("caption", "-m", tiny_folder, path, tmp_path / "gone\n.wav")
    assert len(done.stdout.splitlines()) == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (9.96, "0:10"), (2.5, "0:02.5"), (70, "1:10"), (3599.99, "1:00:00"), (90_061.5, "25:01:01.5")],
)
def test_times_are_written_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
