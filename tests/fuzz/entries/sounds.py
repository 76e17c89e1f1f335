"""Sounds: files of all formats, pipes, and the files of taught sounds."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from edgecap.audio.decoders.decoder import DecodeError, Decoder
from edgecap.audio.decoders.ffmpeg import FfmpegDecoder
from edgecap.audio.file import AudioFile
from edgecap.live.sources.pipe_source import PipeSource
from edgecap.sounds.archive import DOCUMENT, _digest
from edgecap.sounds.sound import TaughtSound
from edgecap.sounds.sound_file import read_recordings, write_sound
from edgecap.sounds.store import SoundStore
from edgecap.util.files import to_json
from fuzz.targets import Opened
from support.signals import RATE, noise

SECONDS = 0.12
"""Of a sound: long enough for a frame of every format, and short enough for many of them."""
CONTAINERS = {
    "wav": ("WAV", "PCM_16"), "float": ("WAV", "FLOAT"), "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"), "caf": ("CAF", "PCM_16"), "au": ("AU", "PCM_16"), "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "adpcm": ("WAV", "IMA_ADPCM"),
    "alac": ("CAF", "ALAC_16"), "voc": ("VOC", "PCM_16"), "ircam": ("IRCAM", "PCM_16"), "nist": ("NIST", "PCM_16"),
}  # fmt: skip
"""What libsndfile reads."""
OTHERS = {
    "m4a": "aac", "aac": "aac", "webm": "libopus", "mka": "flac", "oga": "flac", "wma": "wmav2", "ac3": "ac3",
    "mp2": "mp2", "wv": "wavpack", "tta": "tta", "avi": "pcm_s16le", "ts": "mp2", "mov": "pcm_s16le",
}  # fmt: skip
"""Suffix → codec of what FFmpeg reads."""


@contextmanager
def sound(folder: Path) -> Iterator[Opened]:
    """Files that libsndfile reads; PyAV gets what it refuses."""
    path, seeds = folder / "sound", list[bytes]()
    for container, subtype in CONTAINERS.values():
        with suppress(soundfile.LibsndfileError):  # another version
            soundfile.write(path, noise(SECONDS), RATE, format=container, subtype=subtype)
            seeds.append(path.read_bytes())
    with _without_program():
        yield seeds, lambda data: _hear(path, data)


@contextmanager
def media(folder: Path) -> Iterator[Opened]:
    """Files that FFmpeg reads, by PyAV."""
    seeds = _encoded(folder)
    path = folder / "sound"
    with _without_program():
        yield seeds, lambda data: _hear(path, data)


@contextmanager
def program(folder: Path) -> Iterator[Opened]:
    """The same by the program, as where PyAV is not installed."""
    path = folder / "sound"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DecodeError):  # which `AudioFile` words
            _drain(FfmpegDecoder(path))

    yield _encoded(folder), run


@contextmanager
def pipe(_folder: Path) -> Iterator[Opened]:
    """Raw samples for `edgecap listen --stdin`, or what is none."""
    wav = io.BytesIO()
    soundfile.write(wav, noise(SECONDS), RATE, format="WAV")
    mp3 = io.BytesIO()
    soundfile.write(mp3, noise(SECONDS), RATE, format="MP3")
    raw = (noise(0.3) * 32_767).astype("<i2").tobytes()

    def run(data: bytes) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            source = PipeSource(file.fileno(), RATE, 1 + len(data) % 3, RATE, speed=0.0)
            while not source.ended:
                assert source.read(0.0).samples.ndim == 1

    yield [raw, raw[:100], wav.getvalue(), mp3.getvalue(), b"a text\n", b"\x47" + bytes(187)], run


@contextmanager
def taught(folder: Path) -> Iterator[Opened]:
    """The file of a taught sound. The first byte says whether its document, an array or the file itself is another.

    For the first two its hash is made right, as a stranger would.
    """
    random = np.random.default_rng(0)
    frames = random.normal(size=(4, 8)).astype(np.float32)
    path = folder / "bell.sound"
    write_sound(path, TaughtSound("bell", "bell", "0" * 64, 0.5, 0.9, (frames,), (frames,), "2026-11-28"), [b"fLaC"])
    good = path.read_bytes()
    with np.load(path) as loaded:
        arrays: dict[str, NDArray[Any]] = {name: loaded[name] for name in loaded.files}
    document = json.loads(arrays.pop(DOCUMENT).tobytes())
    array = io.BytesIO()
    np.save(array, arrays["example-000"])
    store = SoundStore(folder)

    def run(data: bytes) -> None:
        kind, content = data[:1], data[1:]
        path.write_bytes(content if kind == b"f" else _rewritten(kind, content, document, arrays))
        for each in store.load().sounds:
            to_json([each.name, each.threshold, each.typical, each.created, each.model])
            store.find(each.name)
        read_recordings(path)

    yield [b"d" + json.dumps(document).encode(), b"a" + array.getvalue(), b"f" + good], run


def _rewritten(kind: bytes, content: bytes, document: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> bytes:
    """A sound's file with another document ("d") or another array, and the hash of all that."""
    raw = {name: _saved(array) for name, array in arrays.items()}
    if kind == b"d":
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raw[DOCUMENT] = _saved(np.frombuffer(content, np.uint8))
    else:
        raw["example-000"] = content
    if DOCUMENT not in raw:
        text = content
        with suppress(Exception):  # what cannot be hashed has no right hash
            arrays = {**arrays, "example-000": np.load(io.BytesIO(raw["example-000"]))}
            plain = {key: value for key, value in document.items() if key not in {"format", "version", "sha256"}}
            text = json.dumps({**document, "sha256": _digest(plain, arrays)}).encode()
        raw[DOCUMENT] = _saved(np.frombuffer(text, np.uint8))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in raw.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def _saved(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _hear(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with AudioFile(path) as heard:
        for block in heard.mono():
            assert block.ndim == 1


def _drain(decoder: Decoder) -> None:
    try:
        while len(decoder.read(1 << 15)):
            pass
    finally:
        decoder.close()


def _encoded(folder: Path) -> list[bytes]:
    """A sound in each of the formats that the program ffmpeg writes here."""
    if shutil.which("ffmpeg") is None:
        raise RuntimeError("this target makes its good inputs with ffmpeg; type: sudo apt install ffmpeg")
    base, seeds = folder / "base.wav", list[bytes]()
    soundfile.write(base, noise(SECONDS), RATE)
    for suffix, codec in OTHERS.items():
        path = folder / f"sound.{suffix}"
        rate = [] if codec not in {"libopus", "ac3", "mp2"} else ["-ar", "48000"]
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(base), "-c:a", codec, *rate, str(path)]
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            seeds.append(path.read_bytes())
    return seeds


@contextmanager
def _without_program() -> Iterator[None]:
    """Hide the program ffmpeg: a process for each refused input would cost most of the time."""
    before = os.environ["PATH"]
    os.environ["PATH"] = ""
    try:
        yield
    finally:
        os.environ["PATH"] = before
