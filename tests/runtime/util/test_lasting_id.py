"""Ids that last, and that two processes never share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecap.util import lasting_id
from edgecap.util.lasting_id import LastingId, state_folder


def test_an_id_is_kept_and_two_at_a_time_are_different(tmp_path: Path) -> None:
    first = LastingId("node", ["kitchen"], folder=tmp_path)
    second = LastingId("node", ["kitchen"], folder=tmp_path)
    texts = {first.text, second.text}
    assert len(texts) == 2
    first.close()
    second.close()
    again = [LastingId("node", ["kitchen"], folder=tmp_path) for _ in range(2)]
    assert {each.text for each in again} == texts
    for each in again:
        each.close()


def test_each_gets_its_own_back_in_whatever_order_they_start(tmp_path: Path) -> None:
    kitchen = LastingId("node", ["kitchen"], folder=tmp_path)
    attic = LastingId("node", ["attic", "yard"], folder=tmp_path)
    kitchen.close()
    attic.close()
    attic_again = LastingId("node", ["yard", "attic"], folder=tmp_path)
    kitchen_again = LastingId("node", ["kitchen"], folder=tmp_path)
    assert (attic_again.text, kitchen_again.text) == (attic.text, kitchen.text)
    kitchen_again.close()
    cellar = LastingId("node", ["kitchen", "cellar"], folder=tmp_path)  # a microphone was added
    assert cellar.text == kitchen.text
    attic_again.close()
    cellar.close()


def test_an_id_is_free_again_when_its_process_was_killed(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib\nfrom edgecap.util.lasting_id import LastingId\n"
        "print(LastingId('node', ['a'], folder=pathlib.Path(sys.argv[1])).text, flush=True)\nos.kill(os.getpid(), 9)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [-9, -9]
    assert runs[0].stdout == runs[1].stdout != ""


def test_without_a_folder_it_is_made_from_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setattr(lasting_id, "MACHINE_ID", machine)
    derived = [LastingId("node", [], folder=tmp_path / "file" / "x") for _ in range(2)]
    assert derived[0].text == derived[1].text
    assert derived[0].lasts
    assert derived[0].text not in machine.read_text()  # the machine's own id is a secret
    machine.unlink()
    random = LastingId("node", [], folder=tmp_path / "file" / "x")
    assert not random.lasts
    assert random.text


def test_damaged_files_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "node-abc").write_bytes(b"\xff{")
    (tmp_path / "node-no topic").write_text("[]")
    assert LastingId("node", ["a"], folder=tmp_path).text == "abc"


def test_the_folder_is_that_of_the_service_or_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgecap:/var/lib/other")
    assert state_folder() == Path("/var/lib/edgecap")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "edgecap"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/pi")
    assert state_folder() == Path("/home/pi/.local/state/edgecap")
