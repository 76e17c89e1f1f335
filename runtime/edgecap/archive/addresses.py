"""Addresses: local paths, and those that fsspec opens (s3://, gs://, http://, memory://)."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from edgecap.errors import ConfigError, MissingDependencyError, reason_of

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_LOCAL = {"file", "local"}
WEB = {"http", "https"}
TIMEOUTS = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}}
"""For S3: botocore's own give an address up after several minutes."""


def scheme_of(address: str) -> str:
    """The scheme in lower case; empty for a local path, file:// too."""
    match = _SCHEME.match(address)
    scheme = match[1].lower() if match else ""
    return "" if scheme in _LOCAL else scheme


def local_path(address: str) -> Path:
    """The path of a local address; file:// is decoded as a URL. Not for an address with another scheme."""
    match = _SCHEME.match(address)
    if not match:
        return Path(address)
    return Path(os.fsdecode(unquote(address[match.end() :], errors="surrogateescape")))


def absolute(address: str) -> str:
    """An address that means the same from every folder: a local path becomes absolute, others stay as they are.

    A slash at the end is left out, but on the web, where it says that this is no file. Raises ConfigError for an empty
    one, as an unset variable of a shell leaves behind.
    """
    if not address.strip():
        raise ConfigError('an address is empty (""); name a file, a folder or an address, as . for this folder')
    if scheme_of(address) in WEB:
        return address
    if scheme_of(address):
        shorter = address.rstrip("/")
        return address if shorter.endswith(":") else shorter
    return storable(os.path.abspath(local_path(address)))  # noqa: PTH100 - keeps links


def storable(path: str) -> str:
    """A local path as text that a table can hold: one that is not UTF-8 as a file:// URL."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return Path(path).as_uri()
    return path


def path_in(address: str) -> str:
    """An address without what follows a "?"; in a local path that is a character as others are."""
    return address.partition("?")[0] if scheme_of(address) else address


def suffix_of(address: str) -> str:
    """The last suffix of an address in lower case, without what follows a "?" in a web address."""
    path = urlsplit(address).path if scheme_of(address) in WEB else address
    return PurePosixPath(path).suffix.lower()


def beside(folder_of: str, name: str) -> str:
    """The address `name`, relative to the folder of the file `folder_of` where it is a relative path."""
    if _SCHEME.match(name) or name.startswith("/"):
        return absolute(name)
    if scheme_of(folder_of):
        scheme, _, table = path_in(folder_of).partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(table), name))}"
    return absolute(str(local_path(folder_of).parent / name))


def filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system of a remote address, and the path in it.

    Raises MissingDependencyError for fsspec or the package of that kind of address, ConfigError for an unknown kind.
    """
    scheme = scheme_of(address)
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError.for_extra(f"{scheme}:// addresses", "archive") from error
    try:
        system, path = fsspec.url_to_fs(address, **(TIMEOUTS if scheme in {"s3", "s3a"} else {}))
    except ImportError as error:
        raise MissingDependencyError(
            f"{scheme}:// addresses need a package that is not installed ({reason_of(error)}); install it with pip"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{address} cannot be used ({reason_of(error)}); name a folder or an address") from error
    return system, path


def remote_content(system: Any, path: str, most: int) -> bytes:  # noqa: ANN401 - fsspec has no types
    """What a file of an fsspec file system holds. Raises OSError, EFBIG for more than `most` bytes; what it raises."""
    if (system.size(path) or 0) > most:
        raise OSError(errno.EFBIG, f"{os.strerror(errno.EFBIG)}, at most {most} bytes are read")
    return bytes(system.cat_file(path))


def why(error: BaseException, address: str = "") -> str:
    """Why an address could not be reached, in one line, from whatever error its library raised.

    Libraries raise errors that name the address alone; the reason is then that of the error behind it.
    """
    behind: BaseException | None = error
    while behind is not None:
        text = " ".join(reason_of(behind).split())[:300]
        if text.strip("'\"") not in ("", address, address.partition("://")[2]):
            return text
        behind = behind.__cause__ or behind.__context__
    return "there is nothing at this address" if isinstance(error, FileNotFoundError) else type(error).__name__
