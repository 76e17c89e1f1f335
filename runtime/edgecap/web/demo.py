"""The captioning part of the page alone: a sound from the browser in, captions with their beams out."""

from __future__ import annotations

from typing import Self

from edgecap.captioner import Captioner
from edgecap.live.config.web_config import WebConfig
from edgecap.types import Notify
from edgecap.util.parsing import parse_address
from edgecap.web.access import access_of
from edgecap.web.page import about
from edgecap.web.server import Route, WebServer
from edgecap.web.uploads import Uploads

DEFAULT_ADDRESS = "8642"


class Demo:
    """A server of the demo. Use it as a context manager."""

    def __init__(self, config: WebConfig, captioner: Captioner, notify: Notify, *, beam: int | None = None) -> None:
        """Serve at `config.address`, else at port 8642 of this machine. Raises ConfigError, OutputError."""
        host, port = parse_address(config.address or DEFAULT_ADDRESS)
        routes: dict[tuple[str, str], Route] = {
            ("GET", "/about"): lambda exchange: exchange.reply_json(about(captioner) | {"live": False}),
            ("POST", "/caption"): Uploads(captioner, beam),
        }
        self._server = WebServer(host, port, access_of(config, host, notify), routes, notify)
        self._server.start()

    @property
    def url(self) -> str:
        """Its address, with the token where one is needed."""
        return self._server.url_with_token

    def close(self) -> None:
        """Release the port."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
