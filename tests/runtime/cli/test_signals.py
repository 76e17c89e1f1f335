"""Signals end a command also while its model is in a graph that never returns."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from support.signals import RATE, noise
from support.tiny_model import write_tiny_bundle


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle `model`, whose encoder never returns for a loud window, and sound.wav."""
    folder = tmp_path_factory.mktemp("endless")
    write_tiny_bundle(folder / "model", ends_with_sound=False)
    soundfile.write(folder / "sound.wav", noise(20), RATE)
    return folder


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgecap", *map(str, arguments), "--model", str(folder / "model")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_work(process: subprocess.Popen[str]) -> None:
    """Return when the process has used two seconds of processor time: it is in the graph by then."""
    stat = Path(f"/proc/{process.pid}/stat")
    while process.poll() is None:
        fields = stat.read_text().rpartition(")")[2].split()
        if int(fields[11]) + int(fields[12]) > 200:
            return
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    raise AssertionError(process.communicate())


def test_two_ctrl_c_end_a_caption_that_never_does(endless: Path) -> None:
    process = start(endless, "caption", endless / "sound.wav")
    wait_for_work(process)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


@pytest.mark.parametrize(("number", "code", "speed"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 1)])
def test_two_signals_end_a_listener_whose_model_never_answers(
    endless: Path, tmp_path: Path, number: signal.Signals, code: int, speed: float
) -> None:
    journal = ("--journal", tmp_path / "a.db")
    process = start(endless, "listen", "--file", endless / "sound.wav", "--speed", speed, "--json", *journal)
    wait_for_work(process)
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in error


def test_one_signal_ends_such_a_listener_after_its_time_of_grace(endless: Path) -> None:
    process = start(endless, "listen", "--file", endless / "sound.wav", "--speed", 0, "--json")
    wait_for_work(process)
    process.terminate()
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "stopped after 0 events" in error
