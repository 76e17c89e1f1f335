"""What each place gave when it was trusted first: `pins.json` in the user's folder.

Where a catalogue states no hash, the first download is trusted and its hash is kept here, by place, independently of
mirrors and caches. From then on another content is refused until `edgecap models update` is told to accept it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from edgecap.bundle.fields import Sha256
from edgecap.bundle.models import home
from edgecap.errors import ConfigError
from edgecap.pull.cache import locked
from edgecap.types import Notify
from edgecap.util.files import read_at_most, to_json, write_atomically
from edgecap.util.limits import MOST_PINS


@dataclass(frozen=True)
class Pin:
    """The content that a place is trusted to have."""

    sha256: Sha256
    size: int
    since: str
    """Date of the first download."""


def pins_file() -> Path:
    """Where the pins are."""
    return home() / "pins.json"


def read_pins() -> dict[str, Pin]:
    """Place → pin. Raises ConfigError for a damaged file: to forget pins silently would be to trust anything."""
    path = pins_file()
    try:
        return msgspec.convert(json.loads(read_at_most(path, MOST_PINS)), dict[str, Pin])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); restore it, or remove it to trust every place anew") from (
            error
        )


def write_pin(place: str, pin: Pin, notify: Notify) -> None:
    """Keep a pin, whatever other processes write. Raises OutputError."""
    with locked(home() / ".pins.lock", notify, "another edgecap is writing pins.json; waiting for it"):
        pins = {**read_pins(), place: pin}
        document = {name: asdict(pins[name]) for name in sorted(pins)}
        write_atomically(pins_file(), to_json(document).replace("}, ", "},\n ") + "\n", mode=0o600)
