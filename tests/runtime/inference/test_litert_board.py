"""On a board whose LiteRT is still tflite_runtime (2.14: Python 3.11, NumPy 1) float bundles say the same as elsewhere.

An int8 bundle is refused there, because that interpreter would answer with wrong numbers.

The runtime half of edgecap is installed there without its dependencies, NumPy, msgspec and the interpreter apart: a
captioner needs no more once it is given samples.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecap.captioner import Captioner
from loopback import GUARD
from support.exports.exported import PRECISIONS, SOUNDS, Exported

Litert = Callable[..., Exported]
PACKAGES = ("tflite-runtime==2.14.0", "numpy==1.26.4", "msgspec>=0.19")
RUNTIME = Path(__file__).parents[3] / "runtime"
SCRIPT = """
import json, sys
import numpy as np
from edgecap.captioner import Captioner
from edgecap.errors import BundleError
sounds = np.load(sys.argv[1])
answers = []
for folder in sys.argv[2:]:
    try:
        captioner = Captioner.load(folder + "/", threads=1)
    except BundleError as error:
        answers.append(str(error))
        continue
    beams = [captioner.caption(sound, 16_000).beams[0] for sound in sounds.values()]
    answers.append([[list(beam.tokens), beam.score] for beam in beams])
loaded = [name for name in ("ai_edge_litert", "tflite_runtime", "onnxruntime", "soundfile") if name in sys.modules]
print(json.dumps({"numpy": np.__version__, "loaded": loaded, "answers": answers}))
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a board's environment."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("tflite_runtime 2.14 has no package for a Python after 3.11")
    folder = tmp_path_factory.mktemp("board") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--retries=1", *PACKAGES]
    with GUARD.lifted():
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"tflite_runtime cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    (next(folder.glob("lib/python3*/site-packages")) / "edgecap.pth").write_text(f"{RUNTIME}\n")
    return python


def test_the_older_runtime_says_what_the_newer_one_says(board: Path, litert: Litert, tmp_path: Path) -> None:
    searching = [litert(precision, search="in-graph") for precision in PRECISIONS]
    made = [litert(precision) for precision in PRECISIONS] + [litert("fp32", "waveform"), *searching]
    np.savez(tmp_path / "sounds.npz", *SOUNDS)
    command = [board, "-c", SCRIPT, tmp_path / "sounds.npz", *(one.bundle.folder for one in made)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["numpy"].startswith("1.")
    assert document["loaded"] == ["tflite_runtime"]
    for one, answers in zip(made, document["answers"], strict=True):
        if one.request.recipe.precision == "int8":  # it would answer with numbers that are wrong
            assert "which tflite_runtime calculates wrongly" in answers
            continue
        captioner = Captioner.load(one.bundle.folder, threads=1)
        for sound, (tokens, score) in zip(SOUNDS, answers, strict=True):
            best = captioner.caption(sound, 16_000).beams[0]
            assert tuple(tokens) == best.tokens
            assert score == pytest.approx(best.score, abs=1e-4)
