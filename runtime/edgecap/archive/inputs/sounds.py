"""Planned sources as open sound files: local ones, remote ones and the members of tar files.

What is not a local file is first copied to a file without a name, one at a time, so that every decoder can seek in it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import IO, Any

from edgecap.archive.addresses import WEB, filesystem, local_path, scheme_of, why
from edgecap.archive.inputs.find import PlannedSource
from edgecap.archive.inputs.times import moment, time_in_name
from edgecap.archive.schema import FailedSource
from edgecap.audio.file import SOUND_SUFFIXES, AudioFile
from edgecap.audio.spool import spool
from edgecap.errors import AudioError, ConfigError, EdgecapError

_BLOCK = 4 << 20
"""Bytes that are asked for at once of a remote address."""
_COPY_AGAIN = "copy it again"


@dataclass(frozen=True)
class SoundKey:
    """Which sound a caption belongs to."""

    source: str
    time: datetime | None
    """When its recording began."""
    modified: datetime | None
    """When it was last changed."""


class SpooledSound(AudioFile):
    """A sound file from a stream that cannot seek, such as a download."""

    def __init__(self, stream: IO[bytes] | io.RawIOBase, name: str) -> None:
        """Read the stream to its end. Raises AudioError, or OutputError where it cannot be stored."""
        self._stream = stream
        super().__init__(name, name=name)

    def _stored(self, path: str | Path, stack: ExitStack) -> Path:
        return spool(self._stream, self.name, stack, _COPY_AGAIN)


def open_sounds(
    sources: Sequence[PlannedSource], default: tzinfo, fail: Callable[[FailedSource], None]
) -> Iterator[tuple[SoundKey, AudioFile]]:
    """The sounds of sources, in order, each open; what cannot be opened goes to `fail`, and the next one follows.

    `default` is the time zone of times in names. Whoever takes a sound closes it. Raises OutputError where a copy
    cannot be stored, MissingDependencyError for a kind of address whose package is not installed.
    """
    for source in sources:
        try:
            if source.is_tar:
                yield from _members(source, default, fail)
            else:
                yield _key(source, default), _open(source)
        except (AudioError, ConfigError) as error:  # ConfigError: an unknown kind of address
            fail(FailedSource.of(source.address, error))


def _key(source: PlannedSource, default: tzinfo) -> SoundKey:
    return SoundKey(source.address, source.time or time_in_name(source.address, default), source.modified)


def _open(source: PlannedSource) -> AudioFile:
    if not scheme_of(source.address):
        return AudioFile(local_path(source.address))
    with _stream(source.address) as stream:
        return SpooledSound(stream, source.address)


def _members(
    source: PlannedSource, default: tzinfo, fail: Callable[[FailedSource], None]
) -> Iterator[tuple[SoundKey, AudioFile]]:
    """The sounds in a tar file, by addresses that fsspec opens: tar://MEMBER::ADDRESS."""
    with _stream(source.address) as stream:
        count, names = 0, set[str]()
        try:
            with tarfile.open(fileobj=stream, mode="r|*") as tar:
                for member in tar:
                    content = tar.extractfile(member) if _is_sound(member) else None
                    if content is None:
                        continue
                    name = f"tar://{_text(member.name)}::{source.address}"
                    time = time_in_name(member.name, default)
                    modified = moment(member.mtime) if member.mtime else None
                    try:
                        if name in names:
                            raise AudioError(f"{name} is in its tar file twice, and the first one counts; rename one")
                        names.add(name)
                        sound = SpooledSound(content, name)
                    except AudioError as error:
                        fail(FailedSource.of(name, error))
                        continue
                    count += 1
                    yield SoundKey(name, time, modified), sound
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
            raise AudioError(
                f"{source.address} is damaged or no tar file ({why(error)}); {count} sounds before that were read, "
                f"{_COPY_AGAIN}"
            ) from error
        if not count:
            raise AudioError(f"{source.address} holds no sound that can be read; name another tar file")


def _text(name: str) -> str:
    """A name in a tar file as text that a table can hold."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _is_sound(member: tarfile.TarInfo) -> bool:
    return member.isfile() and Path(member.name).suffix.lower() in SOUND_SUFFIXES


@contextmanager
def _stream(address: str) -> Iterator[IO[bytes] | io.RawIOBase]:
    """The bytes of an address, to read once. Raises AudioError."""
    with ExitStack() as stack:
        try:
            if scheme_of(address):
                system, path = filesystem(address)
                # 0: a web server is asked for the whole file, since not each knows ranges
                size = 0 if scheme_of(address) in WEB else _BLOCK
                opened = system.open(path, "rb", block_size=size, cache_type="readahead")
            else:
                opened = local_path(address).open("rb")
            stack.enter_context(opened)
        except EdgecapError:
            raise
        except Exception as error:  # each library has its own kinds of errors
            raise AudioError(f"{address} cannot be read ({why(error, address)}); check the address") from error
        yield _Checked(opened)


class _Checked(io.RawIOBase):
    """A stream of another library, whose errors are OSErrors here."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - fsspec has no types
        self._inner = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._inner.read(size))
        except OSError:
            raise
        except Exception as error:  # each library has its own kinds of errors
            raise OSError(why(error)) from error
