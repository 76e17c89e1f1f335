"""Sound files as streams of blocks: wav, flac, ogg, opus, mp3, of any sample rate and number of channels.

A file is never held in memory as a whole: an hour costs as much as a second. Standard input and pipes, which cannot be
rewound, are first copied to a temporary file of bounded size.
"""

from __future__ import annotations

import io
import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from edgecap.audio.resample import check_rate, resampled
from edgecap.audio.samples import MOST_CHANNELS, check_values, to_mono
from edgecap.errors import AudioError, MissingDependencyError, OutputError
from edgecap.types import Waveform
from edgecap.util.stderr import silent_descriptor

STANDARD_INPUT = "-"
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"})
"""Suffixes, in lower case, of the files in a folder that count as sounds; a single file may have any suffix."""
SPOOL_LIMIT = 4 << 30
"""Most bytes taken from standard input: the largest size of a WAV file."""
BLOCK_FRAMES = 1 << 16
_UNKNOWN_FRAMES = 1 << 48
"""A header with more frames than this (9,000 years at 1 kHz) means that the length is unknown."""


class AudioFile:
    """An open sound file. Use it as a context manager; `blocks` can be read once."""

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        """Open `path`, or standard input for "-"; `name` stands for it in errors, by default its path.

        Raises AudioError, or OutputError where standard input cannot be stored.
        """
        self.name = name or ("standard input" if str(path) == STANDARD_INPUT else str(path))
        with ExitStack() as stack:
            stored = self._stored(path, stack)
            self._sound = self._open(stored)
            stack.callback(self._sound.close)
            self.sample_rate: int = self._sound.samplerate
            self.channels: int = self._sound.channels
            frames: int = self._sound.frames
            self.frames: int | None = frames if frames < _UNKNOWN_FRAMES else None
            """Frames (samples of one channel) according to the header; None where it does not say."""
            self._check_header()
            self._resources = stack.pop_all()

    @property
    def duration(self) -> float | None:
        """Seconds according to the header; None where it does not say."""
        return None if self.frames is None else self.frames / self.sample_rate

    def blocks(self) -> Iterator[Waveform]:
        """Checked blocks of shape (n, channels), float32 in [-1, 1].

        Raises AudioError for a damaged or truncated file and for samples that are NaN or infinite.
        """
        position = 0
        while True:
            block = self._read()
            if not len(block):
                break
            try:
                check_values(block, self.sample_rate, position)
            except AudioError as error:
                raise AudioError(f"{self.name}: {error}") from error
            position += len(block)
            yield block
        # An mp3's header counts complete frames and the encoder's delay, so only a large difference is an error.
        tolerance = self.sample_rate if self._sound.format == "MP3" else 0
        if self.frames is not None and position < self.frames - tolerance:
            raise AudioError(
                f"{self.name} is cut short: it ends after {position / self.sample_rate:.3f} s and its "
                f"header says {self.frames / self.sample_rate:.3f} s; copy it again"
            )
        if position == 0:
            raise AudioError(f"{self.name} contains no audio; choose another file")

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stored(self, path: str | Path, stack: ExitStack) -> Path:
        """A regular file that holds the sound: the given one, or a copy of what was read from a pipe."""
        if str(path) == STANDARD_INPUT:
            if sys.stdin is None:
                raise AudioError("standard input is closed; pipe a sound file into it")
            return _spool(sys.stdin.buffer, self.name, stack)
        path = Path(path)
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise AudioError(f"{self.name} is a folder; name the files in it")
            # Unbuffered, so that nothing is read from a pipe before it is spooled; opening also checks permissions.
            with path.open("rb", buffering=0) as file:
                if stat.S_ISFIFO(mode):
                    return _spool(file, self.name, stack)
                if not stat.S_ISREG(mode):
                    raise AudioError(f"{self.name} is not a plain file; name a sound file, or - for standard input")
                if not file.read(1):
                    raise AudioError(f"{self.name} is empty; copy it again")
        except FileNotFoundError as error:
            raise AudioError(f"{self.name} does not exist; check the name") from error
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise AudioError(f"{self.name} cannot be read ({_reason(error)}); check its permissions") from error
        return path

    def _open(self, path: Path) -> Any:  # noqa: ANN401 - soundfile has no types
        try:
            import soundfile
        except (ImportError, OSError) as error:
            raise MissingDependencyError(
                "reading sound files needs libsndfile, which was not found; type: sudo apt install libsndfile1"
            ) from error
        try:
            with silent_descriptor():  # the mp3 decoder writes there
                return soundfile.SoundFile(os.fsencode(path))
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            # libsndfile says "not a regular file" of anything named .mp3 that is not an mp3
            reason = "" if "regular file" in str(error) else _sentence(getattr(error, "error_string", ""))
            raise AudioError(
                f"{self.name} is not a readable sound file{reason}; use wav, flac, ogg, opus or mp3, "
                f"or convert it: ffmpeg -i {shlex.quote(self.name)} sound.wav"
            ) from error

    def _check_header(self) -> None:
        try:
            check_rate(self.sample_rate)
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from error
        if self.channels > MOST_CHANNELS:
            raise AudioError(
                f"{self.name} has {self.channels} channels, and at most {MOST_CHANNELS} are supported; mix it down"
            )
        if self.frames == 0:
            raise AudioError(f"{self.name} contains no audio; choose another file")

    def _read(self) -> Waveform:
        import soundfile

        read: Callable[[], Waveform] = lambda: self._sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)  # noqa: E731
        try:
            if self._sound.format != "MP3":
                return read()
            with silent_descriptor():
                return read()
        except soundfile.SoundFileError as error:
            reason = _sentence(getattr(error, "error_string", ""))
            raise AudioError(f"{self.name} is damaged or cut short{reason}; copy it again") from error


