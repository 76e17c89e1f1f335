"""edgecap: on-device audio captioning, one sentence for what a microphone hears.

    from edgecap import Captioner
    captioner = Captioner.load()
    for caption in captioner.caption_file("rain.wav"):
        print(caption.start, caption.end, caption.text)

Names are loaded on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgecap._version import __version__
from edgecap.errors import (
    AudioError,
    BundleError,
    CheckpointError,
    ConfigError,
    DeviceError,
    EdgecapError,
    IntegrityError,
    ManifestError,
    MissingDependencyError,
    OutputError,
    ShapeMismatchError,
    ToleranceError,
    VerificationError,
)

if TYPE_CHECKING:
    from edgecap.bundle.bundle import Bundle, load_bundle
    from edgecap.caption import Beam, Caption
    from edgecap.captioner import Captioner
    from edgecap.live.api import listen
    from edgecap.live.events.event import Event

__all__ = [
    "AudioError",
    "Beam",
    "Bundle",
    "BundleError",
    "Caption",
    "Captioner",
    "CheckpointError",
    "ConfigError",
    "DeviceError",
    "EdgecapError",
    "Event",
    "IntegrityError",
    "ManifestError",
    "MissingDependencyError",
    "OutputError",
    "ShapeMismatchError",
    "ToleranceError",
    "VerificationError",
    "__version__",
    "listen",
    "load_bundle",
]

_LAZY = {
    "Beam": "edgecap.caption",
    "Bundle": "edgecap.bundle.bundle",
    "Caption": "edgecap.caption",
    "Captioner": "edgecap.captioner",
    "Event": "edgecap.live.events.event",
    "listen": "edgecap.live.api",
    "load_bundle": "edgecap.bundle.bundle",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'edgecap' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
