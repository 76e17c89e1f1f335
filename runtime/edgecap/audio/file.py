"""Sound files as streams of blocks, of any format, sample rate, number of channels and length.

All recorded sound is read here. A file is never held in memory as a whole: an hour costs as much as a second. Standard
input and pipes, which cannot seek, are first copied to a temporary file of bounded size. Only counted lengths are
trusted: a file is read to its end, and then reported if it is shorter than its header says.
"""

from __future__ import annotations

import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np

from edgecap.audio.decoders.containers import advice_for, codec_of
from edgecap.audio.decoders.decoder import Conformer, DecodeError, Decoder
from edgecap.audio.decoders.media import media_available, open_media
from edgecap.audio.decoders.ranges import ByteReader
from edgecap.audio.decoders.sndfile import SndfileDecoder
from edgecap.audio.resample import check_rate, resampled
from edgecap.audio.samples import Downmix, check_values
from edgecap.audio.spool import spool
from edgecap.errors import AudioError, reason_of
from edgecap.types import Waveform
from edgecap.util.limits import MOST_CHANNELS

STANDARD_INPUT = "-"
SOUND_SUFFIXES = frozenset(
    {
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64"),
        *(".m4a", ".aac", ".mp4", ".webm", ".mka", ".3gp", ".amr", ".wma"),  # these need PyAV or ffmpeg
    }
)
"""Suffixes, in lower case, of the files in a folder that count as sounds; a single file may have any suffix."""
BLOCK_SAMPLES = 1 << 15
"""Samples of all channels read at once: few enough that their memory is reused and not mapped again."""
LEAST_FRAMES = 1 << 12
"""Samples of each channel read at once, however many channels there are."""
COMPRESSED = {"MP3", "FLAC", "OGG"}
"""Formats of libsndfile in which FFmpeg may get further."""
RESUMED_SECONDS = 0.25
"""FFmpeg has to bring so much more sound for a fault of libsndfile to be its own and not the file's."""
NOTHING: Waveform = np.empty((0, 1), np.float32)
LOSS_SECONDS = 0.05
"""A file that ends more than this before the end that its header gives is reported as cut short."""


