"""`edgecap import`: from a checkpoint's file to captions, and one line for whatever cannot be imported."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.bundle.bundle import load_bundle
from edgecap.captioner import Captioner
from edgecap.cli import run
from edgecap_export.bundle import bundles
from edgecap_export.graphs.verify import sounds
from edgecap_train.checkpoints.checkpoint import load_checkpoint, save_student
from edgecap_train.models.search import search
from support.published_layout import (
    DEC,
    SHARED,
    needs_shared,
    random_checkpoint,
    words,
    write_checkpoint,
    write_vocabulary,
)
from support.small_student import SIZE, small_student, small_yamnet

Edgecap = Callable[..., subprocess.CompletedProcess[str]]
Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors, Path], object]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return random_checkpoint(SIZE)


@pytest.fixture
def checkpoint(tensors: Tensors, tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model.safetensors", tensors)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    return write_vocabulary(tmp_path / "words.json", SIZE)


@pytest.fixture(scope="module")
def files(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published checkpoint, its vocabulary and the bundle "mine" that the command made of them."""
    folder = tmp_path_factory.mktemp("import")
    checkpoint = write_checkpoint(folder / "model.safetensors", tensors)
    vocabulary = write_vocabulary(folder / "words.json", SIZE)
    assert run(["import", str(checkpoint), "--vocabulary", str(vocabulary), "-o", str(folder / "mine")]) == 0
    return folder


def test_an_imported_checkpoint_captions_as_in_pytorch(files: Path, edgecap: Edgecap, tmp_path: Path) -> None:
    student = load_checkpoint(files / "model.safetensors", files / "words.json").student
    clips = list(sounds(16_000, 10.0))
    paths = [tmp_path / f"{number}.wav" for number in range(len(clips))]
    for path, clip in zip(paths, clips, strict=True):
        soundfile.write(path, clip, 16_000, subtype="FLOAT")
    captions = edgecap("caption", "--json", "--model", files / "mine", *paths)
    assert captions.returncode == 0, captions.stderr
    for clip, line in zip(clips, captions.stdout.splitlines(), strict=True):
        with torch.inference_mode():
            memory = student.encode(torch.from_numpy(log_mel(clip, FrontEnd()))[None])
        best = search(student, memory, torch.tensor([31]), beam=3)[0]
        assert tuple(json.loads(line)["beams"][0]["tokens"]) == best.tokens


def test_the_bundle_says_where_it_comes_from(files: Path) -> None:
    manifest = load_bundle(files / "mine").manifest
    assert (manifest.name, manifest.decoder.search) == ("mine", "in-graph")
    assert manifest.licence.name == "Apache-2.0"
    assert "model.safetensors" in manifest.provenance.source
    assert manifest.provenance.sha256 == hashlib.sha256((files / "model.safetensors").read_bytes()).hexdigest()


def test_batch_norms_are_folded_and_no_weight_is_stored_twice(files: Path) -> None:
    kinds = {node.op_type for node in onnx.load(files / "mine" / "encode.onnx").graph.node}
    assert not kinds & {"BatchNormalization", "Pad", "IsNaN"}
    student = load_checkpoint(files / "model.safetensors", files / "words.json").student
    parameters = sum(parameter.numel() for parameter in student.parameters()) + student.decoder.positions.numel()
    assert load_bundle(files / "mine").size < 4 * parameters + 200_000


@needs_shared
def test_the_ten_second_fixture_comes_out_token_for_token(imported_parity: Path) -> None:
    captioner = Captioner.load(imported_parity / "imported", threads=1)
    with np.load(SHARED / "parity" / "expected-1.npz") as fixtures:
        for beam, name in ((1, "greedy"), (3, "beam")):
            caption = captioner.caption(fixtures["noise_10s/waveform"], 16_000, beam=beam)
            assert list(caption.beams[0].tokens) == fixtures[f"noise_10s/{name}"].tolist()


