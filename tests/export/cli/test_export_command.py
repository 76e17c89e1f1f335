"""`edgecap export`: from a model to a smaller one that captions, and one line for whatever cannot be exported."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.bundle import BundleContent, load_bundle, write_bundle
from edgecap.captioner import Captioner
from edgecap.cli import run
from edgecap_export import runtimes
from edgecap_export.bundle import bundles, exports
from edgecap_export.bundle.sources import open_source
from edgecap_export.graphs.onnx_export import onnx_graphs
from edgecap_export.graphs.verify import Tolerances, sounds
from edgecap_export.recipes import INT8, render_recipe
from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.evaluation.held_out import Score
from edgecap_train.models.student import Student, StudentConfig
from support.published_layout import words

SIZE = 60


@pytest.fixture(scope="module", autouse=True)
def graphs_are_made_once():
    """The float graphs of one student are the same each time; making them takes seconds."""
    made = {}

    def once(student, window):
        key = b"".join(tensor.numpy().tobytes() for tensor in student.state_dict().values())
        if key not in made:
            made[key] = onnx_graphs(student, window)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "onnx_graphs", once)
        patch.setattr(bundles, "onnx_graphs", once)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, graphs_are_made_once) -> Path:
    """A folder with recordings, a checkpoint and the bundle "full" that carries float weights and ranges."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "recordings").mkdir()
    for number, sound in enumerate(sounds(16_000, 10.0)):
        soundfile.write(folder / "recordings" / f"{number}.wav", sound, 16_000)
    torch.manual_seed(1)
    front_end = FrontEnd(win_length=400, power=1, f_min=125.0, f_max=7500.0, mel_slopes="mel", compression="log")
    student = Student(
        StudentConfig(
            encoder="yamnet",
            front_end=front_end,
            vocabulary_size=SIZE,
            d_model=64,
            layers=1,
            feed_forward=64,
            max_tokens=6,
        )
    ).eval()
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


def test_an_imported_bundle_with_halved_weights_is_half_the_size_and_says_the_same(made, edgecap):
    assert run(["import", str(made / "own.safetensors"), "-o", str(made / "halved"), "--half"]) == 0
    assert load_bundle(made / "halved").manifest.precision == "fp16"
    before, after = (
        sum((made / folder / name).stat().st_size for name in ("encode.onnx", "decode.onnx"))
        for folder in ("full", "halved")
    )
    assert after < 0.6 * before
    said = [
        edgecap("caption", "--model", made / folder, made / "recordings" / "0.wav").stdout
        for folder in ("full", "halved")
    ]
    assert said[0] == said[1]


def test_an_int8_bundle_runs_at_once_and_is_a_third_of_the_size(made, int8, edgecap):
    graphs = ("encode.onnx", "decode.onnx")
    before, after = (sum((folder / name).stat().st_size for name in graphs) for folder in (made / "full", int8))
    assert after < 0.33 * before
    done = edgecap("caption", "--model", int8, made / "recordings" / "0.wav")
    assert done.returncode == 0, done.stderr
    assert Captioner.load(int8, threads=1).manifest.precision == "int8"


def recipe_of(bundle: Path) -> object:
    """The recipe that a bundle's manifest says it was made by."""
    return json.loads(load_bundle(bundle).manifest.provenance.details["recipe"])


def test_the_bundle_says_by_which_recipe_and_the_report_what_was_measured(int8):
    manifest = load_bundle(int8).manifest
    assert recipe_of(int8) == json.loads(render_recipe(INT8))
    assert "cider_d" not in manifest.metrics  # measured on the float model, not on this one
    report = json.loads((int8 / "report.json").read_text())
    kinds = [node.op_type for node in onnx.load(int8 / "encode.onnx").graph.node]
    assert report["operators"]["encode: QLinearConv (int8)"] == kinds.count("QLinearConv") == 25
    assert report["operators"]["encode: MatMulIntegerToFloat (int8)"] == 1  # the last, whose answer is averaged
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
    monkeypatch.setattr("edgecap_export.graphs.verify.ROUNDING", 0.0)
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


