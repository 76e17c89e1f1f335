"""What is to be captioned: folders, patterns, files, tables of addresses and tar files, here or behind an address."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edgecap.archive.addresses import (
    WEB,
    absolute,
    filesystem,
    local_path,
    path_in,
    scheme_of,
    storable,
    suffix_of,
    why,
)
from edgecap.archive.inputs.manifest import MANIFEST_SUFFIXES, read_manifest
from edgecap.archive.inputs.times import moment
from edgecap.archive.schema import FailedSource
from edgecap.audio.file import SOUND_SUFFIXES
from edgecap.errors import AudioError, reason_of

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""WebDataset shards: read as streams, one sound after the other."""
_MAGIC = re.compile(r"[*?[]")
_ANY_DEPTH = "**"
Fail = Callable[[FailedSource], None]


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """A sound, or a tar file with sounds."""

    address: str
    """An absolute path or an address."""
    size: int | None = None
    """Bytes, where listing said so."""
    time: datetime | None = None
    """When its recording began, as a manifest or the file's name says."""
    modified: datetime | None = None
    """When it was last changed, where listing said so."""

    @property
    def is_tar(self) -> bool:
        """Whether it is read as a tar file."""
        return is_tar(self.address)


@dataclass(frozen=True)
class InputRules:
    """How inputs are read."""

    column: str | None = None
    """The column of manifests with the sources; None for the first of the usual names."""
    time_zone: str = "UTC"
    """Of times in a manifest that have none."""


def is_tar(address: str) -> bool:
    """Whether an address names a tar file."""
    return path_in(address).lower().endswith(TAR_SUFFIXES)


def find_sources(
    inputs: Iterable[str], rules: InputRules, fail: Fail, known: Collection[str] = ()
) -> Iterator[PlannedSource]:
    """The sources of the inputs, each once and in a fixed order, without those whose addresses are `known`.

    Folders and patterns are sorted by path, manifests keep the order of their rows. A row of a manifest that cannot be
    used, and a folder below an input that cannot be read, goes to `fail`, and all else follows. Raises AudioError for
    an input that does not exist or cannot be reached, TableError for a manifest that cannot be used; empty folders are
    no error.
    """
    seen = set[str]()

    def refuse(failed: FailedSource) -> None:
        if failed.source not in known:
            fail(failed)

    for given in inputs:
        for source in _expanded(given, rules, refuse, known):
            if source.address not in known and source.address not in seen:
                seen.add(source.address)
                yield source


def _expanded(given: str, rules: InputRules, fail: Fail, known: Collection[str]) -> Iterator[PlannedSource]:
    """The sources of one input. One that is known needs no look: it may be gone, and its captions are there."""
    address = absolute(given)
    if address in known:
        return
    if suffix_of(address) in MANIFEST_SUFFIXES and not _is_pattern(address):
        for row in read_manifest(address, rules.column, rules.time_zone, fail):
            yield PlannedSource(row.address, time=row.time)
    elif scheme_of(address):
        yield from _remote(address)
    else:
        yield from _local(address, fail)


def _is_pattern(address: str) -> bool:
    """Whether an address with *, ? or [ is a pattern: nothing has that very name."""
    if not _MAGIC.search(address) or scheme_of(address) in WEB:
        return False
    if not scheme_of(address):
        return not os.path.lexists(local_path(address))
    with suppress(Exception):  # whoever reads it next says why it cannot be reached
        system, path = filesystem(address)
        return not system.exists(path)
    return True


def _local(address: str, fail: Fail) -> Iterator[PlannedSource]:
    path = local_path(address)
    try:
        if path.is_dir():
            os.scandir(path).close()  # an input that cannot be read is an error, folders below it are not
            yield from sorted(_below(path, fail), key=lambda source: source.address)
        elif path.exists():
            yield _local_source(path, path.stat())
        elif _is_pattern(address):
            yield from sorted(_matching(path, fail), key=lambda source: source.address)
        else:
            raise FileNotFoundError
    except FileNotFoundError as error:
        raise AudioError(f"there is no {path}; name sound files, folders, patterns, tar files or manifests") from error
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({reason_of(error)}); check its permissions") from error


