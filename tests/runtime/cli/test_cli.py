"""The command line as a whole: help, version, completion, the small commands, the last resort."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import edgecap as package
from edgecap import errors
from edgecap.cli.app import EPILOG, OWN
from support.tiny_model import write_tiny_bundle

Run = Callable[..., subprocess.CompletedProcess[str]]


def shadowing(folder: Path) -> dict[str, str]:
    """An environment in which the modules in `folder` come before all others."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_the_version_is_the_packages(command: Run) -> None:
    assert command("--version").stdout == f"edgecap {package.__version__}\n"


def test_no_command_shows_the_help(command: Run) -> None:
    shown = command()
    assert "Usage: edgecap" in shown.stdout + shown.stderr
    assert "caption" in shown.stdout + shown.stderr


def test_each_command_has_help(command: Run) -> None:
    commands = re.findall(
        r"^  (\w+) ", command("-h").stdout.partition("Commands:")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert {*OWN, "bench", "evaluate", "export", "import", "train"} <= set(commands)
    for name in OWN:
        done = command(name, "--help")
        assert done.returncode == 0
        assert f"Usage: edgecap {name}" in done.stdout


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EdgecapError)]


def documented_codes(text: str) -> set[int]:
    """Exit codes in a table of one or two columns, in help ("  3 a sound …") or in Markdown ("| 3 | a sound … |")."""
    return {int(code) for code in re.findall(r"(?:^|  |\| ) *(\d+) (?:[a-z]|\| [a-z`])", text, re.MULTILINE)}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_documented_exit_code(kind: type[errors.EdgecapError]) -> None:
    tree: dict[str, str] = dict(re.findall(r"(\w+Error) +(\d+)? ", str(errors.__doc__)))
    assert kind.__name__ in tree
    codes = [int(tree[parent.__name__]) for parent in kind.__mro__ if tree.get(parent.__name__)]
    assert codes[0] == kind.exit_code
    assert kind.exit_code in documented_codes(EPILOG)


def test_help_and_readme_list_these_exit_codes_and_no_others() -> None:
    table = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8").partition("| exit code |")[2]
    codes = {0, *(kind.exit_code for kind in ERRORS)}
    assert documented_codes(EPILOG) - {130} == codes
    assert documented_codes(table.partition("\n\n")[0]) == codes


def test_the_list_of_commands_is_not_cut_off(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, _, rest = command("--help").stdout.partition("Commands:\n")
    lines = rest.partition("\n\n")[0].splitlines()
    assert len(lines) > 10
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


def test_an_unknown_command_is_a_wrong_command_line(command: Run) -> None:
    done = command("captoin")
    assert done.returncode == 2
    assert "No such command 'captoin'" in done.stderr


def test_the_shell_completes_commands_and_models(edgecap: Run, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "home" / "models" / "garden")
    for words, expected in (("edgecap capt", "caption"), ("edgecap caption --model gar", "garden")):
        done = edgecap(
            env={"_EDGECAP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        )
        assert done.stdout.split() == [expected]


def test_models_shows_what_is_here(command: Run, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "home" / "models" / "garden")
    (line,) = (line for line in command("models").stdout.splitlines() if line.startswith("garden"))
    assert line.split() == ["garden", f"{bundle.size / 1e6:.1f}", "MB", "onnx", "fp32", "CC0-1.0", str(bundle.folder)]
    documents = [json.loads(line) for line in command("models", "--json").stdout.splitlines()]
    (garden,) = (document for document in documents if document["name"] == "garden")
    assert (garden["size"], garden["bundled"], garden["fault"]) == (bundle.size, False, None)
    assert garden["notice"] == "Random numbers."


def test_a_broken_model_is_shown_with_its_fault(command: Run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "models" / "broken"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"format": "edgecap-bundle", "format_version": 99}')
    done = command("models")
    assert done.returncode == 0
    assert "format version 99" in done.stdout


def test_an_unexpected_failure_is_one_line_and_a_traceback_on_request(
    edgecap: Run, tiny_folder: Path, sounds: Path, tmp_path: Path
) -> None:
    # A module in place of soxr, with an error that no code expects.
    (tmp_path / "soxr.py").write_text("raise RuntimeError('boom')")
    arguments = ("caption", "-m", tiny_folder, sounds / "tone.flac")
    done = edgecap(*arguments, env=shadowing(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("edgecap: error: unexpected RuntimeError: boom; this is a bug in edgecap")
    assert len(done.stderr.splitlines()) == 1
    traced = edgecap(*arguments, env=shadowing(tmp_path) | {"EDGECAP_DEBUG": "1"})
    assert "Traceback" in traced.stderr


def test_without_portaudio_the_error_says_what_to_install(edgecap: Run, tiny_folder: Path, tmp_path: Path) -> None:
    # sounddevice raises just this where the library is missing.
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    for command in ("devices", "listen"):
        model = ("--model", tiny_folder) if command == "listen" else ()
        done = edgecap(command, *model, env=shadowing(tmp_path))
        assert done.returncode == 5
        assert done.stderr.splitlines() == [
            "edgecap: error: using a microphone needs PortAudio, which was not found; "
            "type: sudo apt install libportaudio2"
        ]
