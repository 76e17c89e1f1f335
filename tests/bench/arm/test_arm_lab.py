"""The Arm lab compares what an emulated processor says with what this one says, and reports every difference.

The emulator itself is downloaded, so here a script takes its place that starts this machine's Python; .ci/run runs the
lab with the real one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.errors import MissingDependencyError, ResultError
from edgecap_bench.arm import command as arm_command
from edgecap_bench.arm import lab as arm_lab
from edgecap_bench.arm import packages as arm_packages
from edgecap_bench.arm import root as arm_root
from edgecap_bench.arm.captions import BundleRun, ClipCaption, caption_bundle, read_answer
from edgecap_bench.arm.emulator import BOARDS, EmulatedPython, InterruptedRunError
from edgecap_bench.arm.packages import ArmLabError, pick_mirror
from edgecap_bench.arm.report import lab_page
from edgecap_bench.arm.results import ArmLab, BoardRun, TestRun, compare
from edgecap_bench.arm.root import ArmRoot, emulator_version, wanted_wheels
from edgecap_bench.arm.tests import NOT_EMULATED, QUICK, read_report, runtime_tests
from edgecap_bench.arm.torch_packages import stand_in, version_script
from edgecap_bench.reports.measurement import read_measurement, write_measurement
from edgecap_bench.reports.registry import format_of
from support.bench_parts import measured

REPOSITORY = Path(__file__).parents[3]
TESTS = TestRun(files=["test_windows.py"], passed=12, failed=[], skipped=1, seconds=1.0)


def caption(clip: str, text: str, tokens: list[int], score: float = -1.0) -> ClipCaption:
    return ClipCaption(clip=clip, text=text, tokens=tokens, score=score, seconds=0.5)


def run(precision: str = "fp32", fault: str = "", **other: ClipCaption) -> BundleRun:
    captions = {
        "dog": caption("dog", "a dog barks", [5, 6, 2]),
        "rain": caption("rain", "rain falls", [7, 8, 2]),
    } | other
    return BundleRun(bundle="tiny", runtime="onnx", precision=precision, captions=list(captions.values()), fault=fault)


def lab(there: BundleRun, precision: str = "fp32", tests: TestRun = TESTS) -> ArmLab:
    boards = [BoardRun(board=board.name, processor=board.processor, tests=tests, bundles=[there]) for board in BOARDS]
    return ArmLab(debian={"libc6": "2.36", "zlib1g": "1"}, qemu="10.0.2", here=[run(precision)], boards=boards)


@pytest.fixture
def root(tmp_path: Path) -> ArmRoot:
    """A root whose emulator starts this machine's Python."""
    made = ArmRoot(tmp_path / "lab", {"numpy": "2"}, {"libc6": "2.36"}, "10.0.2")
    made.emulator.parent.mkdir(parents=True)
    made.wheels.mkdir()
    made.emulator.write_text(
        f'#!/bin/sh\nwhile [ "$1" != -0 ]; do shift; done\nshift 3\nunset PYTHONHOME\nexec \'{sys.executable}\' "$@"\n'
    )
    made.emulator.chmod(0o755)
    return made


def test_equal_captions_keep_float32s_promise() -> None:
    result = lab(run(dog=caption("dog", "a dog barks", [5, 6, 2], -1.25)))
    comparison = result.comparisons(result.boards[0])[0]
    assert comparison.kept
    assert comparison.different == []
    assert comparison.largest_score_change == 0.25
    assert list(result.faults()) == []


def test_another_caption_of_a_float32_bundle_is_a_fault_on_each_board_where_it_occurs() -> None:
    result = lab(run(rain=caption("rain", "water runs", [9, 9, 2])))
    faults = list(result.faults())
    assert len(faults) == len(BOARDS)
    assert "Raspberry Pi 4: tiny (onnx fp32) captions rain as 'water runs' and this machine as 'rain falls'" in faults


