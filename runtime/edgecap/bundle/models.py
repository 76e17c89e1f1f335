"""The installed models: those inside the package and those in the user's folder.

The user's folder is `models` under `EDGECAP_HOME`, else under `$XDG_DATA_HOME/edgecap`, else under
`~/.local/share/edgecap`. A model there takes precedence over one of the same name inside the package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecap.bundle.bundle import MANIFEST_NAME, read_manifest
from edgecap.bundle.manifest import Manifest
from edgecap.errors import BundleError
from edgecap.util.files import PARTIAL

BUNDLED = Path(__file__).parents[1] / "bundles"
DEFAULT_FILE = BUNDLED / "default"
"""A file that names the default model; needed only where the package holds more than one."""


@dataclass(frozen=True)
class Model:
    """An installed model."""

    name: str
    """What `--model` takes: the name of its folder."""
    folder: Path
    bundled: bool
    """Whether it is part of the package."""
    manifest: Manifest | None
    """None where it cannot be read."""
    fault: str = ""
    """The reason why it cannot be read."""

    @property
    def size(self) -> int:
        """Bytes of its files; 0 where the manifest cannot be read."""
        return sum(entry.size for entry in self.manifest.files) if self.manifest else 0


def home() -> Path:
    """The user's edgecap folder, whether it exists or not."""
    if os.environ.get("EDGECAP_HOME"):
        return Path(os.environ["EDGECAP_HOME"]).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edgecap"


def list_models() -> list[Model]:
    """All models, the user's own first, by name. Only manifests are read, no file is hashed."""
    return [_describe(folder, bundled) for folder, bundled in _folders()]


def default_model() -> Path:
    """Folder of the model used where none is named. Raises BundleError where the package holds none."""
    if DEFAULT_FILE.is_file():
        return BUNDLED / DEFAULT_FILE.read_text(encoding="utf-8").strip()
    bundled = [folder for folder, inside in _folders() if inside]
    if not bundled:
        raise BundleError(
            f"the package contains no model ({BUNDLED} is empty); install edgecap again, or name a model with --model"
        )
    return bundled[0]


def find_model(model: str | Path | None = None) -> Path:
    """Folder of a model given by name or by folder; the default model for None.

    Text with a slash, a `Path`, and a folder that holds a manifest are taken as a folder, all else as
    a name. Raises BundleError for a name that is not known.
    """
    if model is None:
        return default_model()
    if isinstance(model, Path) or "/" in model or (Path(model) / MANIFEST_NAME).is_file():
        return Path(model).expanduser()
    known = [folder for folder, _ in _folders()]
    for folder in known:
        if folder.name == model:
            return folder
    from edgecap.bundle.catalogue import built_in  # only for an unknown name: it delays every start

    offered = built_in().entry(model)
    if offered is not None:
        raise BundleError(f"{model!r} is not installed; type: edgecap pull {model}")
    names = ", ".join(dict.fromkeys(folder.name for folder in known)) or "none"
    raise BundleError(f"there is no model called {model!r}; known: {names}; for a folder add a slash, as in ./{model}")


def _folders() -> Iterator[tuple[Path, bool]]:
    """Folders that hold a manifest, with whether they lie in the package."""
    for root, bundled in ((home() / "models", False), (BUNDLED, True)):
        try:
            folders = sorted(
                path for path in root.iterdir() if not path.name.startswith(".") and path.suffix != PARTIAL
            )
        except OSError:
            continue
        yield from ((folder, bundled) for folder in folders if _holds_manifest(folder))


def _holds_manifest(folder: Path) -> bool:
    """Whether it holds a manifest, or hides from this user whether it does."""
    try:
        return (folder / MANIFEST_NAME).is_file()
    except PermissionError:
        return True
    except OSError:
        return False


def _describe(folder: Path, bundled: bool) -> Model:
    try:
        return Model(folder.name, folder, bundled, read_manifest(folder))
    except BundleError as error:
        return Model(folder.name, folder, bundled, None, str(error))
    except Exception as error:  # one bad bundle must not hide the others
        return Model(folder.name, folder, bundled, None, f"it cannot be read ({type(error).__name__}: {error})")
