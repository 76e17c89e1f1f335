"""`edgecap pull`: a name or an address to a model in the user's folder."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from edgecap.bundle.bundle import MANIFEST_NAME, Bundle
from edgecap.bundle.catalogue import CatalogueEntry, CatalogueFile, built_in, check_commercial
from edgecap.bundle.manifest import Licence, Manifest, Precision, parse_manifest
from edgecap.bundle.models import list_models
from edgecap.errors import BundleError, CheckpointError, ConfigError, DownloadError
from edgecap.pull.cache import CacheSlot
from edgecap.pull.download import NotThereError
from edgecap.pull.fetch import Fetched, Fetcher
from edgecap.pull.installed import Origin, check_free, install, models_folder, read_origin
from edgecap.pull.places import beside, hub_repository, shown
from edgecap.pull.remote_catalogue import read_catalogue
from edgecap.util.files import read_at_most
from edgecap.util.limits import MOST_MANIFEST, MOST_MODEL_FILE

CHECKPOINTS = (".safetensors", ".bin")
ARCHITECTURE = "effb2-trm"
"""What a checkpoint that no catalogue describes is taken for; its tensors must fit."""
UNSTATED = Licence(name="unstated")


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """What is asked for."""

    what: str
    """A name in the catalogue, OWNER/REPOSITORY on the hub, or an address."""
    name: str = ""
    """Name of the installed model; empty for the entry's."""
    catalogue: str = ""
    """Address or file of another catalogue."""
    precision: Precision = "fp32"
    """Of a bundle that is made of a checkpoint."""
    commercial: bool = False
    """Whether the licence must be known to allow commercial use."""
    replace: bool = False


@dataclass(frozen=True)
class Pulled:
    """What came of it."""

    name: str
    folder: Path
    bundle: Bundle | None
    """None where the model was there already and was left as it was."""


def pull(request: PullRequest, fetcher: Fetcher) -> Pulled:
    """Get a model. What was there before stays unless all of the new one is there and right.

    Raises BundleError (unknown name, licence, wrong hash, no network), CheckpointError, ConfigError, OutputError.
    """
    known = _known(request, fetcher)
    if known is not None:
        return _pull(dataclasses.replace(request, what=known.name), known, fetcher)
    *likelier, last = _guesses(request.what)
    for entry in likelier:
        try:
            return _pull(request, entry, fetcher)
        except NotThereError:
            continue
    return _pull(request, last, fetcher)


def _known(request: PullRequest, fetcher: Fetcher) -> CatalogueEntry | None:
    """The catalogue's entry that is meant. Raises BundleError where a catalogue is named and has none."""
    if request.catalogue:
        return read_catalogue(request.catalogue, fetcher).find(request.what)
    repository = hub_repository(request.what)
    return built_in().entry(request.what) or (built_in().entry(repository) if repository else None)


def _guesses(what: str) -> list[CatalogueEntry]:
    """What a name or address that is in no catalogue may mean, the likeliest first."""
    repository = hub_repository(what)
    if Path(what).is_dir() and not what.startswith(("http:", "https:", "hf:")):
        raise ConfigError(f"{what} is a folder of this machine; type: edgecap models add {what}")
    if repository:
        base, _, revision = repository.partition("@")
        root = f"hf://{base}{f'@{revision}' if revision else ''}/"
        name = base.rpartition("/")[2]
        weights = [f"{root}{file}" for file in ("model.safetensors", "pytorch_model.bin")]
        return [_bundle(name, f"{root}{MANIFEST_NAME}"), _checkpoint(name, weights)]
    if what.startswith(("https://", "http://")):
        return [_of_address(what)]
    if any(model.name == what for model in list_models()):
        raise BundleError(
            f"{what!r} is installed, and the catalogue has no other; type: edgecap caption --model {what} FILE"
        )
    return [built_in().find(what)]


def _of_address(url: str) -> CatalogueEntry:
    path = urlsplit(url).path
    name = next((part for part in reversed(path.split("/")[:-1]) if part), "model")
    if path.endswith(CHECKPOINTS):
        return _checkpoint(name, [url])
    if path.endswith(f"/{MANIFEST_NAME}"):
        return _bundle(name, url)
    name = path.rstrip("/").rpartition("/")[2] or "model"
    return _bundle(name, f"{url.rstrip('/')}/{MANIFEST_NAME}")


def _bundle(name: str, manifest: str) -> CatalogueEntry:
    files = [CatalogueFile(role="manifest", places=[manifest], most=MOST_MANIFEST)]
    return CatalogueEntry(name=name, kind="bundle", files=files, licence=UNSTATED)


def _checkpoint(name: str, weights: list[str]) -> CatalogueEntry:
    words = CatalogueFile(role="vocabulary", places=[beside(weights[0], "tokenizer.json")], most=4_000_000)
    files = [CatalogueFile(role="weights", places=weights, most=100_000_000), words]
    return CatalogueEntry(name=name, kind="checkpoint", files=files, licence=UNSTATED, architecture=ARCHITECTURE)