def test_other_captions_of_int8_are_counted_and_shown_and_no_fault() -> None:
    result = lab(run("int8", rain=caption("rain", "water runs", [9, 9, 2])), "int8")
    assert list(result.faults()) == []
    sheets = {sheet.title.split(",")[0]: sheet for sheet in lab_page(measured(result)).sheets}
    assert {row[5:7] for row in sheets["Captions"].rows} == {("1", "counted")}
    assert sheets["Captions that differ"].rows[0] == ("Raspberry Pi 4", "tiny", "rain", "rain falls", "water runs")


def test_a_bundle_that_does_not_run_a_missing_clip_and_a_failed_test_are_faults() -> None:
    assert "did not run: illegal instruction" in next(lab(run(fault="illegal instruction")).faults())
    short = replace(run(), captions=run().captions[:1])
    assert compare(run(), short).fault == "it captioned other clips"
    renamed = replace(run(), captions=[replace(run().captions[0], clip="cat"), run().captions[1]])
    assert compare(run(), renamed).fault == "it captioned other clips"
    assert compare(short, run()).fault == "it captioned other clips"
    failed = replace(TESTS, failed=["tests.test_windows::test_it"])
    assert next(lab(run(), tests=failed).faults()) == "Raspberry Pi 4: the test tests.test_windows::test_it failed"


def test_emulated_times_appear_only_as_ratios_and_are_called_emulated() -> None:
    page = lab_page(measured(lab(run())))
    ratios = page.sheets[-1]
    assert ratios.header == (
        "Bundle",
        "This machine (not emulated)",
        "Raspberry Pi 4, emulated",
        "Raspberry Pi 5, emulated",
    )
    assert ratios.rows == [("tiny", "1.00", "1.00", "1.00")]
    assert page.notes[0].startswith("Emulated")


def test_the_result_comes_back_from_its_file_and_makes_a_section(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    measurement, entry = measured(lab(run())), format_of(ArmLab.FORMAT)
    write_measurement(path, measurement)
    assert read_measurement(path, ArmLab) == measurement
    heading = "## Arm lab: Raspberry Pi 4 (cortex-a72) and Raspberry Pi 5 (cortex-a76), "
    assert entry.section([path]).text.startswith(heading)
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 7'))
    with pytest.raises(ResultError, match="format version 7"):
        read_measurement(path, ArmLab)


def test_an_interrupted_run_is_marked_and_kept_out_of_the_page(tmp_path: Path) -> None:
    partial = measured(lab(run()), partial=True)
    assert lab_page(partial).title.startswith("PARTIAL")
    write_measurement(tmp_path / "arm.json", partial)
    with pytest.raises(ResultError, match="cut short"):
        format_of(ArmLab.FORMAT).section([tmp_path / "arm.json"])


def test_the_lab_runs_tests_and_bundles_on_every_board(
    root: ArmRoot, tiny_folder: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm_lab, "make_root", lambda folder, say, runtimes: root)
    plan = arm_lab.LabPlan(
        folder=root.folder,
        bundles=(tiny_folder,),
        clips=sounds,
        count=2,
        jobs=2,
        patience=300,
        tests=(REPOSITORY / "tests" / "runtime" / "audio" / "test_windows.py",),
    )
    messages: list[str] = []
    measurement = arm_lab.run_lab(plan, "the command", messages.append)
    result = measurement.body
    assert [board.processor for board in result.boards] == ["cortex-a72", "cortex-a76"]
    for board in result.boards:
        assert board.tests is not None
        assert board.tests.passed > 5
        assert [caption.clip for caption in board.bundles[0].captions] == ["long.wav", "noise.wav"]
    assert list(result.faults()) == []
    assert not measurement.header.partial
    assert [line.partition(":")[0] for line in messages if " of " in line] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]


