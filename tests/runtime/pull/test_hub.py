"""Where `huggingface_hub` is installed, it gets the hub's files, from a server that answers as the hub does."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.bundle.catalogue import CatalogueFile
from edgecap.errors import DownloadError
from edgecap.pull.download import NotThereError
from edgecap.pull.fetch import Fetcher
from edgecap.pull.places import Network
from support.file_server import FileServer, redirects, status

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
FILE = "/somebody/student/resolve/main/tokenizer.json"
COMMIT = "d" * 40
PLACE = "hf://somebody/student/tokenizer.json"
DATA = b'{"a": 1}' * 1000


@pytest.fixture
def hub(server: FileServer, fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetcher:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    for path in (FILE, FILE.replace("main", COMMIT)):
        server.files[path] = DATA
        server.headers[path] = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(DATA).hexdigest()}"'}
    return replace(fetcher, use_hub_library=lambda: True)


def wanted(most: int = 1_000_000) -> CatalogueFile:
    return CatalogueFile(role="vocabulary", places=[PLACE], most=most)


def test_the_library_gets_it_and_its_cache_serves_it_offline(hub: Fetcher, server: FileServer, tmp_path: Path) -> None:
    with hub.file(wanted()) as fetched:
        assert fetched.path.read_bytes() == DATA
        assert fetched.path.is_relative_to(tmp_path / "hub")
        assert (fetched.revision, fetched.size, fetched.first) == (COMMIT, len(DATA), True)
    offline = replace(hub, client=type(hub.client)(Network(offline=True), hub.client.limits))
    server.requests.clear()
    with offline.file(wanted()) as fetched:
        assert fetched.path.read_bytes() == DATA
    assert server.requests == []


def test_a_file_that_is_too_large_does_not_come(hub: Fetcher, server: FileServer) -> None:
    with pytest.raises(DownloadError, match="has 8000 bytes and at most 100 are taken"), hub.file(wanted(100)):
        pass
    assert len(server.requests) == 1


@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("code", [404, 401])
def test_what_is_not_there_is_told(hub: Fetcher, server: FileServer, code: int, library: bool) -> None:
    server.plans[FILE] = [status(code)] * 9  # 401 for a whole repository that is not there
    chosen = replace(hub, use_hub_library=lambda: library)
    with pytest.raises(NotThereError, match=rf"tokenizer\.json does not exist.* \({code}\)"), chosen.file(wanted()):
        pass


def test_without_the_library_the_same_place_is_got_by_https(hub: Fetcher, server: FileServer) -> None:
    server.files["/bytes"] = server.files[FILE]
    server.plans[FILE] = [redirects("/bytes", {"X-Repo-Commit": COMMIT})]
    plain = replace(hub, use_hub_library=lambda: False)
    with plain.file(wanted()) as fetched:
        assert fetched.path.read_bytes() == DATA
        assert fetched.revision == COMMIT
