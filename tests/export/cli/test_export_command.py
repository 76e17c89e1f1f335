"""`edgecap export`: from a model to a smaller one that captions, and one line for whatever cannot be exported."""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from edgecap.bundle.bundle import BundleContent, load_bundle, write_bundle
from edgecap.captioner import Captioner
from edgecap.cli import run
from edgecap.errors import ConfigError
from edgecap_export.bundle import bundles, exporter
from edgecap_export.bundle import report as report_module
from edgecap_export.bundle.sources import open_source
from edgecap_export.graphs.onnx_export import OnnxGraphs, onnx_graphs
from edgecap_export.graphs.verify import TOLERANCES, Tolerances, sounds
from edgecap_export.recipes import INT8_STEM, render_recipe
from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.evaluation.metrics import Metric
from edgecap_train.models.student import Student
from support.published_layout import words
from support.small_student import SIZE, small_student, small_yamnet

Edgecap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", autouse=True)
def small_models() -> Iterator[None]:
    """The command loads small students, and the float graphs of one are exported once, which takes seconds."""
    made: dict[bytes, OnnxGraphs] = {}

    def once(student: Student, window: int) -> OnnxGraphs:
        key = b"".join(tensor.numpy().tobytes() for tensor in student.state_dict().values())
        if key not in made:
            made[key] = onnx_graphs(student, window)
        return made[key]

    with pytest.MonkeyPatch.context() as patch, small_yamnet():
        patch.setattr(exporter, "onnx_graphs", once)
        patch.setattr(bundles, "onnx_encoder", lambda student, window: once(student, window).encode)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_models: None) -> Path:
    """A folder with recordings, a checkpoint and the bundle "full" that contains float weights and ranges."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "recordings").mkdir()
    for number, sound in enumerate(sounds(16_000, 10.0)):
        soundfile.write(folder / "recordings" / f"{number}.wav", sound, 16_000)
    save_student(folder / "own.safetensors", small_student(1, layers=1), tuple(words(SIZE)), {"cider_d": "0.7"})
    (folder / "card.md").write_text("# A card\n")
    arguments = ["import", "own.safetensors", "-o", "full", "--weights", "--card", "card.md"]
    arguments += ["--calibration", "recordings"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def int8(made: Path) -> Path:
    assert run(["export", str(made / "full"), "--int8", "-o", str(made / "int8")]) == 0
    return made / "int8"


def test_an_imported_bundle_carries_weights_ranges_card_and_metrics(made: Path) -> None:
    manifest = load_bundle(made / "full").manifest
    files = {entry.name: entry for entry in manifest.files}
    assert files["student.safetensors"].role == "weights"
    assert files["student.safetensors"].size < 0.6 * (made / "own.safetensors").stat().st_size
    assert "ranges.json" in files
    assert (made / "full" / "MODEL_CARD.md").read_text() == "# A card\n"
    assert manifest.metrics == {"cider_d": 0.7}


def test_an_export_keeps_the_float_weights_where_it_is_told_to_and_can_be_exported_from(made: Path, int8: Path) -> None:
    assert not {"student.safetensors", "ranges.json"} & {path.name for path in int8.iterdir()}
    assert run(["export", str(made / "full"), "--int8", "--weights", "-o", str(made / "kept")]) == 0
    for name in ("student.safetensors", "ranges.json", "MODEL_CARD.md"):
        assert (made / "kept" / name).read_bytes() == (made / "full" / name).read_bytes()
    assert load_bundle(made / "kept").manifest.file("weights").name == "student.safetensors"
    assert run(["export", str(made / "kept"), "--int8", "-o", str(made / "again")]) == 0
    for name in ("encode.onnx", "decode.onnx"):
        assert (made / "again" / name).read_bytes() == (int8 / name).read_bytes()


def test_a_checkpoint_has_no_float_weights_to_keep(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = made / "nothing"
    assert run(["export", str(made / "own.safetensors"), "--weights", "-o", str(out)]) == ConfigError.exit_code
    assert "edgecap import --weights" in capsys.readouterr().err
    assert not out.exists()


def test_a_licence_and_its_notice_are_written_into_the_manifest(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", str(made / "own.safetensors"), "-o", str(made / "licensed"), "--notice", "For study alone."]
    assert run(command) == 2
    assert "add --licence" in capsys.readouterr().err
    assert run([*command, "--licence", "CC-BY-NC-4.0"]) == 0
    licence = load_bundle(made / "licensed").manifest.licence
    assert (licence.name, licence.notice) == ("CC-BY-NC-4.0", "For study alone.")


def test_an_imported_bundle_with_halved_weights_is_half_the_size_and_says_the_same(made: Path) -> None:
    assert run(["import", str(made / "own.safetensors"), "-o", str(made / "halved"), "--half"]) == 0
    assert load_bundle(made / "halved").manifest.precision == "fp16"
    before, after = (
        sum((made / folder / name).stat().st_size for name in ("encode.onnx", "decode.onnx"))
        for folder in ("full", "halved")
    )
    assert after < 0.8 * before  # of a small student, whose names and shapes weigh much
    captions = [
        next(Captioner.load(made / folder, threads=1).caption_file(made / "recordings" / "0.wav"))
        for folder in ("full", "halved")
    ]
    assert captions[0].beams[0].tokens == captions[1].beams[0].tokens


def test_an_int8_bundle_runs_at_once_and_is_smaller(made: Path, int8: Path, edgecap: Edgecap) -> None:
    graphs = ("encode.onnx", "decode.onnx")
    before, after = (sum((folder / name).stat().st_size for name in graphs) for folder in (made / "full", int8))
    assert after < 0.8 * before  # of a small student, whose names and shapes weigh much
    done = edgecap("caption", "--model", int8, made / "recordings" / "0.wav")
    assert done.returncode == 0, done.stderr
    assert Captioner.load(int8, threads=1).manifest.precision == "int8"


def recipe_of(bundle: Path) -> object:
    """The recipe that a bundle's manifest says it was made by."""
    return json.loads(load_bundle(bundle).manifest.provenance.details["recipe"])