def test_a_training_checkpoint_is_imported_with_a_warning_and_replaces_only_when_told(
    tensors: Tensors, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the encoder is that of the same weights; exporting and comparing it takes ten seconds
    monkeypatch.setattr(bundles, "onnx_encoder", lambda *_: (files / "mine" / "encode.onnx").read_bytes())
    monkeypatch.setattr(bundles, "verify_session", lambda *_, **__: ())
    kept = {
        name: value
        for name, value in tensors.items()
        if name not in (DEC + "classifier.weight", DEC + "pos_encoder.pe")
    }
    state = {name.removeprefix("model."): value for name, value in kept.items()}
    path, target = tmp_path / "best.pth", tmp_path / "there"
    torch.save({"model": state, "tokenizer": {word: index for index, word in enumerate(words(SIZE))}}, path)
    target.mkdir()
    (target / "manifest.json").write_text('{"format": "edgecap-bundle"}')
    arguments = ["import", str(path), "-o", str(target), "--name", "renamed", "--licence", "MIT", "--json"]
    assert run(arguments) == 7
    assert "--force" in capsys.readouterr().err
    assert run([*arguments, "--force"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["name"] == "renamed"
    assert document["bytes"] > 30e6
    assert "pos_encoder.pe" in document["notes"][0]
    assert "warning" in printed.err
    manifest = load_bundle(target).manifest
    assert (manifest.name, manifest.licence.name) == ("renamed", "MIT")
    assert "sinusoids" in manifest.provenance.details["assumed"]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A checkpoint of a small student of our own."""
    path = tmp_path / "own.safetensors"
    save_student(path, small_student(1, layers=1), tuple(words(SIZE)), {"recipe": "none", "licence": "CC0-1.0"})
    with small_yamnet():
        yield path


def test_our_own_checkpoint_brings_its_metadata(own: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(own), "-o", str(tmp_path / "own model")]) == 0
    printed = capfd.readouterr()
    assert printed.out == f"{tmp_path / 'own model'}\n"
    assert len(printed.err.splitlines()) == 1
    manifest = load_bundle(tmp_path / "own model").manifest
    assert manifest.name == "own-model"
    assert manifest.encoder.architecture == "yamnet"
    assert manifest.licence.name == "CC0-1.0"
    assert manifest.provenance.details["recipe"] == "none"


def test_a_clip_level_makes_captions_independent_of_the_gain(own: Path, tmp_path: Path) -> None:
    assert run(["import", str(own), "-o", str(tmp_path / "levelled"), "--clip-level", "5"]) == 0
    captioner = Captioner.load(tmp_path / "levelled", threads=1)
    assert captioner.manifest.front_end.clip_level == 5.0
    assert captioner.manifest.silence.threshold_dbfs == -75.0
    loud = np.random.default_rng(8).normal(0, 0.2, 32_000).astype(np.float32)
    captions = [captioner.caption(loud * gain, 16_000) for gain in (1.0, 0.1, 0.005)]
    assert len({caption.text for caption in captions}) == 1
    assert captions[0].score == pytest.approx(captions[2].score, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t, path: write_checkpoint(path, {k: v for k, v in t.items() if "attn_proj.3" not in k}), "attn_proj.3"),
        (lambda t, path: write_checkpoint(path, {**t, DEC + "attn_proj.0.bias": torch.zeros(3)}), "has shape (3,)"),
        (lambda t, path: path.write_text("not a checkpoint, really"), "not a complete safetensors file"),
        (lambda t, path: path.write_bytes(path.read_bytes()[:-1]), "not a complete safetensors file"),
        (lambda t, path: path.unlink(), "No such file"),
    ],
    ids=["missing tensor", "misshapen tensor", "text", "one byte short", "no file"],
)
def test_what_cannot_be_imported_gets_one_line_and_leaves_nothing(  # noqa: PLR0917
    tensors: Tensors,
    checkpoint: Path,
    vocabulary: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    what: str,
) -> None:
    change(tensors, checkpoint)
    before = sorted(tmp_path.rglob("*"))
    assert run(["import", str(checkpoint), "--vocabulary", str(vocabulary), "-o", str(tmp_path / "new")]) == 8
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert what in printed.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_checkpoint_without_a_vocabulary_says_what_to_type(
    tensors: Tensors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors", tensors)
    assert run(["import", str(checkpoint), "-o", str(tmp_path / "new")]) == 8
    assert "--vocabulary" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("os.fsync", full)
    assert run(["import", str(own), "-o", str(tmp_path / "new")]) == 7
    assert "No space left" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_manifests_refuse_is_a_wrong_command_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", str(checkpoint), "-o", str(tmp_path / "new"), "--name", "a/b"]) == 2
    assert "--name" in capsys.readouterr().err


def test_without_torch_the_command_is_listed_and_says_what_to_install(
    checkpoint: Path, edgecap: Edgecap, tmp_path: Path
) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    paths = [str(tmp_path / "lacking"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(paths)}
    assert "import " in edgecap("--help", env=environment).stdout
    assert edgecap("import", "--help", env=environment).returncode == 0
    done = edgecap("import", checkpoint, "-o", tmp_path / "new", env=environment)
    assert done.returncode == 5
    assert 'pip install ".[export]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
