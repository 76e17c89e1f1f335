"""A bundle: one folder with everything a device needs to caption sound.

Reading trusts nothing: the manifest is checked first, then every listed file (a plain file inside the folder, its
size, its SHA-256), and no other file may lie beside them. Writing is atomic, and what was written is read back first.
The format is described in BUNDLE.md, the manifest by `edgecap.bundle.manifest`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgecap.bundle.confidence import ConfidenceSpec, parse_confidence
from edgecap.bundle.manifest import FORMAT, BundleFile, Manifest, Role, parse_manifest, render_manifest
from edgecap.errors import BundleError, IntegrityError, ManifestError, OutputError, reason_of
from edgecap.runtimes import RUNTIMES, GraphRole
from edgecap.util.documents import from_json
from edgecap.util.files import atomic_folder, read_at_most
from edgecap.util.limits import MOST_CONFIDENCE, MOST_MANIFEST, MOST_VOCABULARY, MOST_WORD, MOST_WORDS
from edgecap.util.text import clean

MANIFEST_NAME = "manifest.json"
RUN_CHECKPOINT = "student.safetensors"
"""What the folder of a run of `edgecap train student` holds."""
CHECKPOINTS = {".safetensors", ".pt", ".pth", ".bin", ".ckpt"}
COPY_AGAIN = "copy or write the bundle again"
READ_AT_ONCE: tuple[Role, ...] = ("encode", "decode", "program", "vocabulary", "confidence")
"""Roles of the files that a captioner reads when it is loaded."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files have all been verified."""

    folder: Path
    manifest: Manifest
    vocabulary: tuple[str, ...]
    """Tokens, index = id."""
    confidence: ConfidenceSpec | None = None
    """How a caption's probability is computed; None where nothing was fitted."""

    def path(self, role: Role) -> Path:
        """Path of the one file of that role. Raises ManifestError where there is not exactly one."""
        return self.folder / self.manifest.file(role).name

    @property
    def identity(self) -> str:
        """As `identity_of` its manifest."""
        return identity_of(self.manifest)

    @property
    def size(self) -> int:
        """Bytes of all listed files."""
        return sum(entry.size for entry in self.manifest.files)

    @property
    def loaded_size(self) -> int:
        """Bytes of the files that captioning needs: graphs, vocabulary, confidence; not weights kept for an export."""
        manifest = self.manifest
        needed = (*manifest.programs, manifest.file("vocabulary"), *_confidence_files(manifest))
        return sum(entry.size for entry in needed)


@dataclass(frozen=True)
class BundleContent:
    """One file to be written into a bundle."""

    name: str
    """Plain file name inside the bundle."""
    role: Role
    data: bytes | Path
    """Its content, or a file to copy it from."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`, without checking its other files. Raises ManifestError."""
    path = folder / MANIFEST_NAME
    if folder.suffix in CHECKPOINTS and folder.is_file():
        raise ManifestError(f"{folder} is a checkpoint, not a bundle; type: edgecap import {folder} -o BUNDLE")
    if not folder.is_dir():
        raise ManifestError(f"there is no bundle at {folder}: not a folder; type: edgecap models")
    if not path.exists() and (folder / RUN_CHECKPOINT).is_file():
        raise ManifestError(f"{folder} is a training run, not a bundle; type: edgecap import {folder} -o BUNDLE")
    try:
        with path.open("rb") as file:
            text = file.read(MOST_MANIFEST + 1)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({reason_of(error)}); name a folder that holds a bundle") from error
    if len(text) > MOST_MANIFEST:
        raise ManifestError(f"{path} is larger than {MOST_MANIFEST} bytes, so it is not a manifest; {COPY_AGAIN}")
    try:
        return parse_manifest(text)
    except ManifestError as error:
        raise ManifestError(f"{folder}: {error}") from error


def identity_of(manifest: Manifest) -> str:
    """What tells bundles apart: the SHA-256 of the manifest, which holds those of all files."""
    return hashlib.sha256(render_manifest(manifest)).hexdigest()


