"""Headers of every container, damaged at random: one line at most, no crash, no hang, no memory that they ask for."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.audio.decoders.mp3 import read_layouts
from edgecap.audio.decoders.ranges import ByteReader
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


def test_a_frame_header_without_its_first_byte_does_not_keep_the_walk_from_ending(tmp_path: Path) -> None:
    """Found by fuzzing: what was known of the header's other bytes, the frame's own walk then took for its size."""
    first, second = bytes.fromhex("fff388c4"), bytes.fromhex("fff398c4")  # 64 and 80 kbit/s at 16 kHz
    frames = [header + bytes(size - 4) for header, size in ((first, 288), (second, 360))]
    path = tmp_path / "a.mp3"
    path.write_bytes(frames[0] * 3 + b"\0" + second[1:] + bytes(99) + frames[1] * 5)
    reader = ByteReader(path)
    layouts = read_layouts(reader)
    reader.close()
    assert [layout.count for layout in layouts] == [8]


def test_no_more_is_read_than_there_is_whatever_a_header_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, pread = list[int](), os.pread

    def counted(file: int, count: int, place: int) -> bytes:
        asked.append(count)
        return pread(file, count, place)

    monkeypatch.setattr(os, "pread", counted)
    path = tmp_path / "a.au"
    path.write_bytes(b".snd" + struct.pack(">IIIII", 2**32 - 8, 2**32 - 1, 3, 16_000, 1) + bytes(100))
    reader = ByteReader(path)
    assert reader.at(4, 2**31) == path.read_bytes()[4:]
    reader.close()
    assert max(asked) < 2**20
