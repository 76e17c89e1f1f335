"""A bundle is read only if every byte is as listed, and written as a whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgecap
from edgecap.bundle import manifest
from edgecap.bundle.bundle import BundleContent, load_bundle, vocabulary_content, write_bundle
from edgecap.bundle.manifest import FORMAT_VERSION, Provenance, manifest_schema, parse_manifest, render_manifest
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, IntegrityError, ManifestError, OutputError
from support.signals import RATE, noise
from support.tiny_model import WORDS, random_weights, tiny_contents, tiny_manifest, write_tiny_bundle

PACKAGE = Path(edgecap.__file__).parent


@pytest.fixture
def bundle(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of a good bundle, to be spoiled."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_tiny_bundle(tmp_path / "one")
    assert load_bundle(tmp_path / "one") == written
    assert written.vocabulary == tuple(WORDS)
    assert written.size == sum(path.stat().st_size for path in written.folder.iterdir() if path.name != "manifest.json")
    assert written.path("encode").read_bytes() == tiny_contents(random_weights(6))[0].data


def test_a_manifest_survives_rendering_and_parsing(tiny_folder: Path) -> None:
    written = load_bundle(tiny_folder).manifest
    assert parse_manifest(render_manifest(written)) == written


def test_a_flipped_byte_is_found_in_any_listed_file(bundle: Path) -> None:
    for name in ("encode.onnx", "decode.onnx", "vocabulary.json"):
        good = (bundle / name).read_bytes()
        for place in (0, len(good) // 2, len(good) - 1):
            (bundle / name).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(IntegrityError, match=rf"{name} was changed"):
                load_bundle(bundle)
        (bundle / name).write_bytes(good)
    load_bundle(bundle)


def test_a_file_of_another_size_is_reported_with_its_size(bundle: Path) -> None:
    with (bundle / "encode.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match=r"encode\.onnx has \d+ bytes and the manifest says"):
        load_bundle(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "decode.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"decode\.onnx is missing"):
        load_bundle(bundle)


def test_a_file_that_is_not_listed_is_refused_and_a_hidden_one_is_not(bundle: Path) -> None:
    (bundle / ".DS_Store").write_bytes(b"")
    load_bundle(bundle)
    (bundle / "weights.bin").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"weights\.bin is not listed"):
        load_bundle(bundle)


def test_a_link_out_of_the_folder_is_refused_although_the_bytes_are_right(bundle: Path, tmp_path: Path) -> None:
    (bundle / "encode.onnx").rename(tmp_path / "outside.onnx")
    (bundle / "encode.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(IntegrityError, match="leads outside"):
        load_bundle(bundle)


def test_a_link_to_itself_is_refused(bundle: Path) -> None:
    (bundle / "encode.onnx").unlink()
    (bundle / "encode.onnx").symlink_to("encode.onnx")
    with pytest.raises(IntegrityError, match=r"encode\.onnx (is a link that leads to itself|cannot be read)"):
        load_bundle(bundle)


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(bundle: Path) -> None:
    (bundle / "encode.onnx").unlink()
    os.mkfifo(bundle / "encode.onnx")
    with pytest.raises(IntegrityError, match="not a plain file"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../encode.onnx", "/etc/passwd", "sub/encode.onnx", "..", "a\\b"])
def test_a_path_in_the_manifest_is_refused(bundle: Path, name: str) -> None:
    edit(bundle, lambda document: document["files"][0].update(name=name))
    with pytest.raises(ManifestError, match="a path"):
        load_bundle(bundle)


def test_a_newer_format_version_is_refused_before_anything_else(bundle: Path) -> None:
    newer = FORMAT_VERSION + 1
    edit(bundle, lambda document: document.update(format_version=newer, news=1, files=None))
    with pytest.raises(ManifestError, match=rf"format version {newer} and this .* install a newer edgecap from"):
        load_bundle(bundle)


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_a_stored_manifest_of_every_version_that_is_read_goes_on_loading(version: int, tmp_path: Path) -> None:
    stored = json.loads((Path(__file__).parent / "data" / f"manifest-v{version}.json").read_text())
    assert stored["format_version"] == version
    folder = write_tiny_bundle(tmp_path / "old").folder
    stored["files"] = json.loads((folder / "manifest.json").read_text())["files"]
    (folder / "manifest.json").write_text(json.dumps(stored))
    captioner = Captioner.load(folder, threads=1)
    tiny = tiny_manifest("old")
    assert captioner.manifest == replace(
        tiny,
        front_end=replace(tiny.front_end, clip_level=stored["front_end"].get("clip_level")),
        files=captioner.manifest.files,
        provenance=Provenance(source="random weights", created_by="edgecap 0.1.0"),
    )
    assert captioner.caption(noise(2), RATE).text


def test_an_older_version_is_upgraded_step_by_step_until_it_is_dropped(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_bundle(bundle).manifest
    edit(bundle, lambda document: document.update(format_version=1, quiet=document.pop("silence")))

    def rename(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda document: {new if key == old else key: value for key, value in document.items()}

    monkeypatch.setattr(manifest, "FORMAT_VERSION", 3)
    monkeypatch.setattr(manifest, "UPGRADES", {1: rename("quiet", "hush"), 2: rename("hush", "silence")})
    assert load_bundle(bundle).manifest == replace(expected, format_version=3)
    monkeypatch.setattr(manifest, "UPGRADES", {2: rename("hush", "silence")})
    with pytest.raises(ManifestError, match=r"version 1, which this edgecap no longer reads \(only 2 to 3\)"):
        load_bundle(bundle)


SPOILT: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("an unknown key", lambda d: d.update(colour="red"), r": colour;"),
    ("an unknown key inside", lambda d: d["encoder"].update(colour="red"), r": encoder\.colour;"),
    ("a missing key", lambda d: d.pop("licence"), "licence"),
    (
        "another type",
        lambda d: d["decoder"].update(layers="two"),
        r"decoder\.layers must be a whole number from 1 to 64",
    ),
    (
        "a negative size",
        lambda d: d["files"][0].update(size=-1),
        r"files\[0\]\.size must be .* from 0 to 4294967296, not -1",
    ),
    ("a window longer than its transform", lambda d: d["front_end"].update(win_length=1024), r"front_end .*win_length"),
    ("bands upside down", lambda d: d["front_end"].update(f_min=8000.0), r"front_end .*f_min"),
    ("an unknown runtime", lambda d: d.update(runtime="abacus"), "does not know the runtime"),
    ("a hash that is none", lambda d: d["files"][0].update(sha256="0"), r"files\[0\]\.sha256 must be 64 hex"),
    ("a file listed twice", lambda d: d["files"].append(d["files"][0]), "may not list"),
    ("the manifest itself", lambda d: d["files"][0].update(name="manifest.json"), "may not list"),
    ("no encoder", lambda d: d["files"][0].update(role="other"), "0 files of role 'encode'"),
    ("fewer memory frames", lambda d: d["encoder"].update(memory_frames=29), "1001 frames, 32 a .* do not make 29 of"),
    ("longer memory frames", lambda d: d["encoder"].update(frames_per_memory=64), "1001 frames, 64 a .* make 32 of"),
    ("more beams than the graph", lambda d: d["decoder"].update(beams=2), "default_beam is 3 and the graph has 2"),
    ("a vocabulary of another size", lambda d: d["vocabulary"].update(size=7), "24 words, the manifest says 7"),
    ("a special token outside", lambda d: d["vocabulary"].update(end=24), "special ids"),
    ("a version that is none", lambda d: d.update(format_version="1"), "no valid format_version but '1'"),
    ("another format", lambda d: d.update(format="zip"), "not of an edgecap bundle"),
]


@pytest.mark.parametrize(("change", "place"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_a_spoilt_manifest_is_refused_with_the_place(
    bundle: Path, change: Callable[[dict[str, Any]], object], place: str
) -> None:
    edit(bundle, change)
    with pytest.raises(ManifestError, match=place) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b" " * 2_000_000])
def test_a_file_that_is_not_a_manifest_is_refused(bundle: Path, text: bytes) -> None:
    (bundle / "manifest.json").write_bytes(text)
    with pytest.raises(ManifestError):
        load_bundle(bundle)


@pytest.mark.parametrize("vocabulary", [b"{}", b"[1, 2]", b"not json"])
def test_a_vocabulary_that_is_not_a_list_of_words_is_refused(tmp_path: Path, vocabulary: bytes) -> None:
    contents = [*tiny_contents(random_weights())[:2], BundleContent("vocabulary.json", "vocabulary", vocabulary)]
    with pytest.raises(ManifestError, match=r"vocabulary\.json"):
        write_bundle(tmp_path / "bad", tiny_manifest(), contents)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no bundle at"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="cannot be read"):
        load_bundle(tmp_path)


def test_writing_replaces_a_bundle_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "one", seed=1)
    (tmp_path / "empty").mkdir()
    assert write_tiny_bundle(tmp_path / "one", seed=2) == load_bundle(tmp_path / "one")
    write_tiny_bundle(tmp_path / "empty", seed=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "one"]


def test_writing_replaces_nothing_but_bundles(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    for name in ("thesis", "file"):
        with pytest.raises(OutputError, match="not a bundle"):
            write_tiny_bundle(tmp_path / name)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thesis"]


def test_a_failed_replacement_keeps_the_bundle_that_was_there(tmp_path: Path) -> None:
    before = write_tiny_bundle(tmp_path / "one", seed=1)
    contents = [*tiny_contents(random_weights(2))[:2], vocabulary_content(["a"])]
    with pytest.raises(ManifestError):
        write_bundle(tmp_path / "one", tiny_manifest(), contents)
    assert load_bundle(tmp_path / "one") == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_content_with_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no folders inside"):
        write_bundle(tmp_path / "one", tiny_manifest(), [BundleContent("../evil", "other", b"")])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    # A limit on the size of files makes the kernel refuse the write, as a full disk does.
    script = """
