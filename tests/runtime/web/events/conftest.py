"""Live pages with and without a journal and kept sounds, asked over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecap.captioner import Captioner
from edgecap.live.config.listen_config import ListenConfig, OutputConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.web.page import LivePage
from support.live_parts import ignore
from support.web_parts import Visitor

Serve = Callable[..., tuple[LivePage, Visitor]]


@pytest.fixture
def serve(captioner: Captioner) -> Iterator[Serve]:
    pages: list[LivePage] = []

    def serve(journal: Path | None = None, sounds: Path | None = None, **web: Any) -> tuple[LivePage, Visitor]:
        kept = OutputConfig(journal=str(journal) if journal else None, keep_audio=str(sounds) if sounds else None)
        page = LivePage(ListenConfig(web=WebConfig(**{"address": "0", **web}), output=kept), captioner, ignore)
        pages.append(page)
        return page, Visitor(page._server.port)

    yield serve
    for page in pages:
        page.close()