class AudioFile:
    """An open sound file. Use it as a context manager; `blocks` can be read once."""

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        """Open `path`, or standard input for "-"; `name` stands for it in errors, by default its path.

        Raises AudioError, or OutputError where standard input cannot be stored.
        """
        self.name = name or name_of(path)
        with ExitStack() as stack:
            stored = self._stored(path, stack)
            self._decoder, self._path = self._open(stored), stored
            stack.callback(self._close_decoder)
            self.sample_rate = self._decoder.sample_rate
            self.channels = self._decoder.channels
            self.duration = self._decoder.promised
            """Seconds that the file says it has; None where it does not say, or where that would be a guess.

            More where another file turns out to be joined to the first.
            """
            self._conformer: Conformer | None = None
            self._frames = max(LEAST_FRAMES, BLOCK_SAMPLES // max(1, self.channels))
            self._tolerance = max(self._decoder.tolerance, LOSS_SECONDS)
            self._check_header()
            self._resources = stack.pop_all()

    def blocks(self) -> Iterator[Waveform]:
        """Checked blocks of shape (n, channels), float32 in [-1, 1].

        Everything usable comes first; then AudioError is raised for a file that is damaged or shorter than it says, and
        for a block that holds samples that are NaN or infinite.
        """
        position, fault = 0, ""
        resumed: tuple[int, str] | None = None
        while True:
            try:
                block = self._read()
            except DecodeError as error:
                block, fault = NOTHING, f"is damaged or cut short{_sentence(error)}"
            if not len(block):
                if self._ends_early(position, fault) and self._continue_with_ffmpeg(position):
                    resumed, fault = (position, fault), ""
                    continue
                if resumed is not None and position - resumed[0] < RESUMED_SECONDS * self.sample_rate:
                    fault = resumed[1]  # FFmpeg did not get past the fault either
                break
            try:
                check_values(block, self.sample_rate, position)
            except AudioError as error:
                raise AudioError(f"{self.name}: {error}") from error
            position += len(block)
            yield block
        if position == 0:
            raise AudioError(f"{self.name} {fault or 'contains no audio'}; choose another file, or copy it again")
        if self._ends_early(position, fault):
            seconds = position / self.sample_rate
            fault = fault or f"is cut short: its header says {self.duration:.3f} s"
            raise AudioError(f"{self.name} {fault}; it could be read up to {seconds:.3f} s, copy it again")

    def _ends_early(self, position: int, fault: str) -> bool:
        """Whether sound is missing behind `position`; a fault behind the promised end is none."""
        if position and self.duration is not None:
            return self.duration - position / self.sample_rate > self._tolerance
        return bool(fault) or position == 0

    def _continue_with_ffmpeg(self, position: int) -> bool:
        """Let FFmpeg go on behind `position` where libsndfile cannot; whether it can."""
        decoder = self._decoder
        if not isinstance(decoder, SndfileDecoder) or decoder.format not in COMPRESSED or not media_available():
            return False
        try:
            other = open_media(self._path)
        except DecodeError:
            return False
        left = round(position * other.sample_rate / self.sample_rate)
        try:
            while left and (passed := len(other.read(min(left, self._frames)))):
                left -= passed
        except DecodeError:
            pass
        if left:
            other.close()
            return False
        decoder.close()
        self._decoder, self._conformer = other, Conformer(other.sample_rate, self.sample_rate, self.channels)
        return True

    def _read(self) -> Waveform:
        """The next samples, like the first ones in rate and channels. Raises DecodeError."""
        block = self._decoder.read(self._frames)
        if self._conformer is not None:
            return self._conformer.push(block)
        self.duration = self._decoder.promised
        return block

    def mono(self) -> Iterator[Waveform]:
        """`blocks` as one channel, shape (n,). Raises as `blocks` does."""
        downmix = Downmix()
        return (downmix.push(block) for block in self.blocks())

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stored(self, path: str | Path, stack: ExitStack) -> Path:
        """A file that can seek and holds the sound: the given one, or a copy of what was read from a pipe."""
        if str(path) == STANDARD_INPUT:
            if sys.stdin is None:
                raise AudioError("standard input is closed; pipe a sound file into it")
            return spool(sys.stdin.buffer, self.name, stack)
        path = Path(path)
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise AudioError(f"{self.name} is a folder; name the files in it")
            # Unbuffered, so that nothing is read from a pipe before it is spooled; opening also checks permissions.
            with path.open("rb", buffering=0) as file:
                if stat.S_ISFIFO(mode):
                    return spool(file, self.name, stack)
                if not stat.S_ISREG(mode):
                    raise AudioError(f"{self.name} is not a regular file; name a sound file, or - for standard input")
                if not file.read(1):
                    raise AudioError(f"{self.name} is empty; copy it again")
        except FileNotFoundError as error:
            raise AudioError(f"{self.name} does not exist; check the name") from error
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise AudioError(f"{self.name} cannot be read ({reason_of(error)}); check its permissions") from error
        return path

    def _open(self, path: Path) -> Decoder:
        """A decoder that reads the file: libsndfile, else FFmpeg where it is installed."""
        try:
            return SndfileDecoder(path)
        except DecodeError as error:
            reason = error
        except OSError as error:
            raise AudioError(f"{self.name} cannot be read ({reason_of(error)}); check its permissions") from error
        if media_available():
            try:
                return open_media(path)
            except DecodeError as error:
                reason = error if str(error) else reason
        raise AudioError(self._unreadable(path, reason)) from reason

    def _close_decoder(self) -> None:
        self._decoder.close()

    def _unreadable(self, path: Path, reason: DecodeError) -> str:
        """The message for a file that no decoder reads."""
        reader = ByteReader(path)
        try:
            advice, codec = advice_for(reader), codec_of(reader)
        finally:
            reader.close()
        if advice:
            return f"{self.name} is {advice}"
        if media_available():
            return f"{self.name} is not a readable sound file{_sentence(reason)}; choose another file, or copy it again"
        if codec:
            return (
                f"{self.name} is {codec}, which needs PyAV or ffmpeg; type: sudo apt install ffmpeg, "
                f"or {shlex.quote(sys.executable)} -m pip install av"  # Debian's own pip refuses, or installs elsewhere
            )
        return (
            f"{self.name} is not a readable sound file{_sentence(reason)}; use wav, flac, ogg, opus or mp3, "
            f"or convert it: ffmpeg -i {self._for_shell()} sound.wav"
        )

    def _for_shell(self) -> str:
        """The name as it is typed in a shell."""
        return "-" if self.name == "standard input" else shlex.quote(self.name)

    def _check_header(self) -> None:
        try:
            check_rate(self.sample_rate)
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from error
        if self.channels > MOST_CHANNELS:
            raise AudioError(
                f"{self.name} has {self.channels} channels, and at most {MOST_CHANNELS} are supported; mix it down"
            )


def name_of(path: str | Path) -> str:
    """A file's name in messages."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


def may_wait(path: object) -> bool:
    """Whether opening a sound can wait for whoever writes it, as with standard input and pipes."""
    return isinstance(path, str | Path) and (str(path) == STANDARD_INPUT or Path(path).is_fifo())


def decode(path: str | Path, sample_rate: int, seconds: float | None = None) -> Waveform:
    """A sound file, or its first `seconds`, as mono float32 at `sample_rate` hertz: shape (n,).

    Raises AudioError for a file that cannot be used.
    """
    with AudioFile(path) as sound:
        limit = None if seconds is None else round(seconds * sound.sample_rate)
        blocks = resampled(_first(sound.mono(), limit), sound.sample_rate, sample_rate)
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


def _first(blocks: Iterator[Waveform], limit: int | None) -> Iterator[Waveform]:
    """The first `limit` samples of a stream; all of them for None."""
    position = 0
    for block in blocks:
        yield block if limit is None else block[: limit - position]
        position += len(block)
        if limit is not None and position >= limit:
            return


def _sentence(reason: DecodeError) -> str:
    """A library's reason in brackets, without its "Error :" and full stop."""
    text = " ".join(str(reason).removeprefix("Error : ").split()).rstrip(". ")
    return f" ({text})" if text else ""