def _matching(pattern: Path, fail: Fail) -> Iterator[PlannedSource]:
    """The sources that a pattern matches; what has the very name of one of its parts comes before what it matches."""
    fixed, *parts = map(Path, pattern.parts)
    while parts and (not _MAGIC.search(str(parts[0])) or os.path.lexists(fixed / parts[0])):
        fixed /= parts.pop(0)
    for path in _matches(fixed, [str(part) for part in parts], fail):
        if os.path.isdir(path):  # noqa: PTH112 - a Path raises where it may not look
            yield from _below(path, fail)
        elif _counts(str(path)):
            yield from _regular(path)


def _matches(folder: Path, parts: Sequence[str], fail: Fail) -> Iterator[Path]:
    """What matches below a folder. Where a pattern says any depth, links to folders are not followed: they may loop."""
    before = parts[: parts.index(_ANY_DEPTH)] if _ANY_DEPTH in parts else parts
    behind = parts[len(before) + 1 :]
    for name in glob.iglob(str(Path(glob.escape(str(folder)), *before))):  # noqa: PTH207 - a Path knows no such root
        if len(before) == len(parts) or not behind:
            yield Path(name)
        else:
            for place, _ in _walk(Path(name), fail):
                yield from _matches(place, behind, fail)


def _below(folder: Path, fail: Fail) -> Iterator[PlannedSource]:
    """Sounds and tar files in a folder and below it, without hidden ones."""
    for place, names in _walk(folder, fail):
        for name in names:
            if _counts(name) and not name.startswith("."):
                yield from _regular(place / name)


def _walk(top: Path, fail: Fail) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it, without hidden ones and links, and the names in each."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):  # it vanished meanwhile, or was none
            place = storable(str(error.filename))
            reason = AudioError(f"{place} cannot be read ({reason_of(error)}); check its permissions")
            fail(FailedSource.of(place, reason))

    for place, folders, names in os.walk(top, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield Path(place), names


def _regular(path: Path) -> Iterator[PlannedSource]:
    """The source at a path that listing gave, unless it is a pipe or the like, a link to nothing, or vanished since."""
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP}:
            yield PlannedSource(storable(str(path)))  # whoever opens it says why it cannot be read
        return
    if stat.S_ISREG(status.st_mode):
        yield _local_source(path, status)


def _local_source(path: Path, status: os.stat_result) -> PlannedSource:
    return PlannedSource(storable(str(path)), status.st_size, modified=moment(status.st_mtime))


def _remote(address: str) -> Iterator[PlannedSource]:
    system, path = filesystem(address)
    try:
        system.invalidate_cache()
        if _is_pattern(address):
            files = system.glob(path, detail=True)
        elif _is_file(system, address, path):
            yield _remote_source(address, system.info(path))
            return
        else:
            files = system.find(path, detail=True)
            if not files and not system.exists(path):
                raise FileNotFoundError("there is nothing at this address")
    except Exception as error:  # each library has its own kinds of errors
        raise AudioError(
            f"{address} cannot be reached ({why(error, address)}); check the address and the network"
        ) from error
    for name, entry in sorted(files.items()):
        if entry.get("type") != "directory" and _counts(name):
            yield _remote_source(str(system.unstrip_protocol(name)), entry)


def _is_file(system: Any, address: str, path: str) -> bool:  # noqa: ANN401 - fsspec has no types
    if scheme_of(address) in WEB:
        return not address.partition("?")[0].endswith("/")
    return _counts(address) or bool(system.isfile(path))


def _remote_source(address: str, entry: dict[str, Any]) -> PlannedSource:
    modified = next((entry[key] for key in ("LastModified", "mtime", "updated", "last_modified") if key in entry), None)
    if isinstance(modified, int | float):
        modified = moment(modified)
    if not isinstance(modified, datetime) or modified.tzinfo is None:
        modified = None
    return PlannedSource(address, entry.get("size"), modified=modified)


def _counts(name: str) -> bool:
    """Whether a file in a folder is one of sounds."""
    return suffix_of(name) in SOUND_SUFFIXES or is_tar(name)
