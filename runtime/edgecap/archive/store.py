"""Where an archive is kept: a local folder, or a prefix of an object store.

A file appears there whole or not at all. Locally it is written beside its place, synced and renamed, and a lock keeps a
second driver away. A put on an object store is atomic by itself; there is no lock there, and none is needed: whichever
driver writes a shard last, it has the same rows. Only the plan is created, once (`create`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgecap.archive.addresses import absolute, filesystem, local_path, remote_content, scheme_of, why
from edgecap.errors import EdgecapError, OutputError, reason_of
from edgecap.util.files import read_at_most, write_atomically
from edgecap.util.limits import MOST_SHARD

LOCK = ".lock"
_ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "obs", "memory"}
"""Schemes under which a put is atomic; under others a file gets its name after it is written."""
Answer = TypeVar("Answer")


class ArchiveStore(Protocol):
    """Files of an archive by names like "captions/shard-000000.parquet". Methods raise OutputError."""

    address: str

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Names and sizes in bytes of the files in a folder, sorted; those of hidden files are left out."""
        ...

    def read(self, name: str, most: int = MOST_SHARD) -> bytes | None:
        """What a file holds, which has at most so many bytes; None where there is none."""
        ...

    def ends(self, names: Sequence[str], size: int) -> list[bytes]:
        """The last bytes of files, at most `size` of each; none of one that cannot be read."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, in place of the one that is there."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one already; whether it was written."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        ...

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other drivers away, where that is possible."""
        ...


def open_store(address: str) -> ArchiveStore:
    """The store at an address; nothing is written yet. Raises what `filesystem` does."""
    return RemoteStore(address) if scheme_of(address) else LocalStore(absolute(address))


class LocalStore:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._folder = local_path(address)

    def sizes(self, folder: str = "") -> dict[str, int]:
        """As in `ArchiveStore`."""
        try:
            with os.scandir(self._folder / folder) as entries:
                files = [(entry.name, entry.stat().st_size) for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._refused("read", error) from error
        return dict(sorted(files))

    def read(self, name: str, most: int = MOST_SHARD) -> bytes | None:
        """As in `ArchiveStore`."""
        try:
            return read_at_most(self._folder / name, most)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused("read", error) from error

    def ends(self, names: Sequence[str], size: int) -> list[bytes]:
        """As in `ArchiveStore`."""
        return [_end(self._folder / name, size) for name in names]

    def write(self, name: str, data: bytes) -> None:
        """As in `ArchiveStore`."""
        write_atomically(self._folder / name, data)

    def create(self, name: str, data: bytes) -> bool:
        """As in `ArchiveStore`; the lock makes it exclusive."""
        if (self._folder / name).exists():
            return False
        self.write(name, data)
        return True

    def remove(self, name: str) -> None:
        """As in `ArchiveStore`."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._refused("written", error) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """As in `ArchiveStore`; what killed drivers left half-written is removed then."""
        new = not self._folder.exists()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / LOCK).open("a+")
        except OSError as error:
            raise self._refused("written", error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read(20).strip() or "of another machine"
                raise OutputError(
                    f"{self.address} is being written by another edgecap archive (process {holder}); wait for it, "
                    "or name another folder"
                ) from error
            except OSError:
                pass  # some network file systems have no locks: shards have the same rows, whoever writes last
            with contextlib.suppress(OSError):  # a full disk is told by what cannot do without
                file.truncate(0)
                file.write(f"{os.getpid()}\n")
                file.flush()
            for rest in self._folder.glob("*/.*.tmp"):
                rest.unlink(missing_ok=True)
            try:
                yield
            finally:
                if new and not self.sizes():  # nothing came of it
                    with contextlib.suppress(OSError):
                        (self._folder / LOCK).unlink()
                        self._folder.rmdir()

    def _refused(self, what: str, error: OSError) -> OutputError:
        return OutputError(
            f"{self.address} cannot be {what} ({reason_of(error)}); check its permissions, or name another folder"
        )


class RemoteStore:
    """A prefix of an object store, or any other place that fsspec reaches."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._system, self._prefix = filesystem(self.address)
        self._atomic = scheme_of(address) in _ATOMIC

    def sizes(self, folder: str = "") -> dict[str, int]:
        """As in `ArchiveStore`."""

        def files() -> dict[str, int]:
            self._system.invalidate_cache()
            place = self._path(folder)
            try:
                entries: list[dict[str, Any]] = self._system.ls(place, detail=True)
            except FileNotFoundError:
                return {}
            named = ((entry["name"].rstrip("/").rpartition("/")[2], entry.get("size") or 0) for entry in entries)
            own = place.rstrip("/").rpartition("/")[2]  # some stores list the place itself
            return dict(sorted((name, size) for name, size in named if name not in ("", own) and name[0] != "."))

        return self._try("read", files)

    def read(self, name: str, most: int = MOST_SHARD) -> bytes | None:
        """As in `ArchiveStore`."""

        def content() -> bytes | None:
            try:
                return remote_content(self._system, self._path(name), most)
            except FileNotFoundError:
                return None

        return self._try("read", content)

    def ends(self, names: Sequence[str], size: int) -> list[bytes]:
        """As in `ArchiveStore`."""
        if not names:
            return []
        count = len(names)
        paths = [self._path(name) for name in names]
        answers = self._try(
            "read", lambda: self._system.cat_ranges(paths, [-size] * count, [None] * count, on_error="return")
        )
        return [answer if isinstance(answer, bytes) else b"" for answer in answers]

    def write(self, name: str, data: bytes) -> None:
        """As in `ArchiveStore`."""
        self._try("written", lambda: self._put(name, data))

    def create(self, name: str, data: bytes) -> bool:
        """As in `ArchiveStore`; exclusive where the store can be asked for that."""

        def attempt() -> bool:
            path = self._path(name)
            if self._system.exists(path):
                return False
            try:
                self._system.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except (TypeError, NotImplementedError):  # it has no such mode
                self._put(name, data)
            return True

        return self._try("written", attempt)

    def remove(self, name: str) -> None:
        """As in `ArchiveStore`."""

        def attempt() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._system.rm_file(self._path(name))

        self._try("written", attempt)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """As in `ArchiveStore`: there is none."""
        yield

    def _path(self, name: str) -> str:
        return f"{self._prefix.rstrip('/')}/{name}".rstrip("/")

    def _put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        if self._atomic:
            self._system.pipe_file(path, data)
            return
        self._system.makedirs(folder, exist_ok=True)
        self._system.pipe_file(f"{folder}/.{last}.tmp", data)
        self._system.mv(f"{folder}/.{last}.tmp", path)

    def _try(self, what: str, call: Callable[[], Answer]) -> Answer:
        """The answer of a call; whatever its library raises becomes an OutputError."""
        try:
            return call()
        except EdgecapError:
            raise
        except Exception as error:  # each library has its own kinds of errors
            raise OutputError(
                f"{self.address} cannot be {what} ({why(error)}); check the address, the network and your rights, or "
                "name another place"
            ) from error


def _end(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)
    except OSError:
        return b""
