"""A result file: one envelope for everything that is measured.

    Measurement
    ├── header   format, date, command, machine, versions, how busy the machine was, whether it was cut short
    └── body     what was measured: a frozen dataclass with the class variables FORMAT and VERSION

Both are one JSON object, their keys side by side. Reading is strict, as with a bundle's manifest: a file of another
format or version is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from edgecap.errors import ResultError
from edgecap.util.files import write_atomically
from edgecap.util.schema import SchemaError, convert
from edgecap_bench.harness.load import Watch
from edgecap_bench.harness.machine import Machine, now, this_machine, versions


class Body(Protocol):
    """What a measurement may hold."""

    FORMAT: ClassVar[str]
    """Name of the file format."""
    VERSION: ClassVar[int]


T_co = TypeVar("T_co", bound=Body, covariant=True)
T = TypeVar("T", bound=Body)


@dataclass(frozen=True, kw_only=True)
class Header:
    """Where, when and how something was measured."""

    format: str
    format_version: int
    date: str
    """When the run began, ISO 8601 with the offset from UTC."""
    command: str
    """The command line, without the folders of this machine."""
    machine: Machine
    versions: dict[str, str]
    others_before: float | None = None
    """Cores that other programs took before the run; None where the system does not report it."""
    others_during: float | None = None
    noisy: bool = False
    """Whether other programs took so much that the figures are not a result."""
    partial: bool = False
    """Whether the run was cut short; what is in the file was measured as requested."""

    @property
    def faults(self) -> list[str]:
        """Why this is not a result, for people; empty where it is one."""
        return ["NOT A RESULT, the machine was busy"] * self.noisy + ["PARTIAL"] * self.partial


@dataclass(frozen=True)
class Measurement(Generic[T_co]):
    """What was measured, and its circumstances."""

    header: Header
    body: T_co


class MeasurementStart:
    """The circumstances of a measurement that begins now."""

    def __init__(self, command: str, watch: Watch | None = None, packages: tuple[str, ...] = ()) -> None:
        """`watch` observes the machine, None where nothing does; `packages` are named with their versions too."""
        self._command, self._watch, self._packages = command, watch, packages
        self._date = now()

    def end(self, body: T, *, partial: bool = False) -> Measurement[T]:
        """The measurement of `body`, which ends now."""
        watch = self._watch
        if watch:
            watch.end()
        header = Header(
            format=body.FORMAT,
            format_version=body.VERSION,
            date=self._date,
            command=self._command,
            machine=this_machine(),
            versions=versions(*self._packages),
            others_before=watch.before if watch else None,
            others_during=watch.during if watch else None,
            noisy=watch.noisy if watch else False,
            partial=partial,
        )
        return Measurement(header, body)


def write_measurement(path: Path, measurement: Measurement[Body]) -> None:
    """Write a measurement, whole or not at all. Raises OutputError."""
    document = {**msgspec.to_builtins(measurement.header), **msgspec.to_builtins(measurement.body)}
    write_atomically(path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def read_measurement(path: Path, body: type[T]) -> Measurement[T]:
    """Read a file of one format. Raises ResultError for one that cannot be read, or is of another format or version."""
    document = read_document(path)
    header = _convert(path, document, Header)
    if header.format != body.FORMAT:
        raise ResultError(f"{path} is a result of the format {header.format!r} and not {body.FORMAT!r}; name another")
    if header.format_version != body.VERSION:
        raise ResultError(
            f"{path} has format version {header.format_version} and this edgecap reads {body.VERSION}; measure again"
        )
    return Measurement(header, _convert(path, document, body))


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object of a result file of any format. Raises ResultError."""
    try:
        document = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path} cannot be read ({error.strerror or error}); check its name") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ResultError(f"{path} is damaged ({error}); measure again") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), str):
        raise ResultError(f"{path} is not a result of edgecap bench; remove it, or name another")
    return document


Shape = TypeVar("Shape")


def _convert(path: Path, document: dict[str, Any], kind: type[Shape]) -> Shape:
    try:
        return convert(document, kind)
    except SchemaError as error:
        raise ResultError(f"{path} is damaged ({error}); measure again") from error