def load_bundle(folder: str | Path, *, all_hashes: bool = True) -> Bundle:
    """Read and check the bundle in `folder`.

    With `all_hashes` off, files that captioning reads later or never (the graph of streams, weights kept for an
    export) are held to their size alone: who reads one checks it by `check_file`.

    Raises ManifestError for the manifest or the vocabulary, IntegrityError for a file that is missing, altered, not a
    plain file, outside the folder, or not listed. Hidden files (a leading dot) are ignored: a manifest cannot list one,
    so none is ever opened.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    _check_listing(folder, manifest)
    for entry in manifest.files:
        check_file(folder, entry, content=all_hashes or entry.role in READ_AT_ONCE)
    return Bundle(folder, manifest, _read_vocabulary(folder, manifest), _read_confidence(folder, manifest))


def write_bundle(folder: str | Path, manifest: Manifest, contents: Sequence[BundleContent]) -> Bundle:
    """Write a bundle to `folder`, whole or not at all; sizes and hashes are computed here.

    `contents` become `manifest.files`. A folder that is empty or holds a bundle is replaced; any other is refused.
    Raises OutputError where it cannot be written, and the errors of `load_bundle` where the result would not load.
    """
    folder = Path(folder)
    with atomic_folder(folder, replace=True) as partial:
        _check_replaceable(folder)
        complete = dataclasses.replace(manifest, files=[_write_file(partial, content) for content in contents])
        (partial / MANIFEST_NAME).write_bytes(render_manifest(complete))
        written = load_bundle(partial)
    return dataclasses.replace(written, folder=folder)


def vocabulary_content(tokens: Sequence[str], name: str = "vocabulary.json") -> BundleContent:
    """The vocabulary file of a bundle: a JSON list, index = id."""
    text = json.dumps(list(tokens), ensure_ascii=False, separators=(",", ":")) + "\n"
    return BundleContent(name, "vocabulary", text.encode())


def _check_listing(folder: Path, manifest: Manifest) -> None:
    """Check that names are plain and unique, that each needed role is there, and that no other file is."""
    names = [entry.name for entry in manifest.files]
    for name in names:
        if Path(name).name != name or name == MANIFEST_NAME or names.count(name) > 1:
            raise ManifestError(
                f"{folder}: manifest.json may not list {name!r} (twice, itself, or a path); {COPY_AGAIN}"
            )
    manifest.file("vocabulary")
    programs, _ = manifest.programs, _confidence_files(manifest)
    if manifest.encoder.streaming is not None and RUNTIMES[manifest.runtime].stream:
        programs = (*programs, manifest.file("stream"))
    for entry in manifest.files:
        if entry.role in get_args(GraphRole) and entry not in programs:
            raise ManifestError(
                f"{folder}: manifest.json lists {entry.name!r} as {entry.role!r}, which the runtime "
                f"{manifest.runtime!r} does not load; {COPY_AGAIN}"
            )
    known = {MANIFEST_NAME, *names}
    for path in sorted(folder.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            raise IntegrityError(f"{path} is not listed in the bundle's manifest; remove it, or {COPY_AGAIN}")


def check_file(folder: Path, entry: BundleFile, *, content: bool = True) -> None:
    """Check that a listed file lies in the folder with its size and, for its `content`, hash. Raises IntegrityError."""
    path = folder / entry.name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise IntegrityError(f"{path} leads outside the bundle; {COPY_AGAIN}")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise IntegrityError(f"{path} is not a plain file; {COPY_AGAIN}")
        if status.st_size != entry.size:
            raise IntegrityError(f"{path} has {status.st_size} bytes and the manifest says {entry.size}; {COPY_AGAIN}")
        digest = _sha256(path) if content else entry.sha256
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing; {COPY_AGAIN}") from error
    except RuntimeError as error:  # pathlib's, up to Python 3.12
        raise IntegrityError(f"{path} is a link that leads to itself; {COPY_AGAIN}") from error
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read ({reason_of(error)}); {COPY_AGAIN}") from error
    if digest != entry.sha256:
        raise IntegrityError(
            f"{path} was changed: its SHA-256 is {digest[:12]}… and the manifest says "
            f"{entry.sha256[:12]}…; {COPY_AGAIN}"
        )


def _read_vocabulary(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    path = folder / manifest.file("vocabulary").name
    if manifest.file("vocabulary").size > MOST_VOCABULARY:
        raise ManifestError(f"{path} is larger than {MOST_VOCABULARY >> 20} MiB, so it is no vocabulary; {COPY_AGAIN}")
    text = read_at_most(path, MOST_VOCABULARY)
    if text.count(b"[") + text.count(b"{") > 2 * MOST_WORDS:  # each list or table in a list would take far more memory
        raise ManifestError(f"{path} is not a list of words; {COPY_AGAIN}")
    try:
        tokens = from_json(text)
    except ValueError as error:
        raise ManifestError(f"{path} is not JSON ({error}); {COPY_AGAIN}") from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ManifestError(f"{path} is not a list of words; {COPY_AGAIN}")
    spec = manifest.vocabulary
    if len(tokens) != spec.size or max(spec.pad, spec.start, spec.end, spec.unk) >= spec.size:
        raise ManifestError(
            f"{path} has {len(tokens)} words, the manifest says {spec.size} with the special ids "
            f"{spec.pad}, {spec.start}, {spec.end}, {spec.unk}; {COPY_AGAIN}"
        )
    words = tuple(map(clean, tokens))
    longest = max(map(len, words), default=0)
    if longest > MOST_WORD:
        raise ManifestError(f"{path} has a word of {longest} characters, at most {MOST_WORD} are allowed; {COPY_AGAIN}")
    return words


def _confidence_files(manifest: Manifest) -> tuple[BundleFile, ...]:
    """One, or none. Raises ManifestError where there are more."""
    return (manifest.file("confidence"),) if any(entry.role == "confidence" for entry in manifest.files) else ()


def _read_confidence(folder: Path, manifest: Manifest) -> ConfidenceSpec | None:
    for entry in _confidence_files(manifest):
        path = folder / entry.name
        if entry.size > MOST_CONFIDENCE:
            raise ManifestError(
                f"{path} is larger than {MOST_CONFIDENCE >> 20} MiB, so it is no confidence; {COPY_AGAIN}"
            )
        return parse_confidence(read_at_most(path, MOST_CONFIDENCE), place=str(path))
    return None


def _check_replaceable(folder: Path) -> None:
    """Refuse a target that holds something other than a bundle. Raises OutputError."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_dir() and not folder.is_symlink():
        if not any(folder.iterdir()):
            return
        try:
            document = from_json(read_at_most(folder / MANIFEST_NAME, MOST_MANIFEST))
            if isinstance(document, dict) and document.get("format") == FORMAT:
                return
        except (OSError, ValueError):
            pass
    raise OutputError(f"{folder} exists and is not a bundle, so it is not overwritten; name another folder")


def _write_file(folder: Path, content: BundleContent) -> BundleFile:
    """Write one file; its entry for the manifest."""
    path = folder / content.name
    if path.parent != folder:
        raise BundleError(f"a bundle has no folders inside, so {content.name!r} cannot be written")
    if isinstance(content.data, bytes):
        path.write_bytes(content.data)
    else:
        shutil.copyfile(content.data, path)
    return BundleFile(name=content.name, role=content.role, size=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
