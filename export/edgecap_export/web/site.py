"""A bundle to a folder of plain files that captions sounds in a browser, with no server but one for files.

The page is the live page of `edgecap.web` with other scripts: its look, its texts and many of its modules are taken
from there. What is added lies in `static`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecap.bundle.bundle import Bundle
from edgecap.bundle.manifest import Role
from edgecap.errors import ConfigError
from edgecap.util.files import atomic_folder
from edgecap.web.assets import FOLDER as LIVE_PAGE
from edgecap_export.web.onnxruntime_web import PROGRAM, SCRIPT

STATIC = Path(__file__).parent / "static"
SHARED = (
    *("style.css", "icon.svg", "worklet.js", "dom.js", "microphone.js", "now.js", "palette.js", "panel.js"),
    *("drawing.js", "picture.js", "recorder.js", "row.js", "sounds.js", "stream.js", "teach.js"),
)
"""Files of the live page that the site has too."""
OWN = (
    *("captioner.js", "decode.js", "frontend.js", "listener.js", "model.js", "resample.js", "search.js", "site.js"),
    *("worker.js", "site.webmanifest", "icon-192.png", "icon-512.png"),
)
MODEL: Mapping[Role, str] = {"encode": "encode.onnx", "decode": "decode.onnx", "vocabulary": "vocabulary.json"}
LEFT_OUT = ("events", "settings", "state")
"""Sections of the live page that need its server."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
HEAD = f"""<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="theme-color" content="#0b5a8a">
<meta name="description" content="Says in one sentence what this device hears, in this browser alone.">
<link rel="manifest" href="site.webmanifest">
<link rel="apple-touch-icon" href="icon-192.png">
"""
WORKER = "sw.js"


@dataclass(frozen=True)
class Site:
    """What was written."""

    folder: Path
    files: Mapping[str, int]
    """Each file that a browser loads and its size in bytes."""
    version: str
    """Changes with the content of any file."""

    @property
    def size(self) -> int:
        """Bytes that a browser loads once."""
        return sum(self.files.values())


def write_site(bundle: Bundle, runtime: Mapping[str, bytes], folder: Path, *, replace: bool = False) -> Site:
    """Write the site of a bundle; `runtime` are the files of `edgecap_export.web.onnxruntime_web`.

    Raises ConfigError for a bundle that a browser cannot run, OutputError.
    """
    files = {"index.html": _index().encode(), **_model(bundle), **_runtime(runtime)}
    files |= {name: (LIVE_PAGE / name).read_bytes() for name in SHARED}
    files |= {name: (STATIC / name).read_bytes() for name in OWN}
    hashes = {name: hashlib.sha256(files[name]).digest() for name in sorted(files)}
    integrity = {name: f"sha256-{base64.b64encode(digest).decode()}" for name, digest in hashes.items()}
    version = hashlib.sha256(json.dumps(integrity).encode() + (STATIC / WORKER).read_bytes()).hexdigest()[:16]
    lists = f"const VERSION = {json.dumps(version)};\nconst FILES = {json.dumps(integrity, indent=1)};\n"
    files[WORKER] = lists.encode() + (STATIC / WORKER).read_bytes()
    with atomic_folder(folder, replace=replace) as partial:
        for name, content in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (partial / ".nojekyll").touch()  # GitHub Pages then serves the files as they are
    return Site(folder, {name: len(content) for name, content in files.items()}, version)


def check_bundle(bundle: Bundle) -> None:
    """Raise ConfigError for a bundle whose graphs do not run in a browser."""
    manifest = bundle.manifest
    if manifest.runtime != "onnx" or manifest.encoder.input != "log_mel":
        raise ConfigError(
            f"{bundle.folder} is for another runtime, or its graph takes samples; the page runs ONNX graphs that take "
            "a log-mel: name such a bundle, as edgecap export --int8 makes it"
        )


def _model(bundle: Bundle) -> dict[str, bytes]:
    """The bundle's files without its float weights, under the names that the page's scripts know."""
    check_bundle(bundle)
    files = {f"model/{name}": bundle.path(role).read_bytes() for role, name in MODEL.items()}
    files["model/manifest.json"] = (bundle.folder / "manifest.json").read_bytes()
    cards = [entry.name for entry in bundle.manifest.files if entry.role == "card"]
    return files | {f"model/{name}": (bundle.folder / name).read_bytes() for name in cards[:1]}


def _runtime(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """onnxruntime-web and its licence. Its program is compressed here, since not every server of files does it."""
    return {
        "ort/onnxruntime-web.js": contents[SCRIPT],
        "ort/onnxruntime-web.bin": gzip.compress(contents[PROGRAM], mtime=0),
        "ort/LICENSE.txt": (STATIC / "ort-LICENSE.txt").read_bytes(),
    }


def _index() -> str:
    """The live page's document without the sections that need a server, and with what the site adds."""
    page = (LIVE_PAGE / "index.html").read_text(encoding="utf-8")
    for name in LEFT_OUT:
        page = _replaced(page, rf'<section id="{name}".*?</section>\n*', "")
    page = _replaced(page, "<title>.*?</title>", "<title>edgecap in this browser</title>")
    page = _replaced(page, 'src="main.js"', 'src="site.js"')
    page = _replaced(page, '(?=<link rel="icon")', HEAD)
    for name, before in (("listen.html", "now"), ("heard.html", "sounds")):
        fragment = (STATIC / name).read_text(encoding="utf-8")
        page = _replaced(page, f'(?=<section id="{before}")', fragment)
    return page


def _replaced(page: str, pattern: str, text: str) -> str:
    """The page with its one match of a pattern replaced; a live page without it is a fault of this module."""
    changed, count = re.subn(pattern, lambda _: text, page, flags=re.DOTALL)
    if count != 1:
        raise AssertionError(f"the live page has {count} places for {pattern}")
    return changed
