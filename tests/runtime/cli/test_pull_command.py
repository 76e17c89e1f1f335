"""The commands that get, list, check and remove models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from edgecap.cli.app import build_app
from edgecap.cli.getting import pull_model
from support.file_server import FileServer, file_server, sends

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def address(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, FileServer]]:
    """The address of a bundle, and its server."""
    monkeypatch.setenv("EDGECAP_CACHE", str(tmp_path / "cache"))
    with file_server() as server:
        for path in tiny_folder.iterdir():
            server.files[f"/kitchen/{path.name}"] = path.read_bytes()
        yield f"{server.url}/kitchen/", server


def test_the_catalogue_is_shown(command: Run) -> None:
    done = command("pull")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split() == ["NAME", "STYLE", "LICENCE", "ABOUT"]
    assert "effb2-trm-audiocaps  AudioCaps  Apache-2.0" in done.stdout
    assert json.loads(command("pull", "--json").stdout.splitlines()[0])["name"] == "effb2-trm-audiocaps"


def test_a_models_life(command: Run, address: tuple[str, FileServer], tmp_path: Path) -> None:
    place, _ = address
    done = command("pull", place, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "name": "kitchen",
        "folder": str(tmp_path / "home" / "models" / "kitchen"),
        "new": True,
    }
    assert "nobody states a hash of" in done.stderr
    assert "type: edgecap caption --model kitchen FILE" in done.stderr
    again = command("pull", place)
    assert (again.returncode, again.stdout.strip()) == (0, str(tmp_path / "home" / "models" / "kitchen"))
    assert "is there already; type: edgecap models update kitchen" in again.stderr
    assert "kitchen" in command("models").stdout
    assert json.loads(command("models", "--json").stdout.splitlines()[0])["name"] == "kitchen"
    assert command("models", "verify", "kitchen").stdout.startswith("kitchen: every file is as it was pulled from")
    assert command("models", "update").stdout == "kitchen: up to date\n"
    assert command("models", "remove", "kitchen").returncode == 0
    assert command("models", "remove", "kitchen").returncode == 4
    assert not (tmp_path / "home" / "models" / "kitchen").exists()


def test_one_that_cannot_be_updated_stops_none_of_the_others(command: Run, address: tuple[str, FileServer]) -> None:
    place, server = address
    command("pull", place)
    command("pull", place, "--name", "another")
    server.plans["/kitchen/manifest.json"] = [sends(b"{}")]
    done = command("models", "update")
    assert done.returncode == 4
    assert done.stdout == "kitchen: up to date\n"
    assert "not of an edgecap bundle" in done.stderr
    assert command("models", "verify", "another", "kitchen").returncode == 0


def test_a_bundle_of_ones_own_is_added_and_changed_bytes_are_named(
    command: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    done = command("models", "add", tiny_folder, "--name", "mine")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "home" / "models" / "mine"))
    assert "nothing vouches for the manifest" in command("models", "verify", "mine").stdout
    taken = command("models", "add", tiny_folder, "--name", "mine")
    assert taken.returncode == 7
    assert "mine exists; type: edgecap models remove mine" in taken.stderr
    assert command("models", "add", tiny_folder, "--name", "mine", "--force").returncode == 0
    updated = command("models", "update", "mine")
    assert updated.returncode == 4
    assert "was not pulled" in updated.stderr
    (tmp_path / "home" / "models" / "mine" / "encode.onnx").write_bytes(b"changed")
    checked = command("models", "verify", "mine", "--json")
    assert checked.returncode == 4
    assert json.loads(checked.stdout)["right"] is False
    assert command("models", "add", tmp_path / "mine").returncode == 4


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["effb2-trm-clothe"], 4, "nearest: effb2-trm-clotho"),
        (["effb2-trm-clotho", "--offline", "--mirror", "http://127.0.0.1:1"], 4, "--offline forbids to get it"),
        (["effb2-trm-clotho", "--mirror", "http://models.example"], 2, "is not encrypted; use https://"),
        (["effb2-trm-clotho", "--mirror", "models.example"], 2, "invalid URL 'models.example'"),
        (["http://models.example/kitchen/"], 2, "is not encrypted; use https://"),
        (["x", "--catalogue", "/nowhere.json"], 2, "the catalogue /nowhere.json cannot be read"),
        (["effb2-trm-clotho", "--stall", "0"], 2, "Invalid value for '--stall'"),
    ],
)
def test_one_line_says_what_is_wrong(  # noqa: PLR0917
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    monkeypatch.setenv("EDGECAP_CACHE", str(tmp_path / "cache"))
    done = command("pull", *arguments)
    assert done.returncode == code
    assert text in " ".join(done.stderr.replace("│", " ").split())
    assert done.stdout == ""


@pytest.mark.parametrize(
    "line",
    [
        "kitchen",
        "https://models.example.org/kitchen/ --json",
        "--name a --force OWNER/NAME --int8",
        "-f kitchen --catalogue c.json --mirror https://m.example --offline --insecure --commercial",
    ],
)
def test_a_plain_line_means_the_same_with_and_without_typer(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[dict[str, object]]()
    monkeypatch.setattr(pull_model, "pull_model", lambda what, **more: calls.append({"what": what} | more))
    words = ["pull", *line.split()]
    with pytest.raises(SystemExit):
        build_app(words)(words)
    (parsed,) = calls
    plain = pull_model.plain_arguments(words[1:])
    assert plain is not None
    switches = dict.fromkeys(("int8", "commercial", "force", "offline", "insecure", "json"), False)
    unset = {**switches, "name": "", "catalogue": "", "mirror": "", "stall": 30.0, "timeout": 3600.0}
    assert unset | plain == parsed


@pytest.mark.parametrize(
    "line", ["", "--json", "a b", "a --help", "a --nam b", "a --name", "a --name=b", "a --stall 3", "-"]
)
def test_every_other_line_is_left_to_typer(line: str) -> None:
    assert pull_model.plain_arguments(line.split()) is None
