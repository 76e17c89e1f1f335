"""What an archive holds: its folders and files, `archive.json`, and the columns of its tables.

    archive.json                     `ArchiveSettings`: model, options and inputs; written first
    plan/plan-000000.parquet         which sources belong to which shards; one file each time that sources are added
    captions/shard-000000.parquet    one row a window; the file's presence says that the shard is done
    failures/shard-000000.parquet    sources of the shard that could not be read to their end, if there are any
    failures/inputs.parquet          rows of tables and folders that name no source, if there are any

A file that is being written has a name that begins with a dot. docs/archive.md describes the columns for people.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edgecap._version import __version__
from edgecap.errors import MissingDependencyError
from edgecap.util.documents import TOO_DEEP
from edgecap.util.text import clean

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Of the format; a reader refuses a higher one."""
SETTINGS = "archive.json"
PLAN, CAPTIONS, FAILURES = "plan", "captions", "failures"
"""Folders."""
INPUTS = "inputs.parquet"
"""The table in `failures` of what was refused when the inputs were listed."""
NO_SHARD = -1
"""The shard in its rows."""
SUFFIX = ".parquet"
FORMAT_KEY, MODEL_KEY, OPTIONS_KEY = "edgecap.format", "edgecap.model", "edgecap.options"
"""Key-value metadata of each table: the format's version, the model's hash, and the options as JSON."""


@dataclass(frozen=True)
class ArchivedModel:
    """The model that an archive's captions are from."""

    name: str
    sha256: str
    """`Bundle.identity`."""
    runtime: str


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """What decides the captions of a sound beside the model; an archive has one value of each."""

    window: float
    """Seconds captioned at once."""
    hop: float
    """Seconds from one window to the next."""
    beam: int
    sounds: str | None = None
    """Hash of the taught sounds that were looked for; None where there were none."""
    time_from: str = "name"
    """Where the time of a recording is from if no manifest says it: "name" or "modified"."""
    time_zone: str = "UTC"
    """Of times without a zone."""


@dataclass(frozen=True, kw_only=True)
class ArchiveSettings:
    """The content of `archive.json`."""

    format: int = VERSION
    edgecap: str = __version__
    model: ArchivedModel
    options: CaptionOptions
    embedding_dim: int
    """Values of an embedding."""
    inputs: list[str] = field(default_factory=list)
    """Addresses and absolute paths as given, in order."""
    created: str = ""
    """When, in ISO 8601, UTC."""

    def to_json(self) -> bytes:
        """The file's content."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> ArchiveSettings:
        """The settings in a file. Raises ValueError where it is no `archive.json` that this version reads."""
        import msgspec

        try:
            settings = msgspec.json.decode(data, type=cls)
        except RecursionError as error:
            raise ValueError(TOO_DEEP) from error
        if settings.format != VERSION:
            raise ValueError(f"its format is {settings.format}, and this edgecap reads format {VERSION}")
        return settings


@dataclass(frozen=True)
class FailedSource:
    """A row of a table of failures."""

    source: str
    reason: str
    error: str
    """Name of the error's class."""

    @classmethod
    def of(cls, source: str, error: BaseException) -> FailedSource:
        """The row for what was raised."""
        return cls(source, clean(str(error)), type(error).__name__)


def require_pyarrow() -> None:
    """Raise MissingDependencyError where an archive can neither be written nor read."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError.for_extra("an archive", "archive") from error


def shard_name(shard: int) -> str:
    """The name of a shard's file in each of the folders."""
    return f"shard-{shard:06d}{SUFFIX}"


def shard_of(name: str) -> int | None:
    """The shard whose file has this name; None for any other name."""
    number = name.removeprefix("shard-").removesuffix(SUFFIX)
    return int(number) if number.isascii() and number.isdecimal() and shard_name(int(number)) == name else None


def captions_schema(dim: int) -> pa.Schema:
    """Columns of `captions`, one row a window; embeddings have `dim` values."""
    import pyarrow as pa

    beam = pa.struct([pa.field("text", pa.string(), nullable=False), pa.field("score", pa.float32(), nullable=False)])
    return pa.schema(
        [
            pa.field("source", pa.string(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("end", pa.float64(), nullable=False),
            pa.field("time", _utc()),
            pa.field("caption", pa.string(), nullable=False),
            pa.field("confidence", pa.float32()),
            pa.field("score", pa.float32()),
            pa.field("beams", pa.list_(beam), nullable=False),
            pa.field("tags", pa.list_(pa.string()), nullable=False),
            pa.field("embedding", pa.list_(pa.float16(), dim)),
            pa.field("level", pa.float32(), nullable=False),
            pa.field("silent", pa.bool_(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("edgecap", pa.string(), nullable=False),
            pa.field("shard", pa.int32(), nullable=False),
        ]
    )


def failures_schema() -> pa.Schema:
    """Columns of `failures`, one row a source."""
    import pyarrow as pa

    columns = [("source", pa.string()), ("reason", pa.string()), ("error", pa.string()), ("shard", pa.int32())]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


def plan_schema() -> pa.Schema:
    """Columns of `plan`, one row a source, in the order of the shards."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("shard", pa.int32(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("size", pa.int64()),
            pa.field("time", _utc()),
            pa.field("modified", _utc()),
        ]
    )


def with_metadata(schema: pa.Schema, model: ArchivedModel, options: CaptionOptions) -> pa.Schema:
    """The schema with the key-value metadata of a table of captions or failures."""
    texts: dict[str, Any] = {
        FORMAT_KEY: str(VERSION),
        MODEL_KEY: model.sha256,
        OPTIONS_KEY: json.dumps(asdict(options), sort_keys=True),
    }
    return schema.with_metadata(texts)


def _utc() -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC")
