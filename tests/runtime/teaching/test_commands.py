"""`edgecap teach` and `edgecap sounds`, as a user types them."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.in_words import in_words
from edgecap.sounds.store import SoundStore
from edgecap.teaching.examples import read_examples
from edgecap.teaching.lesson import TeachRequest, teach_sound
from support.teaching.taught_sounds import RATE, chime, rasp, shipped_captioner

Edgecap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """1.wav and 2.wav are a chime, rasp.wav is not."""
    shipped_captioner()
    for name, sound in (("1", chime(1)), ("2", chime(2)), ("rasp", rasp())):
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE)
    return tmp_path


def test_a_sound_is_taught_listed_heard_exported_and_removed(edgecap: Edgecap, recordings: Path) -> None:
    folder = ("--sounds", recordings / "sounds")
    done = edgecap(
        "teach", "our doorbell", recordings / "1.wav", recordings / "2.wav", *folder, "--false-alarms", "1/hour"
    )
    assert (done.returncode, done.stdout) == (0, "our doorbell: learnt from 2 examples\n")
    listed = json.loads(edgecap("sounds", "list", "--json", *folder).stdout)
    assert (listed["name"], listed["identifier"], listed["examples"]) == ("our doorbell", "our-doorbell", 2)
    tried = edgecap("sounds", "--test", recordings, *folder)
    assert "1.wav: our doorbell" in tried.stdout
    assert "rasp.wav: -" in tried.stdout
    captioned = edgecap("caption", "--json", recordings / "1.wav", env={"EDGECAP_SOUNDS": str(folder[1])})
    document = json.loads(captioned.stdout)
    assert [(sound["name"], sound["identifier"]) for sound in document["sounds"]] == [("our doorbell", "our-doorbell")]
    assert document["text"] == in_words(document["beams"][0]["text"], "our doorbell")
    assert document["model_text"] == document["beams"][0]["text"]
    plain = edgecap("caption", recordings / "1.wav", env={"EDGECAP_SOUNDS": str(folder[1])})
    assert plain.stdout == f"{document['text']}\n"
    assert "our doorbell" in plain.stdout
    exported = edgecap("sounds", "export", "our doorbell", recordings, *folder).stdout.strip()
    assert edgecap("sounds", "import", exported, "--name", "bell", *folder).stdout == "bell: imported\n"
    assert edgecap("sounds", "remove", "bell", "our doorbell", *folder).returncode == 0
    assert "no sounds in" in edgecap("sounds", *folder).stderr


def test_a_name_may_be_in_any_script(edgecap: Edgecap, recordings: Path) -> None:
    env = {"EDGECAP_SOUNDS": str(recordings / "sounds")}
    name = "زنگ خانه\u200cمان"
    done = edgecap("teach", name, recordings / "1.wav", recordings / "2.wav", "--false-alarms", "1/hour", env=env)
    assert (done.returncode, done.stdout) == (0, f"{name}: learnt from 2 examples\n")
    assert name in edgecap("sounds", env=env).stdout
    captioned = edgecap("caption", recordings / "1.wav", env=env).stdout
    assert captioned.startswith(f"{name} is heard while ")
    assert edgecap("sounds", "rename", name, "呼び鈴", env=env).returncode == 0
    assert edgecap("caption", recordings / "1.wav", env=env).stdout.startswith("呼び鈴 is heard while ")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["teach", "x"], 2, "there is nothing to learn from"),
        (["teach", "a\tb", "1.wav"], 2, "the name of a sound has 1 to 60 printable characters"),
        (["teach", "\u202ellebrood", "1.wav"], 2, "the name of a sound has 1 to 60 printable characters"),
        (["teach", "x", "1.wav", "--false-alarms", "never"], 2, "invalid rate 'never'"),
        (["teach", "x", "none.wav"], 3, "none.wav"),
        (["teach", "x", "1.wav", "rasp.wav"], 12, "do not resemble each other"),
        (["sounds", "rename", "x", "y"], 12, "there is no sound called 'x'"),
        (["sounds", "import", "1.wav"], 12, "1.wav is damaged (BadZipFile); name one that edgecap sounds export wrote"),
        (
            ["sounds", "import", "none.sound"],
            12,
            "there is no file none.sound; name one that edgecap sounds export wrote",
        ),
        (["sounds", "--json", "remove", "x"], 2, "options go behind the command"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    edgecap: Edgecap, recordings: Path, arguments: list[str], code: int, words: str
) -> None:
    done = edgecap(*arguments, cwd=recordings, env={"EDGECAP_SOUNDS": str(recordings / "sounds")})
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgecap: error: ")
    assert words in line
    assert not (recordings / "sounds").exists()


@pytest.fixture
def learnt(recordings: Path) -> Path:
    """The same folder, in which `sounds` holds the sound "bell"."""
    for name, sound in (("3", chime(3)), ("4", chime(4)), ("silence", 0 * chime())):
        soundfile.write(recordings / f"{name}.wav", sound, RATE)
    soundfile.write(recordings / "room.wav", np.random.default_rng(0).normal(0.0, 0.002, 5 * RATE), RATE)
    taught = read_examples(shipped_captioner(), [recordings / f"{number}.wav" for number in range(1, 4)])
    teach_sound(shipped_captioner(), SoundStore(recordings / "sounds"), TeachRequest("bell"), taught)
    return recordings


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gong", "silence.wav"], 3, "silence.wav is silent (-120 dBFS), so there is nothing to learn"),
        (["gong", "1.wav", "2.wav", "room.wav", "3.wav"], 12, "room.wav does not resemble the other examples"),
        (["gong", "1.wav", "rasp.wav", "2.wav", "3.wav"], 12, "rasp.wav does not resemble the other examples"),
        (["bell", "--more", "rasp.wav"], 12, "rasp.wav does not resemble the other examples"),
        (
            ["gong", "3.wav", "4.wav"],
            2,
            "'gong' is too much like 'bell': 2 of its 2 examples are taken for that, and 3",
        ),
        (["Bell!", "4.wav"], 2, "there is a sound called 'Bell!' already"),
        (["gong", "rasp.wav"], 7, "gong.sound"),
        (["bell", "--force", "rasp.wav"], 7, "bell.sound"),
    ],
)
def test_whatever_fails_what_was_learnt_before_stays(
    edgecap: Edgecap, learnt: Path, arguments: list[str], code: int, words: str
) -> None:
    before = {path.name: path.read_bytes() for path in (learnt / "sounds").iterdir()}
    full = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))) if code == 7 else None
    done = edgecap("teach", *arguments, cwd=learnt, env={"EDGECAP_SOUNDS": str(learnt / "sounds")}, preexec_fn=full)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgecap: error: ")
    assert words in line
    assert {path.name: path.read_bytes() for path in (learnt / "sounds").iterdir()} == before


def test_a_damaged_file_is_told_by_each_command_and_the_others_count(edgecap: Edgecap, learnt: Path) -> None:
    env = {"EDGECAP_SOUNDS": str(learnt / "sounds")}
    (learnt / "sounds" / "gong.sound").write_bytes(b"damaged")
    for arguments, code in ((("sounds",), 12), (("caption", learnt / "4.wav"), 0)):
        done = edgecap(*arguments, env=env)
        assert (done.returncode, "bell" in done.stdout) == (code, True)
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"edgecap: warning: {learnt / 'sounds' / 'gong.sound'} is damaged")
    assert "there is a sound called 'gong' already" in edgecap("teach", "gong", learnt / "rasp.wav", env=env).stderr
    assert edgecap("teach", "gong", learnt / "rasp.wav", "--force", env=env).returncode == 0
    assert edgecap("sounds", env=env).returncode == 0
