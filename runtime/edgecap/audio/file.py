"""Sound files as streams of blocks: wav, flac, ogg, opus, mp3, whatever their rate and channels.

A file is never held whole: an hour costs as much memory as a second. Standard input and pipes, which
cannot be searched, go through a temporary file of bounded size first.
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
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from edgecap.audio.resample import check_rate, resampled
from edgecap.audio.samples import MOST_CHANNELS, check_values, to_mono
from edgecap.errors import AudioError, MissingDependencyError, OutputError
from edgecap.types import Waveform
from edgecap.util.stderr import silent_descriptor

STANDARD_INPUT = "-"
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"})
"""Endings of the files in a folder that are taken for sounds, in lower case; a file named by itself may have any."""
SPOOL_LIMIT = 4 << 30
"""Most bytes taken from standard input: the size that a WAV file ends at."""
BLOCK_FRAMES = 1 << 16
_UNKNOWN_FRAMES = 1 << 48
"""A header that says more than this (9,000 years of 1 kHz) says that the length is not known."""


class AudioFile:
    """An open sound file. Use it as a context manager; `blocks` can be walked once."""

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        """Open `path`, or standard input for "-"; `name` is what errors call it, its path where none is given.

        Raises AudioError, or OutputError where it cannot be spooled.
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
            """Frames (samples of one channel) that the header promises; None where it does not say."""
            self._check_header()
            self._resources = stack.pop_all()

    @property
    def duration(self) -> float | None:
        """Seconds that the header promises; None where it does not say."""
        return None if self.frames is None else self.frames / self.sample_rate

    def blocks(self) -> Iterator[Waveform]:
        """Checked blocks of shape (n, channels), float32 in [-1, 1].

        Raises AudioError for a damaged or truncated file and for samples that are no numbers.
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
        # An mp3's header counts whole frames and the encoder's delay, so only a clear lack is one.
        tolerance = self.sample_rate if self._sound.format == "MP3" else 0
        if self.frames is not None and position < self.frames - tolerance:
            raise AudioError(
                f"{self.name} is cut short: it ends after {position / self.sample_rate:.3f} s and its "
                f"header says {self.frames / self.sample_rate:.3f} s; copy it again"
            )
        if position == 0:
            raise AudioError(f"{self.name} has no samples; give a sound that is longer than nothing")

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _stored(self, path: str | Path, stack: ExitStack) -> Path:
        """A file on disk that holds the sound: the given one, or what was read from a pipe."""
        if str(path) == STANDARD_INPUT:
            if sys.stdin is None:
                raise AudioError("standard input is closed; pipe a sound file into it")
            return _spool(sys.stdin.buffer, self.name, stack)
        path = Path(path)
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise AudioError(f"{self.name} is a folder; name the files in it")
            # Unbuffered, so that a pipe is not read from before it is spooled; opening tells about permissions.
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
            with silent_descriptor():  # what the mp3 decoder writes there
                return soundfile.SoundFile(os.fsencode(path))
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            # libsndfile says "not a regular file" of anything called .mp3 that is none
            reason = "" if "regular file" in str(error) else _sentence(getattr(error, "error_string", ""))
            raise AudioError(
                f"{self.name} is not a sound that can be read{reason}; give wav, flac, ogg, opus or mp3, "
                f"or convert it: ffmpeg -i {shlex.quote(self.name)} sound.wav"
            ) from error

    def _check_header(self) -> None:
        try:
            check_rate(self.sample_rate)
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from error
        if self.channels > MOST_CHANNELS:
            raise AudioError(
                f"{self.name} has {self.channels} channels and at most {MOST_CHANNELS} are taken; mix it down"
            )
        if self.frames == 0:
            raise AudioError(f"{self.name} has no samples; give a sound that is longer than nothing")

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
    """A whole sound file, or its first `seconds`, as mono float32 at `sample_rate` hertz: shape (n,).

    Raises AudioError for a file that cannot be used.
    """
    with AudioFile(path) as sound:
        wanted = None if seconds is None else round(seconds * sound.sample_rate)
        blocks = resampled(_mono(sound, wanted), sound.sample_rate, sample_rate)
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


def _mono(sound: AudioFile, wanted: int | None) -> Iterator[Waveform]:
    """Mono blocks of a file, up to `wanted` samples in all."""
    left = wanted
    for block in sound.blocks():
        yield to_mono(block if left is None else block[:left])
        if left is not None:
            left -= len(block)
            if left <= 0:
                return


def _spool(source: IO[bytes] | io.RawIOBase, name: str, stack: ExitStack) -> Path:
    """Copy a stream that cannot be searched into a temporary file, which lives as long as the stack."""
    size = 0
    try:
        target = stack.enter_context(tempfile.NamedTemporaryFile(prefix="edgecap-"))  # noqa: SIM115 - the stack closes it
        while block := source.read(1 << 20):
            size += len(block)
            if size > SPOOL_LIMIT:
                raise AudioError(f"{name} is longer than {SPOOL_LIMIT >> 30} GiB; give a file instead of a pipe")
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
    """A library's reason in brackets, without its own "Error :" and full stop."""
    reason = reason.removeprefix("Error : ").rstrip(". ")
    return f" ({reason})" if reason else ""
