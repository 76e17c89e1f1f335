"""`edgecap bench` from its command line to its table, on a tiny real model. Times themselves are not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer

from edgecap.errors import AudioError, BundleError, BusyMachineError, MeasurementError, OutputError
from edgecap_bench import cli, commands
from edgecap_bench.figures import figures
from edgecap_bench.figures.results import EXPLANATIONS, TARGETS, Figures, Settings, Subject
from edgecap_bench.figures.stages import measure_stages
from edgecap_bench.harness import load
from edgecap_bench.harness.clips import load_clips
from edgecap_bench.harness.process import Cores, run_measurement
from edgecap_bench.reports.measurement import Measurement, read_measurement
from support.bench_parts import bench
from support.signals import noise

Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--rounds", 2, "--starts", 1)
TASKS = "edgecap_bench.figures.tasks"


def one_core() -> Cores:
    return Cores(tuple(load.cores(1)), 1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "short.wav", noise(2.0, 44_100), 44_100)
    soundfile.write(folder / "stereo.flac", np.stack([noise(12.0)] * 2, axis=1), 16_000)
    (folder / "notes.txt").write_text("no sound")
    return folder


def test_bench_measures_and_writes_every_figure(edgecap: Run, tiny_folder: Path, clips: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    done = edgecap(
        "bench", "--model", tiny_folder, "--clips", clips, *QUICK, "--long", 41, "--even-busy", "--json-file", file
    )
    assert (done.returncode, done.stderr) == (0, "")
    measurement = read_measurement(file, Figures)
    result = measurement.body
    assert [figure.name for figure in result.figures] == list(EXPLANATIONS)
    assert {figure.name: figure.target for figure in result.figures if figure.target} == TARGETS
    for figure in result.figures:
        assert figure.name in done.stdout
        assert figure.unit == "B" or min(figure.sample) > 0
    assert (result.settings.clips, result.settings.rounds) == (["short.wav", "stereo.flac"], 2)
    assert result.subject.name == tiny_folder.name
    assert "one thread: a second made a caption cost" in done.stdout
    assert str(tiny_folder.parent) not in file.read_text()
    assert measurement.header.command.startswith(
        f"edgecap bench --model {tiny_folder.name} --clips {clips.name} --rounds 2"
    )
    by_name = {figure.name: figure.sample for figure in result.figures}
    assert by_name["peak memory"][0] > 20e6
    assert by_name["cold start"][0] > by_name["import edgecap"][0]


def test_bench_can_leave_the_long_file_out(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "figures.png"
    arguments = ("--model", tiny_folder, *QUICK, "--long", 0, "--even-busy", "--beam", 1)
    done = bench(capsys, *arguments, "--plot", plot)
    assert done.code == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "cold start" in done.out
    assert "long file" not in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--model", "nobody"), 4, "no model called 'nobody'"),
        (("--clips", "nowhere"), 3, "no folder nowhere"),
        (("--threads", 10_000), 2, "do not fit"),
        (("--rounds", 0), 2, "--rounds"),
        (("--dataset", "one"), 2, "--dataset"),
        (("--growth", "--beam", 2), 2, "--beam"),
        (("--submit-file", "board.json", "--compare", "teacher"), 2, "--compare"),
        (("--submit-file", "board.json", "--runtime", "all"), 2, "--runtime"),
        (("--json-file", "nowhere/result.json"), 7, "no folder nowhere"),
        (("--json-file", "/"), 7, "cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, arguments: tuple[object, ...], code: int, complaint: str
) -> None:
    done = bench(capsys, "--model", tiny_folder, *QUICK, "--even-busy", *arguments)
    assert (done.code, done.out) == (code, "")
    assert complaint in done.err
    assert "Traceback" not in done.err


def test_a_folder_without_sounds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="holds no sound files"):
        load_clips(tmp_path, 16_000, 1_000)


def test_clips_are_all_as_long_as_the_window(clips: Path) -> None:
    for folder in (clips, None):
        sounds = load_clips(folder, 16_000, 160_000)
        assert {sound.samples.shape for sound in sounds} == {(160_000,)}
        assert all(np.abs(sound.samples).max() <= 1.0 and np.ptp(sound.samples) > 0 for sound in sounds)


def test_a_busy_machine_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "others_now", lambda: 1.5)
    monkeypatch.setattr(commands, "measure_figures", lambda *_: pytest.fail("measured"))
    with pytest.raises(BusyMachineError, match=r"take 1\.50 processor cores"):
        cli.bench(json=tmp_path / "result.json")
    assert not any(tmp_path.iterdir())


@pytest.fixture
def figures_of_a_model(monkeypatch: pytest.MonkeyPatch) -> Figures:
    """What every measurement of one model gives while the test runs."""
    result = Figures(
        subject=Subject(name="what took minutes", runtime="onnx", precision="fp32", size_bytes=1, sha256={}),
        settings=Settings(rounds=1, starts=1, threads=1, beam=3, clips=[], steps=[]),
        figures=[],
    )
    monkeypatch.setattr(commands, "measure_figures", lambda *_: (result, False))
    return result


def test_a_run_that_was_disturbed_is_kept_but_marked_as_not_a_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures_of_a_model: Figures, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "others_now", lambda: 0.0)
    monkeypatch.setattr(load.LoadMeter, "others", lambda self: 0.7)
    with pytest.raises(BusyMachineError, match=r"take 0\.70 processor cores"):
        cli.bench(json=tmp_path / "result.json")
    measurement = read_measurement(tmp_path / "result.json", Figures)
    assert (measurement.header.noisy, measurement.body) == (True, figures_of_a_model)
    assert "NOT A RESULT" in capsys.readouterr().out


def test_a_quiet_run_is_a_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures_of_a_model: Figures) -> None:
    monkeypatch.setattr(load, "others_now", lambda: 0.0)
    monkeypatch.setattr(load.LoadMeter, "others", lambda self: 0.01)
    cli.bench(json=tmp_path / "result.json")
    header = read_measurement(tmp_path / "result.json", Figures).header
    assert (header.noisy, header.others_before, header.others_during) == (False, 0.0, 0.01)


@pytest.mark.usefixtures("figures_of_a_model")
def test_a_result_that_cannot_be_written_is_shown_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, measurement: Measurement[Figures]) -> None:
        raise OutputError(f"{path} cannot be written (No space left on device)")

    monkeypatch.setattr(cli, "write_measurement", full)
    with pytest.raises(OutputError, match="No space left"):
        cli.bench(even_busy=True, json=tmp_path / "result.json")
    assert "what took minutes" in capsys.readouterr().out


def test_control_c_keeps_the_figures_so_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cold_starts: list[tuple[object, ...]] = []

    def interrupted(target: str, *arguments: object, **more: object) -> dict[str, Any]:
        if target == f"{TASKS}:command":
            cold_starts.append(arguments)
            if len(cold_starts) == 2:
                raise KeyboardInterrupt
        return run_measurement(target, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(figures, "run_measurement", interrupted)
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=[str(tiny_folder)], rounds=1, starts=5, even_busy=True, json=tmp_path / "r.json")
    assert ended.value.exit_code == 130
    measurement = read_measurement(tmp_path / "r.json", Figures)
    assert measurement.header.partial
    samples = {figure.name: len(figure.sample) for figure in measurement.body.figures}
    assert samples["caption"] == samples["cold start"] == 1  # one whole turn of starts, and no long file
    assert "long file" not in samples
    assert "PARTIAL" in capsys.readouterr().out


def test_stage_times_are_one_a_round_and_steps_one_a_clip(tiny_folder: Path, clips: Path) -> None:
    times = measure_stages(str(tiny_folder), clips, rounds=3, threads=1, beam=1)
    assert {len(times.front_end), len(times.encoder), len(times.decoder), len(times.caption)} == {3}
    assert times.clips == ["short.wav", "stereo.flac"]
    assert all(1 <= steps <= 20 for steps in times.steps)
    assert times.decoder_step[2] == times.decoder[2] / times.steps[0]


def test_a_measurement_runs_on_the_cores_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spy.py").write_text(
        "import os\n"
        "def look(channel):\n"
        "    return {'cores': sorted(os.sched_getaffinity(0)), 'threads': os.environ['OPENBLAS_NUM_THREADS'],\n"
        "            'alone': os.getpgid(0) == os.getpid()}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    result = run_measurement("spy:look", cores=one_core())
    assert (result["cores"], result["threads"]) == (load.cores(1), "1")
    assert result["alone"]  # Ctrl-C in the terminal reaches the parent only
    assert result["peak_bytes"] > 1e6
    assert result["wall_seconds"] > 0


def test_nothing_is_imported_before_an_import_that_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loaded.py").write_text(
        "import sys\nloaded = set(sys.modules)\nimport json\n"
        f"open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps(sorted(loaded)))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert run_measurement(f"{TASKS}:import_module", "loaded", cores=one_core())["seconds"] > 0
    loaded = set(json.loads((tmp_path / "seen").read_text()))
    bare = subprocess.run(
        [sys.executable, "-P", "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    ours = {"loaded", "edgecap_bench", "edgecap_bench.figures", "edgecap_bench.figures.tasks"}
    assert loaded - set(bare.stdout.split()) == ours


def test_a_measurement_that_fails_says_why_with_the_exit_code_of_its_error() -> None:
    with pytest.raises(MeasurementError, match="No module named 'no_such_module'") as error:
        run_measurement(f"{TASKS}:import_module", "no_such_module", cores=one_core())
    assert error.value.exit_code == MeasurementError.exit_code
    with pytest.raises(MeasurementError, match=r"nowhere\.wav does not exist"):
        run_measurement(f"{TASKS}:command", "caption", "nowhere.wav", cores=one_core())
    spec = {"model": "nobody", "clips": None, "rounds": 1, "threads": 1, "beam": 1}
    with pytest.raises(MeasurementError, match="no model called 'nobody'") as error:
        run_measurement("edgecap_bench.figures.stages:stages", spec, cores=one_core())
    assert error.value.exit_code == BundleError.exit_code


def test_a_measurement_that_prints_much_to_standard_error_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talker.py").write_text("import sys\nsys.stderr.write('x' * 300_000 + chr(10))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert run_measurement(f"{TASKS}:import_module", "talker", cores=one_core())["seconds"] >= 0
