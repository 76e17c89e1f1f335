"""`edgecap pull` and `edgecap models add|remove|verify|update`, with real bundles and a real server."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.bundle.bundle import BundleContent, load_bundle, write_bundle
from edgecap.bundle.models import home
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, ConfigError, DownloadError, IntegrityError, ManifestError, OutputError
from edgecap.pull.cache import CacheSlot, cache_root
from edgecap.pull.fetch import Fetcher
from edgecap.pull.installed import check_free, read_origin, remove, verify
from edgecap.pull.pins import read_pins
from edgecap.pull.places import Network
from edgecap.pull.pull import Pulled, PullRequest, pull
from support.file_server import FileServer, sends, stalls, status
from support.live_parts import Messages, ignore

NAMES = ("manifest.json", "encode.onnx", "decode.onnx", "vocabulary.json")


def publish(server: FileServer, folder: Path, at: str = "/kitchen") -> str:
    """Serve a bundle; its address."""
    for path in folder.iterdir():
        server.files[f"{at}/{path.name}"] = path.read_bytes()
    return f"{server.url}{at}/"


def another(folder: Path, target: Path) -> Path:
    """The same model under another licence, so with another manifest."""
    bundle = load_bundle(folder)
    contents = [(entry.name, entry.role, folder / entry.name) for entry in bundle.manifest.files]
    manifest = replace(bundle.manifest, licence=replace(bundle.manifest.licence, name="MIT"))
    write_bundle(target, manifest, [BundleContent(*content) for content in contents])
    return target


@pytest.fixture
def address(server: FileServer, tiny_folder: Path) -> str:
    return publish(server, tiny_folder)


def test_a_bundle_is_pulled_and_captions(address: str, fetcher: Fetcher, sounds: Path, messages: Messages) -> None:
    pulled = pull(PullRequest(what=address), fetcher)
    assert (pulled.name, pulled.folder) == ("kitchen", home() / "models" / "kitchen")
    assert pulled.bundle is not None
    assert next(iter(Captioner.load("kitchen").caption_file(sounds / "noise.wav"))).text
    assert sorted(path.name for path in pulled.folder.iterdir() if path.name[0] != ".") == sorted(NAMES)
    origin = read_origin(pulled.folder)
    assert origin is not None
    assert origin.what == address
    assert [place.rpartition("/")[2] for place in origin.files] == [
        "manifest.json",
        *(entry.name for entry in pulled.bundle.manifest.files),
    ]
    # the manifest vouches for the other files; for the manifest itself nobody does, which is told
    assert list(read_pins()) == [f"{address}manifest.json"]
    assert [text for _, text in messages if "nobody states a hash of" in text] == [messages[0][1]]
    assert not [path for path in cache_root().rglob("data") if path.is_file()]


def test_the_address_of_the_manifest_will_do(address: str, fetcher: Fetcher) -> None:
    assert pull(PullRequest(what=f"{address}manifest.json"), fetcher).name == "kitchen"


def test_what_is_there_is_left_unless_told(address: str, fetcher: Fetcher, server: FileServer) -> None:
    pull(PullRequest(what=address), fetcher)
    server.requests.clear()
    assert pull(PullRequest(what=address), fetcher).bundle is None
    assert server.requests == []
    assert pull(PullRequest(what=address, replace=True), fetcher).bundle is not None


def test_a_name_that_is_taken_is_not_replaced(
    address: str, fetcher: Fetcher, tiny_folder: Path, server: FileServer
) -> None:
    shutil.copytree(tiny_folder, home() / "models" / "kitchen")
    with pytest.raises(OutputError, match="kitchen exists; type: edgecap models remove kitchen, or take another name"):
        pull(PullRequest(what=address), fetcher)
    assert server.requests == []
    assert pull(PullRequest(what=address, name="other"), fetcher).name == "other"


@pytest.mark.parametrize("name", ["../evil", ".hidden", "a/b", "x" * 129])
def test_a_name_stays_in_its_folder(address: str, fetcher: Fetcher, name: str) -> None:
    with pytest.raises(BundleError, match="invalid model name"):
        pull(PullRequest(what=address, name=name), fetcher)


def test_a_model_in_the_package_is_not_shadowed_by_what_is_pulled() -> None:
    with pytest.raises(OutputError, match="'tiny' is a model in the package"):
        check_free("tiny", replace=True)


@pytest.mark.parametrize("name", ["encode.onnx", "vocabulary.json"])
def test_other_bytes_than_the_manifest_says_change_nothing(
    address: str, fetcher: Fetcher, server: FileServer, name: str
) -> None:
    first = pull(PullRequest(what=address), fetcher)
    data = server.files[f"/kitchen/{name}"]
    server.plans[f"/kitchen/{name}"] = [sends(data[::-1])]
    with pytest.raises(IntegrityError, match=f"{name} has the SHA-256"):
        pull(PullRequest(what=address, replace=True), fetcher)
    assert "as it was pulled" in verify(first.folder)
    assert not list((home() / "models").glob("*.partial"))


def test_a_manifest_is_checked_before_anything_else_comes(address: str, fetcher: Fetcher, server: FileServer) -> None:
    server.files["/kitchen/manifest.json"] = b'{"format": "edgecap-bundle", "format_version": 99}'
    with pytest.raises(ManifestError, match="has format version 99"):
        pull(PullRequest(what=address), fetcher)
    assert [path for path, _ in server.requests] == ["/kitchen/manifest.json"]
    assert read_pins() == {}
    server.files["/kitchen/manifest.json"] = b" " * ((1 << 20) + 1)
    with pytest.raises(DownloadError, match="at most 1048576 are taken"):
        pull(PullRequest(what=address), fetcher)


def test_a_bundle_that_does_not_load_is_not_installed(
    server: FileServer, fetcher: Fetcher, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "broken")
    bundle = load_bundle(tmp_path / "broken")
    contents = [
        BundleContent(entry.name, entry.role, b"no graph" if entry.role == "encode" else tiny_folder / entry.name)
        for entry in bundle.manifest.files
    ]
    write_bundle(tmp_path / "broken", bundle.manifest, contents)
    with pytest.raises(BundleError, match="encode"):
        pull(PullRequest(what=publish(server, tmp_path / "broken")), fetcher)
    assert not (home() / "models" / "kitchen").exists()


def test_a_changed_manifest_is_refused_until_an_update(  # noqa: PLR0917
    address: str, fetcher: Fetcher, server: FileServer, tiny_folder: Path, tmp_path: Path, messages: Messages
) -> None:
    first = pull(PullRequest(what=address), fetcher)
    newer = replace(fetcher, update=True)
    assert pull(PullRequest(what=address, name="kitchen"), newer).bundle is None
    publish(server, another(tiny_folder, tmp_path / "another"))
    with pytest.raises(IntegrityError, match=r"pins\.json since 20..-..-.. \(to trust the new content: edgecap models"):
        pull(PullRequest(what=address, replace=True), fetcher)
    assert load_bundle(first.folder).manifest.licence.name != "MIT"
    updated = pull(PullRequest(what=address, name="kitchen"), newer)
    assert updated.bundle is not None
    assert load_bundle(first.folder).manifest.licence.name == "MIT"
    assert "nobody states a hash" in messages[-1][1]


def test_a_licence_that_forbids_what_is_asked_changes_nothing(
    server: FileServer, fetcher: Fetcher, tiny_folder: Path, tmp_path: Path
) -> None:
    publish(server, another(tiny_folder, tmp_path / "free"), "/free")
    bundle = load_bundle(tiny_folder)
    closed = replace(bundle.manifest, licence=replace(bundle.manifest.licence, name="CC-BY-NC-4.0"))
    contents = [BundleContent(entry.name, entry.role, tiny_folder / entry.name) for entry in bundle.manifest.files]
    write_bundle(tmp_path / "closed", closed, contents)
    address = publish(server, tmp_path / "closed", "/closed")
    with pytest.raises(BundleError, match=r"CC-BY-NC-4\.0, which is not known to allow commercial use"):
        pull(PullRequest(what=address, commercial=True), fetcher)
    assert not (home() / "models" / "closed").exists()
    assert pull(PullRequest(what=f"{server.url}/free/", commercial=True), fetcher).bundle is not None


def catalogue(tmp_path: Path, server: FileServer, **entry: object) -> str:
    """A catalogue of one bundle, served; its address."""
    given = {
        "name": "kitchen",
        "kind": "bundle",
        "files": [{"role": "manifest", "places": ["kitchen/manifest.json"]}],
        "licence": {"name": "CC0-1.0"},
        **entry,
    }
    document = {"format": "edgecap-catalogue", "format_version": 1, "models": [given]}
    server.files["/catalogue.json"] = json.dumps(document).encode()
    return f"{server.url}/catalogue.json"


def test_a_catalogue_of_somebody_else(  # noqa: PLR0917
    address: str, server: FileServer, fetcher: Fetcher, tmp_path: Path, tiny_folder: Path, messages: Messages
) -> None:
    licence = {"name": load_bundle(tiny_folder).manifest.licence.name}
    source = catalogue(tmp_path, server, licence=licence)
    assert pull(PullRequest(what="kitchen", catalogue=source), fetcher).bundle is not None
    with pytest.raises(BundleError, match="no model called 'kitchn'; nearest: kitchen"):
        pull(PullRequest(what="kitchn", catalogue=source), fetcher)
    server.plans["/catalogue.json"] = [status(500)] * 3
    assert pull(PullRequest(what="kitchen", catalogue=source), fetcher).bundle is None
    assert "the catalogue in the cache is used" in messages[-1][1]


def test_a_catalogue_holds_hash_and_licence(
    address: str, server: FileServer, fetcher: Fetcher, tmp_path: Path, tiny_folder: Path
) -> None:
    licence = {"name": load_bundle(tiny_folder).manifest.licence.name}
    wrong = {"role": "manifest", "places": ["kitchen/manifest.json"], "sha256": "0" * 64}
    source = catalogue(tmp_path, server, licence=licence, files=[wrong])
    with pytest.raises(IntegrityError, match="the catalogue says 000000000000"):
        pull(PullRequest(what="kitchen", catalogue=source), fetcher)
    source = catalogue(tmp_path, server, licence={"name": "Other"})
    with pytest.raises(BundleError, match="the catalogue says that kitchen is under Other, and its manifest says"):
        pull(PullRequest(what="kitchen", catalogue=source), fetcher)
    assert not (home() / "models" / "kitchen").exists()


def test_the_cache_works_where_there_is_no_net(
    address: str, server: FileServer, fetcher: Fetcher, tiny_folder: Path
) -> None:
    offline = replace(fetcher, client=type(fetcher.client)(Network(offline=True), fetcher.client.limits))
    with pytest.raises(DownloadError, match="is not in the cache, and --offline forbids to get it"):
        pull(PullRequest(what=address), offline)
    # the last file is missing: the others stay in the cache, and nothing is installed
    last = load_bundle(tiny_folder).manifest.files[-1].name
    server.plans[f"/kitchen/{last}"] = [status(500)] * 3
    with pytest.raises(DownloadError, match=f"{last} answers 500; 3 tries"):
        pull(PullRequest(what=address), fetcher)
    assert CacheSlot(f"{address}manifest.json").kept() is not None
    pull(PullRequest(what=address), fetcher)
    paths = [path for path, _ in server.requests]
    assert {path: paths.count(path) for path in paths} == {
        f"/kitchen/{name}": 4 if name == last else 1 for name in NAMES
    }
    server.requests.clear()
    assert pull(PullRequest(what=address), offline).bundle is None
    assert server.requests == []


def test_a_name_that_nothing_has_is_answered_with_the_nearest(fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model called 'effb2-trm-audiocap'; nearest: effb2-trm-audiocaps"):
        pull(PullRequest(what="effb2-trm-audiocap"), fetcher)
    with pytest.raises(BundleError, match="'tiny' is installed, and the catalogue has no other"):
        pull(PullRequest(what="tiny"), fetcher)
    with pytest.raises(ConfigError, match="is a folder of this machine; type: edgecap models add"):
        pull(PullRequest(what=str(tmp_path)), fetcher)
    with pytest.raises(ConfigError, match="is not encrypted"):
        pull(PullRequest(what="http://models.example/kitchen/"), fetcher)


def test_removing_takes_the_model_and_its_downloads(address: str, fetcher: Fetcher) -> None:
    pulled: Pulled = pull(PullRequest(what=address), fetcher)
    assert remove("kitchen", ignore) == pulled.folder
    assert not pulled.folder.exists()
    with pytest.raises(BundleError, match="'kitchen' is not installed; your own models: none"):
        remove("kitchen", ignore)
    with pytest.raises(BundleError, match="'tiny' is part of the package"):
        remove("tiny", ignore)
    # what was trusted once stays trusted
    assert pull(PullRequest(what=address), fetcher).bundle is not None


def test_verifying_finds_what_was_changed(address: str, fetcher: Fetcher, tiny_folder: Path) -> None:
    folder = pull(PullRequest(what=address), fetcher).folder
    assert verify(folder).startswith(f"every file is as it was pulled from {address} on 20")
    assert "nothing vouches for the manifest" in verify(tiny_folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"caption": "silence"', '"caption": "quiet"'))
    load_bundle(folder)
    with pytest.raises(IntegrityError, match="the manifest was changed after it was pulled"):
        verify(folder)
    (folder / "encode.onnx").write_bytes(b"")
    with pytest.raises(IntegrityError, match="has 0 bytes and the manifest says"):
        verify(folder)


PULL = """
import sys
from edgecap.cli import run
sys.exit(run(["pull", sys.argv[1]]))
"""


def test_two_at_once_get_a_bundle_once(address: str, server: FileServer) -> None:
    server.plans["/kitchen/encode.onnx"] = [stalls(10)]
    command = [sys.executable, "-c", PULL, address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        wait_for(lambda: "/kitchen/encode.onnx" in [path for path, _ in server.requests])
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as second:
            assert second.stderr is not None
            assert "another edgecap is getting" in second.stderr.readline()
            server.released.set()
            assert "kitchen is there already" in second.stderr.read()
    assert (first.returncode, second.returncode) == (0, 0)
    paths = [path for path, _ in server.requests]
    # the manifest is asked for again; the first answer with the encoder broke off
    assert {path: paths.count(path) for path in paths} == {
        **{f"/kitchen/{name}": 1 for name in NAMES},
        "/kitchen/manifest.json": 2,
        "/kitchen/encode.onnx": 2,
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_pull_that_is_ended_goes_on_at_the_next(
    address: str, server: FileServer, fetcher: Fetcher, number: signal.Signals
) -> None:
    server.plans["/kitchen/encode.onnx"] = [stalls(10)]
    with subprocess.Popen([sys.executable, "-c", PULL, address], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: any(path.stat().st_size == 10 for path in cache_root().rglob("part")))
        process.send_signal(number)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: -15, signal.SIGKILL: -9}[number]
    assert not (home() / "models" / "kitchen").exists()
    assert pull(PullRequest(what=address), fetcher).bundle is not None
    assert server.ranges("/kitchen/encode.onnx") == [None, "bytes=10-"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