def _pull(request: PullRequest, entry: CatalogueEntry, fetcher: Fetcher) -> Pulled:
    precision: Precision = request.precision if entry.kind == "checkpoint" else "fp32"
    name = request.name or (entry.name if precision == "fp32" else f"{entry.name}-{precision}")
    replace = request.replace or fetcher.update
    check_free(name, replace=True)
    folder = models_folder() / name
    asked = Origin(what=request.what, catalogue=request.catalogue, precision=precision, pulled=f"{date.today()}")
    before = read_origin(folder)
    if before and before.asked_alike(asked) and not replace:
        return Pulled(name, folder, None)
    check_free(name, replace)
    if request.precision == "int8" and entry.kind == "bundle":
        fetcher.notify("note", f"{name} is a finished bundle; --int8 changes nothing")
    if request.commercial and entry.kind == "checkpoint":
        check_commercial(entry.licence, entry.name)
    roles = ("manifest",) if entry.kind == "bundle" else ("weights", "vocabulary")
    fetched: list[Fetched] = []
    with ExitStack() as stack:
        try:
            fetched += [stack.enter_context(fetcher.file(entry.file(role))) for role in roles]
            bundle = None
            if request.replace or not _is_there(folder, asked, fetched):
                if entry.kind == "bundle":
                    make = _bundle_maker(request, entry, fetcher, stack, fetched)
                else:
                    make = _checkpoint_maker(entry, fetched, name, precision)
                origin = dataclasses.replace(asked, files={item.place: item.sha256 for item in fetched})
                bundle = install(name, make, origin, replace=replace, notify=fetcher.notify)
        except DownloadError:
            raise
        except (BundleError, CheckpointError):
            for item in fetched:
                if item.first or item.changed:  # trusted by nobody, and of no use
                    CacheSlot(item.place).clear()
            raise
        for item in fetched:
            fetcher.trust(item)
            if entry.kind == "bundle":  # the installed files are the copy; a checkpoint stays for other precisions
                CacheSlot(item.place).clear()
    return Pulled(name, folder, bundle)


def _is_there(folder: Path, asked: Origin, fetched: list[Fetched]) -> bool:
    """Whether the same request has put these contents there: before an update, or by another process meanwhile."""
    current = read_origin(folder)
    contents = {item.place: item.sha256 for item in fetched}
    return current is not None and current.asked_alike(asked) and contents.items() <= current.files.items()


def _bundle_maker(
    request: PullRequest, entry: CatalogueEntry, fetcher: Fetcher, stack: ExitStack, fetched: list[Fetched]
) -> Callable[[Path], None]:
    """Get the files that the manifest lists, into `fetched` as well; a function that puts all into a folder."""
    first = fetched[0]
    text = read_at_most(first.path, MOST_MANIFEST)
    manifest = parse_manifest(text)
    _check_manifest(request, entry, manifest)
    for listed in manifest.files:
        place = beside(first.place, listed.name)
        wanted = CatalogueFile(
            role="weights", places=[place], size=listed.size, sha256=listed.sha256, most=max(listed.size, 1)
        )
        try:
            fetched.append(stack.enter_context(fetcher.file(wanted)))
        except NotThereError as error:
            raise DownloadError(f"{error}, although the manifest lists it; nothing was changed") from error

    def make(folder: Path) -> None:
        (folder / MANIFEST_NAME).write_bytes(text)
        for listed, item in zip(manifest.files, fetched[1:], strict=True):
            _put(item, folder / listed.name)

    return make


def _check_manifest(request: PullRequest, entry: CatalogueEntry, manifest: Manifest) -> None:
    """Raise BundleError for more than may be got, or a licence that does not fit."""
    total = sum(item.size for item in manifest.files)
    if total > MOST_MODEL_FILE:
        raise BundleError(f"{request.what} has {total} bytes and at most {MOST_MODEL_FILE} are taken")
    if entry.licence.name not in {UNSTATED.name, manifest.licence.name}:
        raise BundleError(
            f"the catalogue says that {entry.name} is under {entry.licence.name}, and its manifest says "
            f"{manifest.licence.name}; nothing was changed; ask whoever publishes it"
        )
    if request.commercial:
        check_commercial(manifest.licence, entry.name)


def _put(item: Fetched, path: Path) -> None:
    """A file that was got to its place in a bundle: moved out of the cache, copied out of another's."""
    if item.path == CacheSlot(item.place).data:
        shutil.move(item.path, path)
        os.chmod(path, 0o644)  # noqa: PTH101
    else:
        shutil.copyfile(item.path, path)


def _checkpoint_maker(
    entry: CatalogueEntry, fetched: list[Fetched], name: str, precision: Precision
) -> Callable[[Path], None]:
    """A function that makes the bundle of weights and words."""
    from edgecap.pull.convert import Published, convert  # a bundle that is there already needs none of it

    weights, words = fetched
    details = {"weights": shown(weights.place), "vocabulary": shown(words.place)}
    if weights.revision:
        details["revision"] = weights.revision
    published = Published(
        weights=weights.path,
        vocabulary=words.path,
        file=weights.place.rpartition("/")[2],
        architecture=entry.architecture,
        licence=entry.licence,
        sha256=weights.sha256,
        details=details,
    )
    return lambda folder: convert(published, folder, name=name, precision=precision)
