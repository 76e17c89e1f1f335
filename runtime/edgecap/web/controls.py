"""What visitors may change while edgecap listens: the settings of `edgecap.live.config.live_settings`.

POST /settings  a JSON object with some of them; answers with all of them, and whether they are in force

The status of each microphone holds those in force, so every browser follows a change.
"""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus

from edgecap.errors import ConfigError
from edgecap.live.config.live_settings import LiveBox
from edgecap.util.limits import MOST_CONTROLS
from edgecap.web.server import Exchange

APPLY_SECONDS = 3.0
"""Wait for the listening thread."""


class Controls:
    """Answers requests for other settings."""

    def __init__(self, live: LiveBox) -> None:
        self._live = live

    def __call__(self, exchange: Exchange) -> None:
        """Answer POST /settings."""
        fields = exchange.receive_json(MOST_CONTROLS)
        if fields is None:
            return
        try:
            settings, applied = self._live.ask(fields, APPLY_SECONDS)
        except ConfigError as error:
            exchange.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        else:
            exchange.reply_json({"settings": asdict(settings), "applied": applied})