def test_several_exports_go_into_one_folder_and_onto_one_page_that_needs_nothing_else(made, tmp_path, capsys):
    arguments = ["export", str(made / "full"), "--fp32", "--fp16", "-o", str(tmp_path / "all")]
    assert run([*arguments, "--report", str(tmp_path / "page.html"), "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)["exports"]
    assert [Path(item["bundle"]).name for item in exported] == ["full-onnx-fp32", "full-onnx-fp16"]
    assert [load_bundle(item["bundle"]).manifest.precision for item in exported] == ["fp32", "fp16"]
    assert exported[0]["report"]["same_tokens"] == 1.0
    half = exported[1]["report"]
    assert half["size_after"] < 0.55 * half["size_before"]
    page = (tmp_path / "page.html").read_text()
    worst = max(half["layers"], key=lambda layer: layer["error"])
    for text in ("full for onnx, fp32", "full for onnx, fp16", worst["node"], f"{worst['error']:.4f}", "caption, this"):
        assert text in page
    root = ElementTree.fromstring(page.removeprefix("<!doctype html>"))
    assert len(root.findall(".//{http://www.w3.org/2000/svg}svg")) == 3  # stages of both, layers of fp16
    assert not {"script", "link", "img", "iframe"} & {element.tag for element in root.iter()}


def test_one_export_that_fails_does_not_keep_the_others_from_it(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(exports.TOLERANCES, "fp16", Tolerances(encode=1e-9, decode=1e-9))
    monkeypatch.setattr("edgecap_export.graphs.verify.ROUNDING", 0.0)
    assert run(["export", str(made / "full"), "--fp16", "--int8", "-o", str(tmp_path)]) == 9
    printed = capsys.readouterr()
    assert "onnx in fp16: output 'cross_keys'" in printed.err
    assert "1 of 2 exports failed" in printed.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["full-onnx-int8"]


def references(made, folder) -> Path:
    """A CSV of the recordings with what the float model says of them as their captions."""
    captioner = Captioner.load(made / "full", threads=1)
    rows = [
        f"{path},{next(captioner.caption_file(path)).text},a different caption"
        for path in sorted((made / "recordings").iterdir())
    ]
    (folder / "said.csv").write_text("\n".join(["file,caption_1,caption_2", *rows]) + "\n")
    return folder / "said.csv"


def test_captions_are_scored_on_recordings_and_what_loses_too_much_is_not_written(made, tmp_path, capsys, monkeypatch):
    pytest.importorskip("aac_metrics")
    table = references(made, tmp_path)
    arguments = ["export", str(made / "full"), "--verify", str(table), "-o", str(tmp_path / "new")]
    assert run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    assert report["compared"] == 3
    assert report["same_tokens"] == report["same_captions"] == 1.0
    low, high = report["score_interval"]
    assert low <= report["score_after"] == report["score_before"] <= high
    assert load_bundle(tmp_path / "new").manifest.metrics["cider_d"] == report["score_after"]
    scores = iter([Score(0.5, 0.4, 0.6, 3), Score(0.52, 0.4, 0.6, 3)] * 2)  # this one's, and float32's
    monkeypatch.setattr(exports, "cider_d", lambda texts, references: next(scores))
    monkeypatch.setitem(exports.LEAST_SAME_TOKENS, "fp32", 1.01)
    assert run([*arguments[:-1], str(tmp_path / "worse")]) == 9
    assert "tokens of 100.0% of 3 captions are PyTorch's, where fp32 must have 101%" in capsys.readouterr().err
    assert run([*arguments[:-1], str(tmp_path / "worse"), "--force"]) == 0
    assert "CIDEr-D is 0.500 on 3 recordings, less than 97% of float32's 0.520" in capsys.readouterr().err
    assert run(["export", str(made / "full"), "--verify", str(tmp_path / "none.csv"), "-o", str(tmp_path / "x")]) != 0
    assert "none.csv" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_calibrating_on_few_recordings_warns(made, tmp_path, capsys):
    arguments = ["export", str(made / "full"), "--int8", "--calibration", str(made / "recordings")]
    assert run([*arguments, "-o", str(tmp_path / "calibrated")]) == 0
    printed = capsys.readouterr().err
    assert "3 recordings in" in printed
    assert "others may be cut off" in printed
    assert recipe_of(tmp_path / "calibrated") == json.loads(render_recipe(INT8))


def test_a_toolchain_that_is_missing_or_untested_is_told_before_anything_is_done(made, tmp_path, capsys, monkeypatch):
    def version(package):
        if package == missing:
            raise importlib.metadata.PackageNotFoundError(package)
        return {"onnx": "9.9.1"}.get(package, importlib_version(package))

    importlib_version, missing = importlib.metadata.version, "onnxscript"
    monkeypatch.setattr(runtimes.importlib.metadata, "version", version)
    arguments = ["export", str(made / "full"), "-o", str(tmp_path / "new")]
    assert run(arguments) == 5
    assert capsys.readouterr().err.count("onnxscript, which is not installed; type: pip install") == 1
    missing = ""
    assert run(arguments) == 5
    assert "onnx is 9.9.1 and edgecap was tested with 1.23" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run([*arguments, "--force"]) == 0
    assert "warning: onnx is 9.9.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--runtime", "onnx", "--runtime", "tpu"], 2, "'tpu' is no runtime"),
        (["--fp16", "--calibration", "recordings"], 2, "--calibration"),
        (["--int8", "--explain", "--report", "page.html"], 2, "--report"),
        (["--int8", "--report", "recordings"], 7, "recordings is a folder"),
        (["--fp16", "--fp32", "-o", "recordings", "--report", "/proc/page.html"], 7, "/proc/page.html"),
        (["-o", "/proc/edgecap/new"], 7, "/proc/edgecap/new cannot be written"),
        (["other.safetensors"], 8, "encoder"),
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
    save_file({"transformer.wte.weight": torch.zeros(4, 4)}, made / "other.safetensors")
    monkeypatch.setattr(exports, "onnx_graphs", lambda *_: None)  # no error here needs the graphs, which take seconds
    models = {"own.safetensors", "other.safetensors", "no/such", "int8", "card.safetensors"}
    if not models & set(arguments):
        arguments = ["./full", *arguments]
    before = sorted(made.rglob("*"))
    assert run(["export", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert what in printed.err
    assert sorted(made.rglob("*")) == before


def test_a_checkpoint_of_any_file_name_gets_a_name_that_manifests_take(made, tmp_path):
    for file, name in (("best model (2).safetensors", "best-model-2"), ("-ü-.safetensors", "model")):
        (tmp_path / file).symlink_to(made / "own.safetensors")
        assert open_source(str(tmp_path / file)).name == name


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


def test_a_full_disk_is_one_line_and_leaves_nothing(made, tmp_path):
    """The largest file may have 1 MB, so that the graphs do not fit."""
    code = f"""
import resource, sys
from edgecap.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
sys.exit(run(["export", {str(made / "full")!r}, "-o", {str(tmp_path / "new")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_command_says_what_to_install(edgecap, tmp_path):
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    paths = [str(tmp_path / "lacking"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = edgecap("export", "--int8", "-o", tmp_path / "new", env={"PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 5
    assert 'pip install "edgecap[export]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()