def test_a_bundle_that_does_not_run_here_ends_the_lab_before_anything_is_emulated(
    root: ArmRoot, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm_lab, "make_root", lambda folder, say, runtimes: root)
    plan = arm_lab.LabPlan(
        folder=root.folder, bundles=(tiny_folder,), clips=tmp_path / "nowhere", count=1, jobs=1, patience=300, tests=()
    )
    with pytest.raises(ArmLabError, match="does not run on this machine: there is no folder"):
        arm_lab.run_lab(plan, "the command", lambda message: None)
    with pytest.raises(ArmLabError, match=r"did not end in 0\.01 s; give it more time"):
        arm_lab.run_lab(replace(plan, patience=0.01), "the command", lambda message: None)


def test_a_program_that_crashes_or_never_ends_on_the_emulated_processor_is_a_fault(
    root: ArmRoot, tiny_folder: Path, tmp_path: Path
) -> None:
    python = EmulatedPython(root, BOARDS[0], [])
    plan = arm_lab.LabPlan(
        folder=root.folder, bundles=(tiny_folder,), clips=None, count=1, jobs=1, patience=300, tests=()
    )
    root.emulator.write_text("#!/bin/sh\necho 'uncaught target signal 11' >&2\nexit 139\n")
    crashed = arm_lab.caption_there(tiny_folder, plan, python)
    assert crashed.fault == "exit code 139: uncaught target signal 11"
    assert (crashed.bundle, crashed.runtime, crashed.precision) == (tiny_folder.name, "onnx", "fp32")
    root.emulator.write_text("#!/bin/sh\nexec sleep 60\n")
    assert "did not end in 0.2 s" in arm_lab.caption_there(tiny_folder, replace(plan, patience=0.2), python).fault
    root.emulator.write_text("#!/bin/sh\nkill -INT $$\n")
    with pytest.raises(InterruptedRunError):
        python.run("-c", "pass", folder=tmp_path, seconds=30)


def test_an_emulated_python_starts_itself_again_and_sees_nothing_of_this_ones_settings(
    root: ArmRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/this/machine")
    root.emulator.write_text('#!/bin/sh\necho "$PYTHONPATH|$PYTHONHOME|$*"\n')
    python = EmulatedPython(root, BOARDS[1], [tmp_path / "code"])
    path, home, options = python.run("-c", "pass", folder=tmp_path, seconds=30).stdout.strip().split("|")
    assert path == f"{root.wheels}:{tmp_path / 'code'}"
    assert home == str(root.system / "usr")
    assert options == (
        f"-cpu cortex-a76 -L {root.system} -0 {python.program} {root.system / 'usr/bin/python3.11'} -c pass"
    )


def test_the_lab_runs_the_runtimes_tests_but_those_with_a_reason(tmp_path: Path) -> None:
    names = {path.name for path in runtime_tests(REPOSITORY / "tests")}
    assert set(QUICK) <= names
    assert names.isdisjoint({*NOT_EMULATED, "test_training.py", "test_export.py", "test_arm_lab.py"})
    for name, reason in NOT_EMULATED.items():
        assert len(list((REPOSITORY / "tests" / "runtime").rglob(name))) == 1
        assert reason
    with pytest.raises(ArmLabError, match="no tests of the runtime"):
        runtime_tests(tmp_path)


def test_tests_are_counted_and_a_run_without_any_is_refused() -> None:
    cases = (
        '<testcase classname="a" name="good"/><testcase classname="a" name="bad"><failure/></testcase>'
        '<testcase classname="a" name="worse"><error/></testcase><testcase classname="a" name="not"><skipped/>'
        "</testcase>"
    )
    report = read_report(f"<testsuites><testsuite>{cases}</testsuite></testsuites>", ["test_a.py"], 3.0)
    assert (report.passed, report.failed, report.skipped) == (1, ["a::bad", "a::worse"], 1)
    with pytest.raises(ArmLabError, match="contains no test"):
        read_report("<testsuites/>", [], 0.0)


def test_both_sides_get_the_same_versions() -> None:
    wheels = wanted_wheels({"litert"})
    assert {"numpy", "onnxruntime", "soundfile", "soxr", "msgspec", "pytest", "ai-edge-litert"} <= {
        wheel.partition("==")[0] for wheel in wheels
    }
    assert not [wheel for wheel in wanted_wheels({"onnx"}) if "litert" in wheel or "torch" in wheel]
    assert all(wheel.count("==") == 1 and "+" not in wheel for wheel in wheels)


def test_a_package_that_is_not_installed_here_is_named() -> None:
    with pytest.raises(ArmLabError, match="no-such-package is not installed here"):
        arm_root.pinned(["no-such-package"])


def test_the_mirror_is_the_one_of_this_system() -> None:
    lines = "http://a.example/debian-security/|/k\nhttps://b.example/debian/|/no/such/key.gpg\n"
    assert pick_mirror(lines) == arm_packages.Mirror("https://b.example/debian", arm_packages.KEYRING)
    with pytest.raises(ArmLabError, match="names no Debian archive"):
        pick_mirror("http://c.example/ubuntu/|\n")


def test_a_system_without_apt_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="needs apt-get"):
        arm_packages.debian_mirror()


