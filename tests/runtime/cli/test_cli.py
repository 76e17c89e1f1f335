"""The command line as a whole: help, version, completion, the small commands, the last resort."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import edgecap as package
from edgecap import errors
from edgecap.cli.app import EPILOG
from support.tiny_model import write_tiny_bundle

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_version_is_the_packages(edgecap: Run) -> None:
    assert edgecap("--version").stdout == f"edgecap {package.__version__}\n"


def test_no_command_shows_the_help(edgecap: Run) -> None:
    shown = edgecap()
    assert "Usage: edgecap" in shown.stdout + shown.stderr
    assert "caption" in shown.stdout + shown.stderr


@pytest.mark.parametrize("command", ["caption", "listen", "models", "devices", "demo"])
def test_each_command_has_help(edgecap: Run, command: str) -> None:
    done = edgecap(command, "--help")
    assert done.returncode == 0
    assert f"Usage: edgecap {command}" in done.stdout
    assert command in edgecap("-h").stdout


def test_the_help_documents_every_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for code in {kind.exit_code for kind in kinds}:
        assert f"  {code} " in EPILOG, code


def test_an_unknown_command_is_a_wrong_command_line(edgecap: Run) -> None:
    done = edgecap("captoin")
    assert done.returncode == 2
    assert "No such command 'captoin'" in done.stderr


def test_the_shell_completes_commands_and_models(edgecap: Run, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "home" / "models" / "garden")
    for words, expected in (("edgecap capt", "caption"), ("edgecap caption --model gar", "garden")):
        done = edgecap(
            env={"_EDGECAP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        )
        assert done.stdout.split() == [expected]


def test_models_shows_what_is_here(edgecap: Run, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "home" / "models" / "garden")
    (line,) = (line for line in edgecap("models").stdout.splitlines() if line.startswith("garden"))
    assert line.split() == ["garden", f"{bundle.size / 1e6:.1f}", "MB", "onnx", "fp32", "CC0-1.0", str(bundle.folder)]
    documents = [json.loads(line) for line in edgecap("models", "--json").stdout.splitlines()]
    (garden,) = (document for document in documents if document["name"] == "garden")
    assert (garden["size"], garden["bundled"], garden["fault"]) == (bundle.size, False, None)
    assert garden["notice"] == "Random numbers."


def test_a_broken_model_is_shown_with_its_fault(edgecap: Run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "models" / "broken"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"format": "edgecap-bundle", "format_version": 99}')
    done = edgecap("models")
    assert done.returncode == 0
    assert "format version 99" in done.stdout


def test_an_unexpected_failure_is_one_line_and_a_traceback_on_request(edgecap: Run, tmp_path: Path) -> None:
    # A module in the way of soxr that fails as nothing is meant to.
    (tmp_path / "soxr.py").write_text("raise RuntimeError('boom')")
    model = write_tiny_bundle(tmp_path / "model").folder
    import numpy
    import soundfile

    soundfile.write(tmp_path / "a.wav", numpy.ones(8000), 8000)
    arguments = ("caption", "-m", model, tmp_path / "a.wav")
    done = edgecap(*arguments, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("edgecap: error: unexpected RuntimeError: boom; this is a fault of edgecap")
    assert len(done.stderr.splitlines()) == 1
    told = edgecap(*arguments, env={"PYTHONPATH": str(tmp_path), "EDGECAP_DEBUG": "1"})
    assert "Traceback" in told.stderr


def test_a_machine_without_portaudio_is_told_what_to_install(edgecap: Run, tmp_path: Path) -> None:
    # sounddevice raises just this where the library is missing.
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    for command in ("devices", "listen"):
        model = ("--model", write_tiny_bundle(tmp_path / "model").folder) if command == "listen" else ()
        done = edgecap(command, *model, env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 5
        assert done.stderr.splitlines() == [
            "edgecap: error: using a microphone needs PortAudio, which was not found; "
            "type: sudo apt install libportaudio2"
        ]
