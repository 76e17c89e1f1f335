"""`edgecap export`: from a model to a smaller one that captions, and one line for whatever cannot be exported."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import soundfile
import torch
from published_layout import words

from edgecap.bundle import BundleContent, load_bundle, write_bundle
from edgecap.captioner import Captioner
from edgecap.cli import run
from edgecap.frontend import FrontEnd
from edgecap_export import exports
from edgecap_export.recipes import INT8, parse_recipe
from edgecap_export.verify import Tolerances, sounds
from edgecap_train.checkpoint import save_student
from edgecap_train.student import Student, StudentConfig

SIZE = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with recordings, a checkpoint and the bundle "full" that carries float weights and ranges."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "recordings").mkdir()
    for number, sound in enumerate(sounds(16_000, 10.0)):
        soundfile.write(folder / "recordings" / f"{number}.wav", sound, 16_000)
    torch.manual_seed(1)
    front_end = FrontEnd(win_length=400, power=1, f_min=125.0, f_max=7500.0, mel_slopes="mel", compression="log")
    student = Student(StudentConfig(encoder="yamnet", front_end=front_end, vocabulary_size=SIZE, d_model=64, layers=1,
                                    feed_forward=64, max_tokens=6)).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in student.encoder.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        student.decoder.embedding.weight.mul_(8)
    save_student(folder / "own.safetensors", student, tuple(words(SIZE)), {"cider_d": "0.7", "recipe": "none"})
    (folder / "card.md").write_text("# A card\n")
    arguments = ["import", "own.safetensors", "-o", "full", "--weights", "--card", "card.md"]
    arguments += ["--calibration", "recordings"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def int8(made) -> Path:
    assert run(["export", str(made / "full"), "--int8", "-o", str(made / "int8")]) == 0
    return made / "int8"


def test_an_imported_bundle_carries_weights_ranges_card_and_metrics(made):
    manifest = load_bundle(made / "full").manifest
    files = {entry.name: entry for entry in manifest.files}
    assert files["student.safetensors"].role == "weights"
    assert files["student.safetensors"].size < 0.55 * (made / "own.safetensors").stat().st_size
    assert "ranges.json" in files
    assert (made / "full" / "MODEL_CARD.md").read_text() == "# A card\n"
    assert manifest.metrics == {"cider_d": 0.7}


def test_an_int8_bundle_runs_at_once_and_is_a_third_of_the_size(made, int8, edgecap):
    graphs = ("encode.onnx", "decode.onnx")
    before, after = (sum((folder / name).stat().st_size for name in graphs) for folder in (made / "full", int8))
    assert after < 0.33 * before
    done = edgecap("caption", "--model", int8, made / "recordings" / "0.wav")
    assert done.returncode == 0, done.stderr
    assert Captioner.load(int8, threads=1).manifest.precision == "int8"


def test_the_bundle_says_by_which_recipe_and_the_report_what_was_measured(int8):
    manifest = load_bundle(int8).manifest
    assert parse_recipe(manifest.provenance.details["recipe"]) == INT8
    assert "cider_d" not in manifest.metrics  # measured on the float model, not on this one
    report = json.loads((int8 / "report.json").read_text())
    kinds = [node.op_type for node in onnx.load(int8 / "encode.onnx").graph.node]
    assert report["operators"]["encode: QLinearConv (int8)"] == kinds.count("QLinearConv") == 26
    assert len(report["layers"]) == 26
    assert list(report["stays_float"].values()) == ["plain convolutions stay in float in this recipe"]
    assert {stage["name"] for stage in report["stages"]} == {"front end", "encoder", "search", "caption"}
    assert 0 <= report["same_captions"] <= 1
    assert report["differences"]["clip_embedding"] > 1e-4


def test_explaining_ranks_the_layers_and_writes_nothing(made, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(made / "full"), "--int8", "--explain", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    errors = [layer["error"] for layer in document["layers"]]
    assert len(errors) == 26
    assert errors == sorted(errors, reverse=True)
    assert document["float"]
    assert list(tmp_path.iterdir()) == []


def test_what_fails_its_verification_is_not_written_unless_forced(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(exports.TOLERANCES, "fp16", Tolerances(encode=1e-9, decode=1e-9))
    monkeypatch.setattr("edgecap_export.verify.ROUNDING", 0.0)
    arguments = ["export", str(made / "own.safetensors"), "--fp16", "-o", str(tmp_path / "half")]
    assert run(arguments) == 9
    message = capsys.readouterr().err.splitlines()[-1]
    assert "output 'cross_keys'" in message
    assert "is allowed" in message
    assert list(tmp_path.iterdir()) == []
    assert run([*arguments, "--force", "--json"]) == 0
    printed = capsys.readouterr()
    assert "written although output 'cross_keys'" in printed.err
    assert "cross_keys" in json.loads(printed.out)["report"]["failure"]
    manifest = load_bundle(tmp_path / "half").manifest
    assert manifest.precision == "fp16"
    assert "cross_keys" in manifest.provenance.details["verification failed"]


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--runtime", "tpu"], 2, "'tpu' is no runtime"),
        (["--front-end", "beside", "--int8"], 2, "'beside' is no place"),
        (["--int4"], 2, "--int4"),
        (["--int8", "-o", "recordings"], 7, "exists"),
        (["own.safetensors", "--int8"], 1, "--calibration"),
        (["own.safetensors", "--int8", "--calibration", "nowhere"], 3, "no folder nowhere"),
        (["own.safetensors", "--int8", "--calibration", "empty"], 3, "no recordings"),
        (["--fp32", "--explain"], 1, "add --int8"),
        (["no/such"], 4, "no bundle at"),
        (["int8", "--fp16"], 4, "no float weights"),
        (["card.safetensors"], 8, "safetensors"),
    ],
)
def test_what_cannot_be_exported_gets_one_line_and_leaves_nothing(  # noqa: PLR0917
    made, int8, capsys, monkeypatch, arguments, code, what
):
    monkeypatch.chdir(made)
    (made / "empty").mkdir(exist_ok=True)
    (made / "card.safetensors").write_text("no weights")
    monkeypatch.setattr(exports, "onnx_graphs", lambda *_: None)  # no error here needs the graphs, which take seconds
    if not any(argument in ("own.safetensors", "no/such", "int8", "card.safetensors") for argument in arguments):
        arguments = ["./full", *arguments]
    before = sorted(made.rglob("*"))
    assert run(["export", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert what in printed.err
    assert sorted(made.rglob("*")) == before


def test_ranges_of_other_weights_are_refused(made, tmp_path, capsys):
    bundle = load_bundle(made / "full")
    contents = [BundleContent(entry.name, entry.role, bundle.folder / entry.name) for entry in bundle.manifest.files]
    text = (made / "full" / "ranges.json").read_bytes().replace(b'"weights": "', b'"weights": "other')
    contents = [replace(item, data=text) if item.name == "ranges.json" else item for item in contents]
    write_bundle(tmp_path / "mixed", bundle.manifest, contents)
    assert run(["export", str(tmp_path / "mixed"), "--int8", "-o", str(tmp_path / "new")]) == 4
    assert "measured on other weights" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mixed"]


def test_a_folder_that_cannot_be_written_leaves_nothing(made, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run(["export", str(made / "full"), "-o", str(tmp_path / "file" / "new")]) == 7
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_torch_the_command_says_what_to_install(edgecap, tmp_path):
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    paths = [str(tmp_path / "lacking"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = edgecap("export", "--int8", "-o", tmp_path / "new", env={"PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 5
    assert 'pip install "edgecap[export]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()
