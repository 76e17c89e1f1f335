"""`edgecap archive` over thousands of files of all kinds, and again when all is done.

    python -m edgecap_bench.scaling.many_files /tmp/many --count 10000

It prints a line of JSON: the files of each outcome, and the seconds of the first run, of a second one that has nothing
to do, and of one that reads every value (`--verify`).
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

KINDS = [
    *(("wav", "WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")),
    *(("wav", "WAV", subtype) for subtype in ("ALAW", "IMA_ADPCM", "MS_ADPCM")),
    *(("flac", "FLAC", subtype) for subtype in ("PCM_16", "PCM_24")),
    *(("aiff", "AIFF", "PCM_16"), ("au", "AU", "PCM_16"), ("caf", "CAF", "PCM_16"), ("w64", "W64", "PCM_16")),
    *(("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III"), ("wav", "RF64", "PCM_16")),
]
"""Suffix, container, coding."""
RATES = (8_000, 16_000, 48_000)
CHANNELS = (1, 2, 6)
SECONDS = (0.05, 0.4, 1.5)
BROKEN = (b"", b"no sound at all", b"RIFF\x10\x00\x00\x00WAVEfmt ")
"""One file in twenty is one of these."""


def sound(number: int) -> tuple[str, bytes]:
    """The suffix and the content of one of the kinds of files."""
    if number % 20 == 19:
        return "wav", BROKEN[number // 20 % len(BROKEN)]
    suffix, container, coding = KINDS[number % len(KINDS)]
    rate, seconds = RATES[number // 3 % len(RATES)], SECONDS[number // 7 % len(SECONDS)]
    channels = 1 if coding.endswith(("ADPCM", "LAYER_III")) else CHANNELS[number // 11 % len(CHANNELS)]
    samples = np.random.default_rng(number).uniform(-0.3, 0.3, (round(rate * seconds), channels))
    file = io.BytesIO()
    soundfile.write(file, samples if number % 13 else 0 * samples, rate, format=container, subtype=coding)
    return suffix, file.getvalue()


def write_sounds(folder: Path, count: int, different: int = 2_000) -> None:
    """Fill a folder with files by hour; after so many `different` ones they repeat."""
    contents = [sound(number) for number in range(min(count, different))]
    for number in range(count):
        suffix, data = contents[number % different]
        path = folder / f"{number // 500:03d}" / f"20261128_{number % 86_400:06d}_{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def timed(folder: Path, *options: str) -> dict[str, Any]:
    """The summary of `edgecap archive` with the seconds of the whole process."""
    command = [
        sys.executable,
        "-m",
        "edgecap",
        "archive",
        str(folder / "sounds"),
        "-o",
        str(folder / "out"),
        "--engine",
        "local",
    ]
    begun = time.monotonic()
    done = subprocess.run([*command, "--json", *options], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    return {**json.loads(done.stdout), "process_seconds": round(time.monotonic() - begun, 2)}


def main() -> None:
    """Make the files, caption them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--count", type=int, default=10_000)
    arguments = parser.parse_args()
    write_sounds(arguments.folder / "sounds", arguments.count)
    first = timed(arguments.folder)
    again, verified = timed(arguments.folder), timed(arguments.folder, "--verify")
    if again["made"] or verified["made"]:
        sys.exit("a finished archive was made again")
    counts = {name: first[name] for name in ("files", "shards", "captions", "failures")}
    seconds = {"first": first, "second": again, "verify": verified}
    print(json.dumps({**counts, **{name: each["process_seconds"] for name, each in seconds.items()}}))  # noqa: T201


if __name__ == "__main__":
    main()
