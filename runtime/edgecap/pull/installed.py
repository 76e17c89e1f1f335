"""Models in the user's folder: put there whole or not at all, checked, and taken away."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from edgecap.bundle.bundle import MANIFEST_NAME, Bundle, load_bundle
from edgecap.bundle.fields import FileName
from edgecap.bundle.manifest import Precision
from edgecap.bundle.models import BUNDLED, home, list_models
from edgecap.errors import BundleError, IntegrityError, MissingDependencyError, OutputError, reason_of
from edgecap.inference.session import open_session
from edgecap.pull.cache import CacheSlot, digest_of, locked
from edgecap.types import Notify
from edgecap.util.files import atomic_folder, to_json
from edgecap.util.limits import MOST_ORIGIN

ORIGIN = ".origin.json"
"""Beside the manifest; a bundle's hidden files belong to nobody's hashes."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an installed model was got."""

    what: str
    """What was asked for: a name in a catalogue, or an address."""
    catalogue: str = ""
    """The catalogue's address or file; empty for the one in the package."""
    precision: Precision = "fp32"
    """Asked for, where a checkpoint was turned into the bundle."""
    files: dict[str, str] = field(default_factory=dict)
    """Place → SHA-256 of each file that was got."""
    manifest_sha256: str = ""
    """Of the manifest as it was installed, which vouches for all other files."""
    pulled: str = ""
    """Date."""

    def asked_alike(self, other: Origin) -> bool:
        """Whether both come from the same request."""
        return (self.what, self.catalogue, self.precision) == (other.what, other.catalogue, other.precision)


def models_folder() -> Path:
    """The folder of the user's models."""
    return home() / "models"


def own_folder(name: str) -> Path:
    """The folder of one of the user's own models. Raises BundleError for a name that none has."""
    own = {model.name: model.folder for model in list_models() if not model.bundled}
    if name not in own:
        inside = any(model.name == name for model in list_models())
        why = "is part of the package" if inside else "is not installed"
        raise BundleError(f"{name!r} {why}; your own models: {', '.join(own) or 'none'}; type: edgecap models")
    return own[name]


def read_origin(folder: Path) -> Origin | None:
    """Where a model was got; None for one that was put there by hand, or whose note is damaged."""
    try:
        with (folder / ORIGIN).open("rb") as file:
            return msgspec.convert(json.loads(file.read(MOST_ORIGIN)), Origin)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError):
        return None


def install(name: str, make: Callable[[Path], None], origin: Origin | None, *, replace: bool, notify: Notify) -> Bundle:
    """Let `make` fill a folder with a bundle, check it (hashes, and that its graphs load), and give it its place.

    Raises OutputError where `name` is taken and `replace` is not set, and the errors of `load_bundle`.
    """
    folder = models_folder() / name
    with locked(models_folder() / f".{name}.lock", notify, f"another edgecap is installing {name}; waiting for it"):
        check_free(name, replace)
        with atomic_folder(folder, replace=replace) as partial:
            make(partial)
            bundle = load_bundle(partial)
            _check_loads(bundle, notify)
            if origin is not None:
                digest = digest_of(partial / MANIFEST_NAME)
                note = {**asdict(origin), "manifest_sha256": digest}
                (partial / ORIGIN).write_text(to_json(note) + "\n", encoding="utf-8")
    return Bundle(folder, bundle.manifest, bundle.vocabulary)


def check_free(name: str, replace: bool) -> None:
    """Raise BundleError for what cannot be a model's name, OutputError for one that is taken."""
    try:
        msgspec.convert(name, FileName)
    except msgspec.ValidationError as error:
        raise BundleError(f"invalid model name {name[:128]!r}; take one of letters, digits, . _ - by --name") from error
    if (BUNDLED / name).is_dir():
        raise OutputError(f"{name!r} is a model in the package; take another name by --name")
    folder = models_folder() / name
    if folder.is_symlink() or (folder.exists() and not replace):
        raise OutputError(f"{folder} exists; type: edgecap models remove {name}, or take another name by --name")


def copy_bundle(folder: Path, target: Path) -> None:
    """Copy the listed files of a bundle that was checked, and its manifest. Raises the errors of `load_bundle`."""
    for entry in load_bundle(folder).manifest.files:
        shutil.copyfile(folder / entry.name, target / entry.name)
    shutil.copyfile(folder / MANIFEST_NAME, target / MANIFEST_NAME)


def remove(name: str, notify: Notify) -> Path:
    """Remove one of the user's own models, and what the cache holds of it. Raises BundleError, OutputError."""
    folder = own_folder(name)
    origin = read_origin(folder)
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            gone = folder.with_name(f".{name}.{secrets.token_hex(4)}.old")
            folder.rename(gone)  # at once, so that a process that is killed leaves no half model
            shutil.rmtree(gone)
    except OSError as error:
        raise OutputError(f"{folder} cannot be removed ({reason_of(error)})") from error
    used = {place for model in list_models() for place in (read_origin(model.folder) or Origin(what="")).files}
    for place in origin.files if origin else ():
        slot = CacheSlot(place)
        if place not in used and slot.folder.is_dir():
            with slot.locked(notify):
                slot.clear()
    return folder


def verify(folder: Path) -> str:
    """Hash every file of a model again; what that says, in words. Raises ManifestError, IntegrityError."""
    load_bundle(folder)
    origin = read_origin(folder)
    if origin is None:
        return "every file is as the manifest says; not pulled, so nothing vouches for the manifest"
    if digest_of(folder / MANIFEST_NAME) != origin.manifest_sha256:
        raise IntegrityError(
            f"{folder}: the manifest was changed after it was pulled; type: edgecap pull --force {origin.what}"
        )
    return f"every file is as it was pulled from {origin.what} on {origin.pulled}"


def _check_loads(bundle: Bundle, notify: Notify) -> None:
    """Open the graphs once, so that a bundle that does not load replaces none that does. Raises BundleError."""
    try:
        open_session(bundle, 1)
    except MissingDependencyError as error:
        notify("warning", str(error))