def test_an_emulator_that_would_crash_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    for version, fine in (("7.2.22 (Debian 1:7.2)", False), ("10.0.2 (Debian 1:10.0.2)", True)):
        program.write_text(f"#!/bin/sh\necho 'qemu-aarch64 version {version}'\n")
        program.chmod(0o755)
        if fine:
            assert emulator_version(program) == "10.0.2"
        else:
            with pytest.raises(ArmLabError, match=r"version 7\.2\.22 .*at least 10\.0"):
                emulator_version(program)


def test_a_failing_download_says_what_apt_said() -> None:
    with pytest.raises(ArmLabError, match=r"sh -c .* failed: E: no network"):
        arm_packages.called(["sh", "-c", "echo 'E: no network' >&2; exit 100"])


def test_an_answer_is_found_between_the_lines_of_libraries(tiny_folder: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "edgecap_bench.arm.captions", "-", "1", str(tiny_folder)],
        text=True,
        capture_output=True,
        check=True,
    )
    answer = read_answer(f"a library says hello\n{made.stdout}and good bye\n")
    assert answer is not None
    again = caption_bundle(str(tiny_folder), None, 1)
    assert [(each.clip, each.tokens) for each in answer[0].captions] == [
        (each.clip, each.tokens) for each in again.captions
    ]
    assert read_answer("nothing\n") is None


def test_the_command_reports_faults_and_keeps_the_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arm_command, "run_lab", lambda *_: measured(lab(run(fault="it crashed"))))
    path = tmp_path / "arm.json"
    assert arm_command.main(["--bundle", str(tiny_folder), "--no-tests", "--json-file", str(path)]) == 1
    assert json.loads(path.read_text())["format"] == ArmLab.FORMAT
    assert "edgecap: error: Raspberry Pi 4: tiny did not run: it crashed" in capfd.readouterr().err
    monkeypatch.setattr(arm_command, "run_lab", lambda *_: measured(lab(run()), partial=True))
    assert arm_command.main(["--bundle", str(tiny_folder), "--no-tests"]) == 130


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--runtime", "tensorrt"], "unknown runtime 'tensorrt'"),
        (["--bundle", "a/tiny", "--bundle", "b/tiny"], "same name"),
        (["--bundle", "a", "--runtime", "onnx"], "not both"),
    ],
)
def test_a_wrong_command_line_is_refused(options: list[str], word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert arm_command.main(options) == 2
    assert word in " ".join(capfd.readouterr().err.split())


def test_missing_sounds_are_reported_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arm_command, "export_bundles", lambda *_: pytest.fail("exported"))
    assert arm_command.main(["--clips", str(tmp_path / "nowhere")]) == 3
    assert "there is no folder" in capfd.readouterr().err


