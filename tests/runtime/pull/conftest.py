"""A server, a cache and a folder of models for each test, and a client that waits for no second try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecap.pull.client import Client, Limits
from edgecap.pull.fetch import Fetcher
from edgecap.pull.places import Network
from support.file_server import FileServer, file_server
from support.live_parts import Messages, notifier

LIMITS = Limits(stall=20.0, total=60.0, tries=3, first_wait=0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these tests touches the user's own cache or models, or goes through a proxy."""
    monkeypatch.setenv("EDGECAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path / "home"))
    for name in ("HF_ENDPOINT", "EDGECAP_MIRROR", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def messages() -> Messages:
    return []


@pytest.fixture
def waits() -> list[float]:
    """What a client waited between tries, in seconds."""
    return []


@pytest.fixture
def client(waits: list[float]) -> Client:
    return Client(Network(), LIMITS, wait=waits.append)


@pytest.fixture
def fetcher(client: Client, messages: Messages) -> Fetcher:
    return Fetcher(client=client, notify=notifier(messages), use_hub_library=lambda: False)