def test_the_bundle_says_by_which_recipe_and_the_report_what_was_measured(int8: Path) -> None:
    manifest = load_bundle(int8).manifest
    assert recipe_of(int8) == json.loads(render_recipe(INT8_STEM))
    assert "cider_d" not in manifest.metrics  # measured on the float model, not on this one
    report = json.loads((int8 / "report.json").read_text())
    kinds = [node.op_type for node in onnx.load(int8 / "encode.onnx").graph.node]
    bytewise = [report["operators"][f"encode: {kind} (int8)"] for kind in ("QLinearConv", "MatMulIntegerToFloat")]
    assert bytewise == [kinds.count("QLinearConv"), kinds.count("MatMulIntegerToFloat")]
    assert len(report["layers"]) == sum(bytewise) > 6
    assert "plain convolutions stay in float in this recipe" in report["stays_float"].values()
    assert {stage["name"] for stage in report["stages"]} == {"front end", "encoder", "search", "caption"}
    assert 0 <= report["same_captions"] <= 1
    assert report["differences"]["clip_embedding"] > 1e-4


def test_explaining_ranks_the_layers_and_writes_nothing(
    made: Path, int8: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(made / "full"), "--int8", "--explain", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    errors = [layer["error"] for layer in document["layers"]]
    assert len(errors) == len(json.loads((int8 / "report.json").read_text())["layers"])
    assert errors == sorted(errors, reverse=True)
    assert document["float"]
    assert list(tmp_path.iterdir()) == []


def test_what_fails_its_verification_is_not_written_unless_forced(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "fp16", Tolerances(encode=1e-9, decode=1e-9))
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


def test_several_exports_go_into_one_folder_and_onto_one_page_that_needs_nothing_else(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(made / "full"), "--fp32", "--fp16", "-o", str(tmp_path / "all")]
    assert run([*arguments, "--report", str(tmp_path / "page.html"), "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)["exports"]
    assert [Path(item["bundle"]).name for item in exported] == ["full-onnx-fp32", "full-onnx-fp16"]
    assert [load_bundle(item["bundle"]).manifest.precision for item in exported] == ["fp32", "fp16"]
    assert exported[0]["report"]["same_tokens"] == 1.0
    half = exported[1]["report"]
    assert half["size_after"] < 0.8 * half["size_before"]
    page = (tmp_path / "page.html").read_text()
    worst = max(half["layers"], key=lambda layer: layer["error"])
    for text in ("full for onnx, fp32", "full for onnx, fp16", worst["node"], f"{worst['error']:.4f}", "caption, this"):
        assert text in page
    root = ElementTree.fromstring(page.removeprefix("<!doctype html>"))
    assert len(root.findall(".//{http://www.w3.org/2000/svg}svg")) == 3  # stages of both, layers of fp16
    assert not {"script", "link", "img", "iframe"} & {element.tag for element in root.iter()}


def test_one_export_that_fails_does_not_keep_the_others_from_it(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "fp16", Tolerances(encode=1e-9, decode=1e-9))
    monkeypatch.setattr("edgecap_export.graphs.verify.ROUNDING", 0.0)
    assert run(["export", str(made / "full"), "--fp16", "--int8", "-o", str(tmp_path)]) == 9
    printed = capsys.readouterr()
    assert "onnx in fp16: output 'cross_keys'" in printed.err
    assert "1 of 2 exports failed" in printed.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["full-onnx-int8"]


def references(made: Path, folder: Path) -> Path:
    """A CSV of the recordings with the float model's captions as their references."""
    captioner = Captioner.load(made / "full", threads=1)
    rows = [
        f"{path},{next(captioner.caption_file(path)).text},a different caption"
        for path in sorted((made / "recordings").iterdir())
    ]
    (folder / "said.csv").write_text("\n".join(["file,caption_1,caption_2", *rows]) + "\n")
    return folder / "said.csv"


def test_a_recording_that_cannot_be_read_is_left_out_of_calibration_and_verification(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aac_metrics")
    table = references(made, tmp_path)
    with table.open("a") as file:
        file.write(f"{tmp_path / 'broken.wav'},a dog,\n")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    shutil.copytree(made / "recordings", tmp_path / "recordings")
    (tmp_path / "recordings" / "torn.wav").write_bytes(b"no sound either")
    arguments = ["export", str(made / "full"), "--int8", "--verify", str(table), "-o", str(tmp_path / "new")]
    assert run([*arguments, "--calibration", str(tmp_path / "recordings"), "--force"]) == 0
    errors = capsys.readouterr().err
    for text in ("broken.wav", "1 recordings of --verify", "torn.wav", "1 of 4 recordings in"):
        assert text in errors
    for path in (tmp_path / "recordings").glob("[0-9]*"):
        path.write_bytes(b"nothing")
    again = ["export", str(made / "full"), "--int8", "-o", str(tmp_path / "newer")]
    assert run([*again, "--calibration", str(tmp_path / "recordings")]) == 3
    assert "none of the 4 recordings" in capsys.readouterr().err


def test_a_table_with_one_recording_is_refused_before_the_export(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aac_metrics")
    (tmp_path / "one.csv").write_text(f"file,caption_1\n{made / 'recordings' / '0.wav'},a dog\n")
    arguments = ["export", str(made / "full"), "--verify", str(tmp_path / "one.csv"), "-o", str(tmp_path / "new")]
    assert run(arguments) == 12
    assert "needs at least 2" in capsys.readouterr().err


def test_captions_are_scored_on_recordings_and_what_loses_too_much_is_not_written(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    scores = iter([Metric(0.5, 0.4, 0.6, ()), Metric(0.52, 0.4, 0.6, ())] * 2)  # this one's, and float32's
    monkeypatch.setattr(exporter, "cider_d", lambda texts, references: next(scores))
    monkeypatch.setitem(report_module.LEAST_SAME_TOKENS, "fp32", 1.01)
    assert run([*arguments[:-1], str(tmp_path / "worse")]) == 9
    assert "100.0% of 3 captions have PyTorch's tokens, and fp32 needs 101%" in capsys.readouterr().err
    assert run([*arguments[:-1], str(tmp_path / "worse"), "--force"]) == 0
    assert "CIDEr-D is 0.500 on 3 recordings, less than 97% of float32's 0.520" in capsys.readouterr().err
    assert run(["export", str(made / "full"), "--verify", str(tmp_path / "none.csv"), "-o", str(tmp_path / "x")]) != 0
    assert "none.csv" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_calibrating_on_few_recordings_warns(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(made / "full"), "--int8", "--calibration", str(made / "recordings")]
    assert run([*arguments, "-o", str(tmp_path / "calibrated")]) == 0
    printed = capsys.readouterr().err
    assert "3 recordings in" in printed
    assert "others may be clipped" in printed
    assert recipe_of(tmp_path / "calibrated") == json.loads(render_recipe(INT8_STEM))


def test_a_toolchain_that_is_missing_or_untested_is_told_before_anything_is_done(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if package == missing:
            raise importlib.metadata.PackageNotFoundError(package)
        return {"onnx": "9.9.1"}.get(package, importlib_version(package))

    importlib_version, missing = importlib.metadata.version, "onnxscript"
    monkeypatch.setattr(importlib.metadata, "version", version)
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
        (["--runtime", "onnx", "--runtime", "tpu"], 2, "unknown runtime 'tpu'"),
        (["--fp16", "--calibration", "recordings"], 2, "--calibration"),
        (["--int8", "--explain", "--report", "page.html"], 2, "--report"),
        (["--int8", "--report", "recordings"], 7, "recordings is a folder"),
        (["--fp16", "--fp32", "-o", "recordings", "--report", "/proc/page.html"], 7, "/proc/page.html"),
        (["-o", "/proc/edgecap/new"], 7, "/proc/edgecap/new cannot be written"),
        (["other.safetensors"], 8, "encoder"),
        (["--runtime", "tpu"], 2, "unknown runtime 'tpu'"),
        (["--front-end", "beside", "--int8"], 2, "unknown place 'beside'"),
        (["--int4"], 2, "--int4"),
        (["--int8", "-o", "recordings"], 7, "exists"),
        (["own.safetensors", "--int8"], 2, "--calibration"),
        (["own.safetensors", "--int8", "--calibration", "nowhere"], 3, "no folder nowhere"),
        (["own.safetensors", "--int8", "--calibration", "empty"], 3, "no sound files"),
        (["--fp32", "--explain"], 2, "add --int8"),
        (["no/such"], 4, "no bundle at"),
        (["int8", "--fp16"], 4, "no float weights"),
        (["card.safetensors"], 8, "safetensors"),
    ],
)
def test_what_cannot_be_exported_gets_one_line_and_leaves_nothing(  # noqa: PLR0917
    made: Path,
    int8: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    what: str,
) -> None:
    monkeypatch.chdir(made)
    (made / "empty").mkdir(exist_ok=True)
    (made / "card.safetensors").write_text("no weights")
    save_file({"transformer.wte.weight": torch.zeros(4, 4)}, made / "other.safetensors")
    monkeypatch.setattr(exporter, "onnx_graphs", lambda *_: None)  # no error here needs the graphs, which take seconds
    models = {"own.safetensors", "other.safetensors", "no/such", "int8", "card.safetensors"}
    if not models & set(arguments):
        arguments = ["./full", *arguments]
    before = sorted(made.rglob("*"))
    assert run(["export", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert what in printed.err
    assert sorted(made.rglob("*")) == before


def test_a_checkpoint_of_any_file_name_gets_a_name_that_manifests_take(made: Path, tmp_path: Path) -> None:
    for file, name in (("best model (2).safetensors", "best-model-2"), ("-ü-.safetensors", "model")):
        (tmp_path / file).symlink_to(made / "own.safetensors")
        assert open_source(str(tmp_path / file)).name == name


def test_ranges_of_other_weights_are_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = load_bundle(made / "full")
    contents = [BundleContent(entry.name, entry.role, bundle.folder / entry.name) for entry in bundle.manifest.files]
    text = (made / "full" / "ranges.json").read_bytes().replace(b'"weights": "', b'"weights": "other')
    contents = [replace(item, data=text) if item.name == "ranges.json" else item for item in contents]
    write_bundle(tmp_path / "mixed", bundle.manifest, contents)
    assert run(["export", str(tmp_path / "mixed"), "--int8", "-o", str(tmp_path / "new")]) == 4
    assert "measured on other weights" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mixed"]


def test_a_folder_that_cannot_be_written_leaves_nothing(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(["export", str(made / "full"), "-o", str(tmp_path / "file" / "new")]) == 7
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file may have 10 kB at most, so that the graphs do not fit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        code = run(["export", str(made / "full"), "-o", str(tmp_path / "new")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    printed = capsys.readouterr().err
    assert code == 7, printed
    assert "cannot be written (File too large)" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_command_says_what_to_install(edgecap: Edgecap, tmp_path: Path) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    paths = [str(tmp_path / "lacking"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = edgecap("export", "--int8", "-o", tmp_path / "new", env={"PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 5
    assert 'pip install ".[export]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()
