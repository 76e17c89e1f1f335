"""The files of the page, read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX = "/"


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    body: bytes
    content_type: str
    tag: str
    """Its ETag, by which browsers check whether it has changed."""


def load_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Path to file; `index.html` is at "/"."""
    assets = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in TYPES:
            body = path.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            assets[INDEX if path.name == "index.html" else f"/{path.name}"] = Asset(body, TYPES[path.suffix], tag)
    return assets
