"""The examples of embedding give edgecap's tokens on every example sound, from a wav and a bundle alone."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from edgecap.audio.file import AudioFile
from edgecap.audio.resample import resampled
from edgecap.bundle.models import find_model
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from loopback import GUARD
from support.signals import RATE
from support.source_tree import REPOSITORY

if TYPE_CHECKING:
    from support.exports.exported import Export

EMBED = REPOSITORY / "examples" / "embed"
MODULES = REPOSITORY / "export" / "edgecap_export" / "web" / "static"
ONNXRUNTIME_NODE = "onnxruntime-node@1.30.0"
DITHERED, HALF_STEP = 40, 2.0**-16
"""Copies of a window with noise of half a step of its 16 bits."""
SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


@pytest.fixture(scope="module")
def wavs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every example sound as the programs take it, and silence."""
    folder = tmp_path_factory.mktemp("wavs")
    for path in sorted(REPOSITORY.glob("examples/*.*")):
        if path.suffix in SUFFIXES:
            with AudioFile(path) as file:
                samples = np.concatenate(list(resampled(file.mono(), file.sample_rate, RATE)))
            soundfile.write(folder / f"{path.stem}.wav", samples, RATE, subtype="PCM_16")
    soundfile.write(folder / "silence.wav", np.zeros(12 * RATE), RATE, subtype="PCM_16")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """caption.py, a script outside the packages."""
    spec = importlib.util.spec_from_file_location("caption", EMBED / "caption.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the C++ examples, built."""
    if not shutil.which("g++") or not Path("/usr/include/nlohmann/json.hpp").is_file():
        pytest.skip("g++ or nlohmann-json3-dev is missing (.ci/packages)")
    folder = tmp_path_factory.mktemp("programs")
    with GUARD.lifted():  # headers come from Debian
        done = subprocess.run([EMBED / "build", folder], text=True, capture_output=True, timeout=600, check=False)
    refused = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
    if refused:
        pytest.skip(f"apt has no headers of ONNX Runtime: {refused[0]}")
    assert done.returncode == 0, done.stderr
    return folder


def tokens_of(caption: Caption) -> str:
    """The line that a program prints of a window."""
    return caption.text if caption.silent else " ".join(map(str, caption.beams[0].tokens))


def assert_same(lines: list[str], bundle: Path, wav: Path) -> None:
    """Each window's line is the runtime's caption, or one that the rounding of samples to 16 bits decides between.

    A program's Fourier transforms have other last bits than the runtime's, and int8 makes steps of them: where two
    beams are equally likely, those decide which one the search keeps.
    """
    captioner = Captioner.load(bundle, threads=1)
    expected = [*captioner.caption_file(wav)]
    assert len(lines) == len(expected), (bundle, wav)
    samples, _ = soundfile.read(wav, dtype="float32")
    for line, ours in zip(lines, expected, strict=True):
        if line != tokens_of(ours):
            window = samples[round(ours.start * RATE) : round(ours.end * RATE)]
            draws = (np.random.default_rng(seed).uniform(-1, 1, window.size) for seed in range(DITHERED))
            dithered = (np.asarray(window + draw * HALF_STEP, np.float32) for draw in draws)
            assert any(line == tokens_of(captioner.caption(copy, RATE)) for copy in dithered), (bundle, wav, ours.start)


def printed(command: Sequence[object]) -> list[str]:
    done = subprocess.run([*map(str, command)], text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.filterwarnings("ignore:This API is experimental")  # what importing ExecuTorch says
@pytest.mark.parametrize("runtime", ["onnx", "litert", "executorch"])
def test_python_gives_the_tokens(
    runtime: str, example: ModuleType, wavs: list[Path], exported: Export, capfd: pytest.CaptureFixture[str]
) -> None:
    bundles = [exported(runtime, "fp32").bundle.folder, *([find_model(None)] if runtime == "onnx" else [])]
    if runtime != "onnx":
        bundles.append(exported(runtime, "fp32", search="in-graph").bundle.folder)
    for bundle in bundles:
        for wav in wavs:
            example.main(str(bundle), str(wav), "--tokens")
            assert_same(capfd.readouterr().out.splitlines(), bundle, wav)


def test_python_needs_no_edgecap(wavs: list[Path]) -> None:
    dog = next(wav for wav in wavs if wav.stem == "dog")
    script = "import runpy, sys; sys.modules['edgecap'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = [EMBED / "caption.py", find_model(None), dog]
    run = f"import sys; sys.argv = {[*map(str, arguments)]}; {script}"
    assert printed([sys.executable, "-c", run]) == [caption.text for caption in Captioner.load().caption_file(dog)]


def test_cpp_gives_the_tokens_with_onnx_runtime(programs: Path, wavs: list[Path], exported: Export) -> None:
    for bundle in (find_model(None), exported("onnx", "fp32").bundle.folder):  # the search in the graph, and outside
        for wav in wavs:
            assert_same(printed([programs / "caption_onnx", bundle, wav, "--tokens"]), bundle, wav)


def test_cpp_gives_the_tokens_with_litert(programs: Path, wavs: list[Path], exported: Export) -> None:
    for search in ("in-graph", "outside"):
        bundle = exported("litert", "fp32", search=search).bundle.folder
        for wav in wavs:
            assert_same(printed([programs / "caption_litert", bundle, wav, "--tokens"]), bundle, wav)


def test_cpp_says_what_it_cannot_use(programs: Path, wavs: list[Path], tmp_path: Path) -> None:
    speech = REPOSITORY / "examples" / "speech.wav"
    for arguments, reason in (
        ((tmp_path, wavs[0]), "holds no bundle for the runtime"),
        ((find_model(None), speech), "ffmpeg -i"),
        ((), "usage"),
    ):
        for program in ("caption_onnx", "caption_litert")[: 1 if reason == "ffmpeg -i" else 2]:
            done = subprocess.run([programs / program, *arguments], text=True, capture_output=True, check=False)
            assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
            assert reason in done.stderr


def test_node_gives_the_tokens(wavs: list[Path], tmp_path: Path, exported: Export) -> None:
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("node or npm is missing")
    install = ["npm", "install", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", ONNXRUNTIME_NODE]
    with GUARD.lifted():
        done = subprocess.run(install, cwd=tmp_path, text=True, capture_output=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(f"{ONNXRUNTIME_NODE} cannot be had: {done.stderr.strip().splitlines()[-1]}")
    for path in (EMBED / "caption.mjs", *MODULES.glob("*.js")):
        shutil.copy(path, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    for bundle in (find_model(None), exported("onnx", "fp32").bundle.folder):
        for wav in wavs:
            command = ["node", tmp_path / "caption.mjs", bundle, wav, "--tokens"]
            assert_same(printed(command), bundle, wav)


def test_every_program_is_short() -> None:
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in EMBED.iterdir() if path.is_file()}
    assert len(lengths) >= 7
    assert {name: length for name, length in lengths.items() if length > 150} == {}
