"""Text of bundles, files and devices reaches no terminal, file or program as more than text."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from edgecap.bundle.bundle import BundleContent, load_bundle, vocabulary_content, write_bundle
from edgecap.bundle.manifest import Licence
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import ListenConfig, OutputConfig, SourceConfig
from edgecap.util.files import to_json
from edgecap.util.text import clean
from support.signals import RATE, noise, tone

Run = Callable[..., subprocess.CompletedProcess[str]]
EVIL = "\x1b[2J\x9b31m\r\n\u2028=\0\ud800"
"""Escape sequences of two kinds, line breaks of three, a formula, a zero byte, half a character."""
NAMES = [b"a\xff\xfe.wav", b"b\x1b[31m\nx.wav", "c\x9b31m\u2028.wav".encode()]


def is_clean(text: str) -> bool:
    return all(line.isprintable() for line in text.removesuffix("\n").split("\n"))


@pytest.fixture(scope="module")
def evil(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose hashes are right and whose words are not."""
    bundle = load_bundle(tiny_folder)
    folder = tmp_path_factory.mktemp("home") / "models" / "evil"
    contents: list[BundleContent] = [
        vocabulary_content(
            [*bundle.vocabulary[:4], *(f"{word}\u001b[2J\u009b31m\n1\n=" for word in bundle.vocabulary[4:])]
        )
        if entry.role == "vocabulary"
        else BundleContent(entry.name, entry.role, bundle.folder / entry.name)
        for entry in bundle.manifest.files
    ]
    licence = Licence(name="\x1b]0;a\x07CC", notice="two\nlines\x9b")
    silence = replace(bundle.manifest.silence, caption="\x1b[2Jsilence\n")
    write_bundle(folder, replace(bundle.manifest, name="evil", licence=licence, silence=silence), contents)
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = noise(12, level=10 ** (-72 / 20))
    samples[3 * RATE : 6 * RATE] += tone(3)
    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    soundfile.write(path, samples, RATE)
    return path


def test_the_words_of_a_bundle_are_cleaned_when_it_is_read(evil: Path) -> None:
    bundle = load_bundle(evil)
    assert all(word.isprintable() for word in bundle.vocabulary)
    assert bundle.vocabulary[4] == r"a\x1b[2J\x9b31m 1 ="
    assert bundle.manifest.licence.notice == r"two lines\x9b"


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["caption"], ["caption", "--json"]])
def test_no_escape_sequence_of_a_bundle_is_printed(edgecap: Run, evil: Path, sound: Path, arguments: list[str]) -> None:
    more = ["-m", evil, sound] if arguments[0] == "caption" else []
    done = edgecap(*arguments, *more, env={"EDGECAP_HOME": str(evil.parents[1])})
    assert done.returncode == 0, done.stderr
    assert is_clean(done.stdout), done.stdout
    assert is_clean(done.stderr), done.stderr
    assert ("evil" if arguments[0] == "models" else r"\x1b[2J") in done.stdout.replace("\\\\", "\\")


def test_no_words_of_a_bundle_forge_lines_cues_or_formulas(
    edgecap: Run, evil: Path, sound: Path, tmp_path: Path
) -> None:
    name = tmp_path / "=1+1\n\x1b[2J.wav"
    name.symlink_to(sound)
    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "srt", "vtt", "journal")}
    done = edgecap(
        *("listen", "-m", evil, "--file", name, "--speed", 0, "--min-score", -99, "--plain", "--updates"),
        *(word for kind, path in outputs.items() for word in (f"--{kind}", path)),
        *("--exec", f'cat > "{tmp_path}/in"; env > "{tmp_path}/env"', "--keep-audio", tmp_path / "kept"),
    )
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, done.stderr, *(outputs[kind].read_text() for kind in ("csv", "srt", "vtt"))):
        assert is_clean(text), text
    with outputs["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"][-9:] for row in rows] == [r"\x1b[2J.wav"[-9:]]
    assert outputs["srt"].read_text().count(" --> ") == 1
    assert len(outputs["srt"].read_text().splitlines()) == 4
    database = sqlite3.connect(outputs["journal"])
    ((text, source),) = database.execute("SELECT text, source FROM events").fetchall()
    database.close()
    assert text.isprintable()
    assert source.isprintable()
    assert json.loads((tmp_path / "in").read_text())["source"] == source
    environment = (tmp_path / "env").read_text()
    assert f"\nEDGECAP_SOURCE={source}\n" in environment
    assert is_clean(environment)


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_captioned_and_listened_to(
    edgecap: Run, tiny_folder: Path, sound: Path, tmp_path: Path, name: bytes
) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(sound.read_bytes())
    done = edgecap("caption", "-m", tiny_folder, "--json", path)
    assert done.returncode == 0, done.stderr
    assert is_clean(done.stdout)
    assert {json.loads(line)["file"] for line in done.stdout.splitlines()} == {str(path)}
    done = edgecap("caption", "-m", tiny_folder, path, sound)
    assert (done.returncode, is_clean(done.stdout)) == (0, True)
    done = edgecap(
        *("listen", "-m", tiny_folder, "--file", path, "--speed", 0, "--min-score", -99, "--json"),
        *("--exec", f'cat >> "{tmp_path}/in"', "--hook-on", "both", "--journal", tmp_path / "a.db"),
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["kind"] for document in printed] == ["begin", "end"]
    assert [json.loads(line) for line in (tmp_path / "in").read_text().splitlines()] == printed
    assert {document["source"] for document in printed} == {clean(str(path))}


def test_json_is_safe_to_show_and_says_what_it_said() -> None:
    document = {"a": EVIL, "b": "ä 犬 😀", EVIL: [EVIL, "\U000e0001"]}
    text = to_json(document)
    assert text.isprintable()
    assert json.loads(text) == document
    assert "ä 犬 😀" in text


def test_a_configuration_with_odd_names_is_read_back_and_one_that_is_not_text_refused(
    edgecap: Run, tmp_path: Path
) -> None:
    odd = ListenConfig(
        source=SourceConfig(file='a"\\\x1b\x7f\x9b\n\u2028\U000e0001.wav'), output=OutputConfig(csv="ä'")
    )
    (tmp_path / "a.toml").write_text(render_config(odd))
    assert is_clean((tmp_path / "a.toml").read_text())
    assert load_config(tmp_path / "a.toml") == odd
    done = edgecap("listen", "--print-config", "--file", os.fsdecode(b"a\xff"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "not UTF-8" in done.stderr


@pytest.mark.parametrize("key", ["output.journal", "output.csv", "output.keep_audio", "output.exec", "source.file"])
def test_a_zero_byte_in_the_configuration_is_refused_with_its_line(edgecap: Run, tmp_path: Path, key: str) -> None:
    section, _, name = key.partition(".")
    (tmp_path / "a.toml").write_text(f'[{section}]\n{name} = "a\\u0000b"\n')
    done = edgecap("listen", "-c", tmp_path / "a.toml")
    assert done.returncode == 2
    assert f"a.toml:2: {key} must not hold a zero byte" in done.stderr
