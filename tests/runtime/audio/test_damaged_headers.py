"""Headers of every container, damaged at random: one line at most, no crash, no hang, no memory that they ask for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.signals import RATE, noise

CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
EACH = 40
HEADER_BYTES = 200
VALUES = (bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(8), b"\xff" * 8, b"\xff" * 7 + b"\x7f")
SECONDS = 120
MOST_MEGABYTES = 300
READ_ALL = """
import sys
from pathlib import Path
from edgecap.audio.file import AudioFile
from edgecap.errors import EdgecapError
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, flush=True)
    try:
        with AudioFile(path) as sound:
            for block in sound.mono():
                pass
    except EdgecapError as error:
        assert len(str(error).splitlines()) == 1, error
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """A file with one to four changes in its header: a size or count at an extreme, bytes lost, doubled or flipped."""
    result = bytearray(data)
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(0, min(HEADER_BYTES, len(result))))
        kind = random.integers(0, 4)
        if kind == 0:
            value = VALUES[random.integers(0, len(VALUES))]
            result[place : place + len(value)] = value
        elif kind == 1:
            del result[place : place + int(random.integers(1, 40))]
        elif kind == 2:
            result[place:place] = result[: int(random.integers(1, HEADER_BYTES))]
        else:
            result[place] = random.integers(0, 256)
    return bytes(result)


@pytest.mark.parametrize("seed", [0])
def test_damaged_headers_do_no_harm(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    (tmp_path / "damaged").mkdir()
    for kind, (container, subtype) in CONTAINERS.items():
        soundfile.write(tmp_path / kind, noise(1), RATE, format=container, subtype=subtype)
        data = (tmp_path / kind).read_bytes()
        for index in range(EACH):
            (tmp_path / "damaged" / f"{index:02}.{kind}").write_bytes(damaged(data, random))
    command = [sys.executable, "-c", READ_ALL, str(tmp_path / "damaged")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    *names, last = done.stdout.splitlines() or [""]
    assert done.returncode == 0, f"{last}: {done.stderr[-2000:]}"
    assert len(names) == EACH * len(CONTAINERS)
    assert done.stderr == ""
    assert int(last) <= MOST_MEGABYTES