def decode(path: str | Path, sample_rate: int, seconds: float | None = None) -> Waveform:
    """A sound file, or its first `seconds`, as mono float32 at `sample_rate` hertz: shape (n,).

    Raises AudioError for a file that cannot be used.
    """
    with AudioFile(path) as sound:
        limit = None if seconds is None else round(seconds * sound.sample_rate)
        blocks = resampled(_mono(sound, limit), sound.sample_rate, sample_rate)
        samples = np.concatenate(list(blocks))
    return samples if seconds is None else samples[: round(seconds * sample_rate)]


def sound_files(folder: Path) -> list[Path]:
    """The sound files in `folder` and below it, sorted by path. Raises AudioError where there is none."""
    if not folder.is_dir():
        raise AudioError(f"there is no folder {folder}; name a folder of sound files")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES and path.is_file())
    if not paths:
        raise AudioError(f"{folder} holds no sound files ({', '.join(sorted(SOUND_SUFFIXES))}); name another folder")
    return paths


def _mono(sound: AudioFile, limit: int | None) -> Iterator[Waveform]:
    """Mono blocks of a file, up to `limit` samples in all."""
    position = 0
    for block in sound.blocks():
        yield to_mono(block if limit is None else block[: limit - position])
        position += len(block)
        if limit is not None and position >= limit:
            return


def _spool(source: IO[bytes] | io.RawIOBase, name: str, stack: ExitStack) -> Path:
    """Copy a stream that cannot be rewound into a temporary file, which lives as long as the stack."""
    size = 0
    try:
        target = stack.enter_context(tempfile.NamedTemporaryFile(prefix="edgecap-"))  # noqa: SIM115 - the stack closes it
        while block := source.read(1 << 20):
            size += len(block)
            if size > SPOOL_LIMIT:
                raise AudioError(f"{name} is larger than {SPOOL_LIMIT >> 30} GiB; use a file instead of a pipe")
            target.write(block)
        target.flush()
    except OSError as error:
        raise OutputError(
            f"{name} cannot be stored in {tempfile.gettempdir()} ({_reason(error)}); free space or set "
            "TMPDIR to a folder with more"
        ) from error
    if size == 0:
        raise AudioError(f"{name} is empty; pipe a sound file into it")
    return Path(target.name)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _sentence(reason: str) -> str:
    """A library's reason in brackets, without its "Error :" and full stop."""
    reason = reason.removeprefix("Error : ").rstrip(". ")
    return f" ({reason})" if reason else ""