import resource, signal, sys
from pathlib import Path
from support.tiny_model import write_tiny_bundle
from edgecap.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    write_tiny_bundle(Path(sys.argv[1]) / "one")
except OutputError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_published_schema_is_the_one_the_code_reads_by() -> None:
    published = json.loads((PACKAGE / "bundle" / "bundle.schema.json").read_text())
    assert published == manifest_schema(), (
        "write it again: python -c 'import json; from edgecap.bundle.manifest import manifest_schema; "
        "print(json.dumps(manifest_schema(), indent=2))' > runtime/edgecap/bundle/bundle.schema.json"
    )


def test_the_default_front_end_is_accepted_without_being_written_out(bundle: Path) -> None:
    before = load_bundle(bundle).manifest
    edit(bundle, lambda document: document.update(front_end={}))
    assert load_bundle(bundle).manifest == before


def test_a_checkpoint_in_place_of_a_bundle_is_told_with_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "student.safetensors").write_bytes(b"weights")
    (tmp_path / "other.pt").write_bytes(b"weights")
    for name in ("student.safetensors", "other.pt"):
        with pytest.raises(ManifestError, match=rf"{name} is a checkpoint, not a bundle; type: .* import .*{name}"):
            load_bundle(tmp_path / name)
    with pytest.raises(ManifestError, match=r"is a training run, not a bundle; type: edgecap import"):
        load_bundle(tmp_path)
