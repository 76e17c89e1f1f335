"""What the documents say is what the program does.

python tests/test_readme.py     write the outputs shown in README.md again, after a change of the model
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import edgecap.errors
from edgecap.captioner import Captioner
from edgecap.cli.app import ENTRY_POINTS, OWN
from edgecap.errors import BusyMachineError
from support.source_tree import REPOSITORY, ROOTS

README = REPOSITORY / "README.md"
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/SOURCES.md",
    "runtime/edgecap/bundle/BUNDLE.md",
    "docs/architecture.md",
    "docs/listening.md",
    "docs/export.md",
    "docs/web-export.md",
    "docs/embedding.md",
    "docs/training.md",
    "docs/benchmarks.md",
    "docs/licences.md",
    "docs/limits.md",
    "docs/threat-model.md",
    "train/RESULTS.md",
)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```\n```text\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)\)|^\[[^]]+\]: (\S+)", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"`(\w+)`, `(edgecap\w*/[\w/]+\.py)`")
LAST_DIGITS = re.compile(r"(-?\d+\.\d\d)\d+")
"""Another processor may compute them otherwise."""


def console_output(command: str) -> str:
    """What a command line of the README prints, in a child process, from the repository's folder."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=REPOSITORY,
            text=True,
            timeout=120,
            capture_output=True,
            check=True,
            env={**os.environ, "EDGECAP_HOME": home},
        )
    return tidy(done.stdout)


def tidy(output: str) -> str:
    """Without what differs from machine to machine: the folder and the last digits."""
    return LAST_DIGITS.sub(r"\1…", output.replace(str(REPOSITORY), "…"))


def refreshed(text: str) -> str:
    """README's text with the output of every `console` and `python` block generated again."""

    def console(match: re.Match[str]) -> str:
        commands = [line for line in match[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"{line}\n{console_output(line[2:])}" for line in commands) + "```"

    names: dict[str, object] = {}

    def python(match: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(REPOSITORY):
            exec(compile(match[1], "README.md", "exec"), names)
        return f"```python\n{match[1]}```\n```text\n{tidy(printed.getvalue())}```"

    return PYTHON.sub(python, CONSOLE.sub(console, text))


def one_liners() -> list[str]:
    return [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("python3 -m venv")]


def errors() -> Iterator[type[edgecap.errors.EdgecapError]]:
    for value in vars(edgecap.errors).values():
        if isinstance(value, type) and issubclass(value, edgecap.errors.EdgecapError):
            yield value


def test_the_outputs_that_the_readme_shows_are_what_comes_out() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(CONSOLE.findall(text)) >= 1
    assert len(PYTHON.findall(text)) == text.count("```python") >= 2
    assert refreshed(text) == text


@pytest.mark.parametrize("document", ["README.md", "docs/listening.md"])
def test_the_events_shown_are_what_the_model_says_of_these_sounds(document: str) -> None:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    example, _, after = text.partition("$ edgecap listen --plain\n")[2].partition("```")
    names = re.findall(r"`(\w+\.(?:ogg|flac))`", after.partition(" of the examples")[0])
    captioner = Captioner.load()
    said = [next(iter(captioner.caption_file(REPOSITORY / "examples" / name))).text for name in names]
    assert [line[10:] for line in example.splitlines()] == said
    assert len(said) == 3


def test_a_false_output_in_the_readme_would_be_seen() -> None:
    false = "```console\n$ edgecap --version\nedgecap 99\n```\n```python\nprint(1)\n```\n```text\n2\n```"
    true = false.replace("edgecap 99", f"edgecap {edgecap.__version__}").replace("text\n2", "text\n1")
    assert refreshed(false) == true != false


def test_the_first_command_installs_and_captions_an_example() -> None:
    command = one_liners()[0]
    assert re.fullmatch(r"python3 -m venv (\S+) && \1/bin/pip install -q \. && \1/bin/edgecap caption (\S+)", command)
    assert (REPOSITORY / command.split()[-1]).is_file()


def test_ci_runs_the_second_command_as_it_stands(tmp_path: Path) -> None:
    """The script finds the line in the README by itself; here a shell that only prints takes its place."""
    commands = one_liners()
    assert len(commands) == 2
    assert "pytest" in commands[1]
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    finder = next(line for line in script.splitlines() if line.startswith("tests="))
    shell = subprocess.run(
        ["bash", "-euc", f'{finder}; printf %s "$tests"'], cwd=REPOSITORY, text=True, check=True, capture_output=True
    )
    assert shell.stdout == commands[1]
    assert 'bash -euc "$tests"' in script


def test_what_ci_runs_beside_the_tests_is_shown_and_ends_it_with_the_same_code() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    functions, _, uses = script.partition("\npart .ci/packages\n")
    assert [line for line in uses.splitlines() if line in ("beside others", "joined")] == ["beside others", "joined"]
    for code in (0, 3):
        uses = f"beside sh -c 'echo words; exit {code}'; echo first; joined; echo goes on"
        command = ["bash", "-c", f"{functions}\n{uses}", ".ci/run"]
        done = subprocess.run(command, cwd=REPOSITORY, text=True, check=False, capture_output=True)
        expected = ["first", "words", *(["goes on"] if code == 0 else [])]
        assert (done.returncode, done.stdout.splitlines(), done.stderr) == (code, expected, "")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_inside_the_repository_lead_somewhere(document: str) -> None:
    path = REPOSITORY / document
    targets = [a or b for a, b in LINK.findall(CODE.sub("", path.read_text(encoding="utf-8")))]
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert missing == []


def test_the_tables_that_contributing_names_are_there() -> None:
    named = TABLE.findall((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) >= 6
    for table, file in named:
        path = REPOSITORY / ROOTS[file.split("/")[0]] / file
        assert re.search(rf"^(class )?{table}\b", path.read_text(encoding="utf-8"), re.MULTILINE), (table, file)


def test_every_command_and_exit_code_is_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    names = [*OWN, *(entry.name for entry in entry_points(group=ENTRY_POINTS))]
    assert [name for name in names if f"`edgecap {name}" not in text] == []
    codes = {kind.exit_code for kind in errors()} | {BusyMachineError.exit_code}
    assert [code for code in sorted(codes) if f"| {code} |" not in text] == []


def test_the_changelog_has_the_version_of_the_package() -> None:
    assert f"## [{edgecap.__version__.split('.dev')[0]}]" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text(encoding="utf-8")), encoding="utf-8")
