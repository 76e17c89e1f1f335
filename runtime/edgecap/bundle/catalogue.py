"""The catalogue: models that can be got, with their addresses, sizes, hashes and licences.

Knows the document and no network. `catalogue.json` beside this module is the one in the package; anybody can write
another (`edgecap pull --catalogue`). A file without a `sha256` is trusted when it is got first, and never changes
unnoticed after that (`edgecap.pull.pins`).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgecap.bundle.fields import FileName, Sha256
from edgecap.bundle.manifest import Licence
from edgecap.errors import BundleError, ConfigError
from edgecap.util.documents import from_json
from edgecap.util.limits import MOST_CATALOGUE, MOST_MODEL_FILE
from edgecap.util.schema import SchemaError, convert, unknown_key

FORMAT = "edgecap-catalogue"
FORMAT_VERSION = 1
BUILT_IN = Path(__file__).with_name("catalogue.json")
OPEN_LICENCES = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "ISC", "MIT")
"""SPDX names of licences that are known to allow commercial use."""

Place = Annotated[str, Meta(min_length=1, max_length=2_048)]


@dataclass(frozen=True, kw_only=True)
class CatalogueFile:
    """One file to be got."""

    role: Literal["manifest", "weights", "vocabulary"]
    places: Annotated[list[Place], Meta(min_length=1, max_length=8)]
    """Where it may lie, best first: https://…, hf://OWNER/REPOSITORY[@REVISION]/FILE, or relative to the catalogue."""
    size: Annotated[int, Meta(gt=0, le=MOST_MODEL_FILE)] | None = None
    """Bytes, where they are known."""
    sha256: Sha256 | None = None
    most: Annotated[int, Meta(gt=0, le=MOST_MODEL_FILE)] = MOST_MODEL_FILE
    """Bytes above which it is not got."""


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One model. A "bundle" has one file, its manifest, which lists the others; a "checkpoint" weights and words."""

    name: FileName
    kind: Literal["bundle", "checkpoint"]
    files: Annotated[list[CatalogueFile], Meta(min_length=1, max_length=2)]
    licence: Licence
    """What is said of the weights; a bundle's own manifest must say the same name."""
    architecture: str = ""
    """Which template turns a checkpoint into a bundle."""
    aliases: list[str] = field(default_factory=list)
    style: str = ""
    """The dataset whose captions it learnt to write."""
    about: str = ""

    def file(self, role: str) -> CatalogueFile:
        """The file of that role. Raises ConfigError where the entry has none."""
        for item in self.files:
            if item.role == role:
                return item
        raise ConfigError(f"the catalogue's entry {self.name!r} lists no file of role {role!r}")


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All of a catalogue's file."""

    format: Literal["edgecap-catalogue"]
    format_version: int
    models: Annotated[list[CatalogueEntry], Meta(max_length=10_000)]

    def entry(self, name: str) -> CatalogueEntry | None:
        """The entry of that name or alias."""
        return next((entry for entry in self.models if name in (entry.name, *entry.aliases)), None)

    def find(self, name: str) -> CatalogueEntry:
        """The entry of that name or alias. Raises BundleError telling the nearest names."""
        entry = self.entry(name)
        if entry is None:
            raise BundleError(f"the catalogue has no model called {name!r}; {self.suggestion(name)}")
        return entry

    def suggestion(self, name: str) -> str:
        """Names like `name`, or all where none is like it, as a part of a message."""
        names = {alias: entry.name for entry in self.models for alias in (entry.name, *entry.aliases)}
        near = dict.fromkeys(names[alias] for alias in difflib.get_close_matches(name, names, n=3, cutoff=0.5))
        if near:
            return f"nearest: {', '.join(near)}"
        return f"it has: {', '.join(entry.name for entry in self.models[:20]) or 'none'}"


def parse_catalogue(text: bytes, source: str) -> Catalogue:
    """A catalogue's JSON; `source` is named in errors. Raises ConfigError."""
    if len(text) > MOST_CATALOGUE:
        raise ConfigError(f"{source} is larger than {MOST_CATALOGUE} bytes, so it is not a catalogue")
    try:
        document = from_json(text)
    except ValueError as error:
        raise ConfigError(f"the catalogue {source} is not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(f'{source} is not a catalogue of models (no "format": "{FORMAT}")')
    if document.get("format_version") != FORMAT_VERSION:
        raise ConfigError(
            f"the catalogue {source} has format version {document.get('format_version')!r} and this edgecap reads "
            f"{FORMAT_VERSION}; type: pip install --upgrade edgecap"
        )
    try:
        catalogue = convert(document, Catalogue)
    except SchemaError as error:
        raise ConfigError(f"the catalogue {source} is wrong: {error}") from error
    unknown = unknown_key(document, msgspec.to_builtins(catalogue), "$")
    if unknown:
        raise ConfigError(f"the catalogue {source} has an unknown key: {unknown}")
    for entry in catalogue.models:
        _check(entry)
    return catalogue


@cache
def built_in() -> Catalogue:
    """The catalogue in the package."""
    return parse_catalogue(BUILT_IN.read_bytes(), BUILT_IN.name)


def check_commercial(licence: Licence, name: str) -> None:
    """Raise BundleError unless the licence is known to allow commercial use."""
    if licence.name not in OPEN_LICENCES:
        raise BundleError(
            f"the licence of {name} is {licence.name}, which is not known to allow commercial use; read its terms, or "
            f"take a model under one of {', '.join(OPEN_LICENCES)}"
        )


def _check(entry: CatalogueEntry) -> None:
    roles = sorted(item.role for item in entry.files)
    if roles != {"bundle": ["manifest"], "checkpoint": ["vocabulary", "weights"]}[entry.kind]:
        raise ConfigError(f"the catalogue's entry {entry.name!r} is a {entry.kind} with files of roles {roles}")
