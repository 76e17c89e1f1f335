"""What was changed on the page, in a file of the state folder, so that it holds after a restart too.

With each setting stands what the configuration said then: where that says something else now, it holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgecap.errors import ConfigError, EdgecapError, reason_of
from edgecap.live.config.live_settings import LiveSettings
from edgecap.types import Notify
from edgecap.util.documents import from_json
from edgecap.util.files import to_json, write_atomically
from edgecap.util.lasting_id import state_folder
from edgecap.util.limits import MOST_KEPT_SETTINGS


class KeptSettings:
    """The file of one page. Any thread may call it."""

    def __init__(self, path: Path, configured: LiveSettings, notify: Notify) -> None:
        self.path = path
        self._configured, self._notify = configured, notify
        self._lock, self._failed = threading.Lock(), False

    @classmethod
    def of_page(cls, port: int, configured: LiveSettings, notify: Notify) -> KeptSettings | None:
        """That of the page at `port`, which no two listeners of a machine have; None where there is no place for it."""
        try:
            return cls(state_folder() / f"page-{port}.json", configured, notify) if port else None
        except RuntimeError:  # there is no home folder
            return None

    def load(self, check: Callable[[LiveSettings], None]) -> LiveSettings:
        """The configured settings with what was kept; as configured, and notified, where that cannot be used.

        `check` raises ConfigError for settings that cannot be used.
        """
        try:
            with self.path.open("rb") as file:
                document = from_json(file.read(MOST_KEPT_SETTINGS))
            settings = self._configured.with_changes(self._still_chosen(document))
            check(settings)
        except FileNotFoundError:
            return self._configured
        except (OSError, ValueError, ConfigError) as error:
            self._notify(
                "warning", f"what was changed on the page before is not used: {self.path} ({reason_of(error)})"
            )
            return self._configured
        return settings

    def save(self, latest: Callable[[], LiveSettings]) -> None:
        """Write what differs from the configuration; where that fails, it is notified once."""
        with self._lock:  # the latest settings are asked for under it, so that they are written last
            before, now = _plain(self._configured), _plain(latest())
            differ = {
                name: {"configured": before[name], "chosen": now[name]} for name in now if now[name] != before[name]
            }
            try:
                if differ:
                    self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    write_atomically(self.path, to_json(differ) + "\n", mode=0o600)
                else:
                    self.path.unlink(missing_ok=True)
            except (OSError, EdgecapError) as error:
                if not self._failed:
                    self._notify(
                        "warning", f"changes on the page hold until edgecap ends: {self.path} ({reason_of(error)})"
                    )
                self._failed = True

    def _still_chosen(self, document: Any) -> dict[str, object]:  # noqa: ANN401 - whatever JSON can hold
        """What was chosen in place of what is still configured. Raises ValueError for another document."""
        configured = _plain(self._configured)
        if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
            raise ValueError("it is no object of settings")
        return {
            name: entry.get("chosen")
            for name, entry in document.items()
            if name in configured and entry.get("configured") == configured[name]
        }


def _plain(settings: LiveSettings) -> dict[str, object]:
    """As JSON gives them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}