def test_a_result_that_could_not_be_written_is_refused_before_the_work(capfd: pytest.CaptureFixture[str]) -> None:
    assert arm_command.main(["--json-file", "/no/such/folder/arm.json"]) == 7
    assert "cannot be written" in capfd.readouterr().err


def test_ctrl_c_keeps_the_results_so_far_and_marks_them(
    root: ArmRoot, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm_lab, "make_root", lambda folder, say, runtimes: root)
    plan = arm_lab.LabPlan(
        folder=root.folder, bundles=(tiny_folder,), clips=None, count=1, jobs=1, patience=300, tests=()
    )

    def say(message: str) -> None:
        if message.startswith("1 of"):
            os.kill(os.getpid(), signal.SIGINT)

    measurement = arm_lab.run_lab(plan, "the command", say)
    assert measurement.header.partial
    assert measurement.body.boards[0].bundles


def test_the_default_model_is_exported_for_every_runtime_and_precision_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    answer = json.dumps({"exports": [{"bundle": "a/tiny-onnx-fp32"}, {"bundle": "a/tiny-litert-int8"}]})
    program.write_text(f"#!/bin/sh\necho a note >&2\necho '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    made = arm_lab.export_bundles(tmp_path / "bundles", ["onnx", "litert"], ["fp32", "int8"], lambda message: None)
    assert made == (Path("a/tiny-onnx-fp32"), Path("a/tiny-litert-int8"))
    program.write_text("#!/bin/sh\necho 'edgecap: error: '\"$*\" >&2\nexit 5\n")
    words = r"exported: -m edgecap export .* --runtime onnx --runtime litert --fp32 --int8"
    with pytest.raises(ArmLabError, match=words):
        arm_lab.export_bundles(tmp_path / "bundles", ["onnx", "litert"], ["fp32", "int8"], lambda message: None)


def test_the_stand_in_for_cuda_has_every_symbol_of_its_kind_and_version() -> None:
    symbols = {
        "cudaGetDeviceCount": "libcudart.so.13",
        "_ZTIN2at4cuda9CUDAGraphE": "",
        "_ZTVN10libkineto20CuptiActivityProfilerE": "",
        "_ZN2at4cuda19canDeviceAccessPeerEaa": "",
    }
    lines = stand_in(symbols).splitlines()
    assert [line for line in lines if line.startswith(".globl")] == [f".globl {symbol}" for symbol in symbols]
    kinds = {symbol: line for symbol in symbols for line in lines if line.startswith(f".type {symbol},")}
    assert [line.rpartition("%")[2] for line in kinds.values()] == ["function", "object", "object", "function"]
    assert '.Lname__ZTIN2at4cuda9CUDAGraphE: .string "N2at4cuda9CUDAGraphE"' in lines
    assert version_script(symbols) == "libcudart.so.13 { global: cudaGetDeviceCount; };\n"


def test_a_root_is_used_again_while_it_has_all_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = dict(wheel.split("==") for wheel in wanted_wheels({"onnx", "litert"}))
    layout = [arm_root.LAYOUT, *arm_root.DEBIAN, *arm_root.EMULATOR]
    stamp = {"layout": layout, "packages": packages, "debian": {"libc6": "2.36"}, "qemu": "10.0.2"}
    (tmp_path / arm_root.STAMP).write_text(json.dumps(stamp))
    root = arm_root.make_root(tmp_path, lambda message: None, {"onnx"})
    assert (root.packages, root.qemu) == (packages, "10.0.2")

    def no_mirror() -> arm_packages.Mirror:
        raise ArmLabError("made anew")

    monkeypatch.setattr(arm_root, "debian_mirror", no_mirror)
    (tmp_path / arm_root.STAMP).write_text(json.dumps(stamp | {"packages": packages | {"numpy": "1.0"}}))
    with pytest.raises(ArmLabError, match="made anew"):
        arm_root.make_root(tmp_path, lambda message: None, {"onnx"})
    assert not (tmp_path / arm_root.STAMP).exists()
