"""Two checkouts side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.source_tree import REPOSITORY


def test_every_stage_and_the_cold_start_get_a_ratio(tiny_folder: Path, sounds: Path) -> None:
    command = [sys.executable, "-m", "edgecap_bench.figures.against", str(REPOSITORY), str(sounds / "long.wav")]
    models = ["--model", str(tiny_folder), "--other-model", str(tiny_folder)]
    done = subprocess.run([*command, *models, "--rounds", "1"], capture_output=True, text=True, check=True)
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["here,", "ms", "other,", "ms", "ratio", "95", "%"]
    assert [row.split("  ")[0] for row in rows] == ["log_mel", "encode", "decode", "caption", "hop", "cold start"]
    assert all(float(row.split()[-4]) > 0.0 for row in rows)
    listening = [*command, *models, "--rounds", "1", "--streams", "1"]
    done = subprocess.run(listening, capture_output=True, text=True, check=True)
    (row,) = done.stdout.splitlines()[1:]
    assert row.startswith("16 streams ")
    assert float(row.split()[-4]) > 0.0
