"""A download is whole and right, or one line says why not; what was there before stays."""

from __future__ import annotations

import hashlib
import random
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgecap.errors import ConfigError, DownloadError, EdgecapError, IntegrityError, OutputError
from edgecap.pull.cache import CacheSlot as Slot
from edgecap.pull.cache import Said
from edgecap.pull.client import Client
from edgecap.pull.download import NotThereError, Wanted, download
from edgecap.pull.places import Network
from support.file_server import (
    Behaviour,
    FileServer,
    Handler,
    breaks_off,
    drips_body,
    drips_head,
    redirects,
    sends,
    stalls,
    status,
)
from support.live_parts import ignore
from support.ports import refusing_port

DATA = random.Random(1).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
KNOWN = Wanted(size=len(DATA), sha256=SHA)
PATH = "/models/file"


@pytest.fixture
def slot(server: FileServer) -> Slot:
    server.files[PATH] = DATA
    return Slot(server.url + PATH)


def get(client: Client, slot: Slot, wanted: Wanted = KNOWN, refresh: str = "") -> Said:
    with slot.locked(ignore):
        return download(client, slot, slot.place, wanted, refresh=refresh)


def test_a_file_comes_and_its_hash_is_known(client: Client, slot: Slot, server: FileServer) -> None:
    said = get(client, slot, Wanted())
    assert slot.data.read_bytes() == DATA
    assert (said.sha256, said.size) == (SHA, len(DATA))
    assert slot.kept() == said
    assert not slot.part.exists()
    headers = dict(server.requests)[PATH]
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("edgecap/")


def test_what_broke_off_goes_on_where_it_stopped(client: Client, slot: Slot, server: FileServer) -> None:
    server.plans[PATH] = [breaks_off(100_000), breaks_off(10)]
    get(client, slot)
    assert slot.data.read_bytes() == DATA
    # the second answer ignores the range and begins anew; the third gets the rest of that
    assert server.ranges(PATH) == [None, "bytes=100000-", "bytes=10-"]
    assert server.requests[1][1]["if-range"] == server.requests[2][1]["if-range"]


def test_a_stall_is_a_break(client: Client, slot: Slot, server: FileServer) -> None:
    server.plans[PATH] = [stalls(200_000)]
    client.limits = replace(client.limits, stall=1.5)  # by far more than the other bytes take
    get(client, slot)
    assert slot.data.read_bytes() == DATA
    assert server.ranges(PATH) == [None, "bytes=200000-"]


@pytest.mark.parametrize("drip", [drips_head, drips_body])
def test_dripping_bytes_do_not_keep_it_waiting(client: Client, slot: Slot, server: FileServer, drip: Behaviour) -> None:
    server.plans[PATH] = [drip] * 3
    client.limits = replace(client.limits, stall=0.3)
    with pytest.raises(DownloadError, match=r"(took too long|sends fewer than).*3 tries"):
        get(client, slot, Wanted())


def test_all_of_it_has_a_time_limit(client: Client, slot: Slot, server: FileServer) -> None:
    server.plans[PATH] = [drips_body] * 9
    client.limits = replace(client.limits, total=0.5)
    with pytest.raises(DownloadError, match=r"took too long to answer \(more than 0\.\d* s\)"):
        get(client, slot)


def test_a_file_that_changed_meanwhile_begins_anew(client: Client, slot: Slot, server: FileServer) -> None:
    other = DATA[::-1]
    server.plans[PATH] = [breaks_off(1000)]
    client.limits = replace(client.limits, tries=1)
    with pytest.raises(DownloadError, match="broke off after 1000 of 300000 bytes"):
        get(client, slot, Wanted())
    server.files[PATH] = other
    get(client, slot, Wanted())
    assert slot.data.read_bytes() == other


def test_a_part_of_other_bytes_begins_anew(client: Client, slot: Slot, server: FileServer) -> None:
    get_part(slot, b"x" * 5000)
    get(client, slot)
    assert slot.data.read_bytes() == DATA
    assert server.ranges(PATH) == ["bytes=5000-", None]


def get_part(slot: Slot, data: bytes) -> None:
    slot.folder.mkdir(parents=True)
    slot.part.write_bytes(data)


def test_a_part_without_anything_that_vouches_for_the_rest_is_not_used(
    client: Client, slot: Slot, server: FileServer
) -> None:
    get_part(slot, DATA[:5000])
    get(client, slot, Wanted())
    assert server.ranges(PATH) == [None]


@pytest.mark.parametrize("part", [DATA, DATA + b"more"], ids=["complete", "too long"])
def test_416_means_that_all_is_there_or_too_much(client: Client, slot: Slot, server: FileServer, part: bytes) -> None:
    get_part(slot, part)
    get(client, slot)
    assert slot.data.read_bytes() == DATA
    assert server.ranges(PATH) == [f"bytes={len(part)}-"] + [None] * (part != DATA)


def test_a_part_of_another_place_in_206_is_not_taken(client: Client, slot: Slot, server: FileServer) -> None:
    get_part(slot, DATA[:5000])

    def wrong_part(handler: Handler, data: bytes) -> None:
        handler.head(206, 10, {"Content-Range": "bytes 0-9/300000"})
        handler.body(data[:10])

    server.plans[PATH] = [wrong_part]
    get(client, slot)
    assert slot.data.read_bytes() == DATA


def test_the_server_is_waited_for_as_it_asks(
    client: Client, slot: Slot, server: FileServer, waits: list[float]
) -> None:
    server.plans[PATH] = [
        status(429, {"Retry-After": "7"}),
        status(503, {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}),
    ]
    get(client, slot)
    assert waits == [7.0, 0.0]


def test_a_server_that_asks_for_hours_is_not_waited_for(
    client: Client, slot: Slot, server: FileServer, waits: list[float]
) -> None:
    server.plans[PATH] = [status(429, {"Retry-After": "7200"})]
    with pytest.raises(DownloadError, match="answers 429; it asks to wait for 7200 s"):
        get(client, slot)
    assert waits == []


def test_tries_are_bounded(client: Client, slot: Slot, server: FileServer) -> None:
    server.plans[PATH] = [status(503)] * 9
    with pytest.raises(DownloadError, match="answers 503; 3 tries"):
        get(client, slot)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (404, NotThereError, r"does not exist \(404\)"),
        (410, NotThereError, r"does not exist \(410\)"),
        (401, NotThereError, r"does not exist, or needs a login \(401\)"),
        (204, DownloadError, "answers 204, which is no file"),
        (418, DownloadError, "answers 418, which is no file"),
        (302, DownloadError, "answers 302, which is no file"),
    ],
)
def test_answers_without_a_file(  # noqa: PLR0917
    client: Client, slot: Slot, server: FileServer, code: int, error: type[Exception], text: str
) -> None:
    server.plans[PATH] = [status(code)]
    with pytest.raises(error, match=text):
        get(client, slot)
    assert len(server.requests) == 1


def test_the_wrong_bytes_are_refused_and_forgotten(client: Client, slot: Slot, server: FileServer) -> None:
    get(client, slot)
    server.plans[PATH] = [sends(DATA[::-1])]
    with pytest.raises(IntegrityError, match=r"has the SHA-256 \w{12}… and the catalogue says \w{12}…; nothing was"):
        get(client, slot)
    assert slot.data.read_bytes() == DATA
    assert slot.kept() is not None
    assert not slot.part.exists()


def test_the_hash_that_the_hub_declares_is_held(client: Client, slot: Slot, server: FileServer) -> None:
    server.headers[PATH] = {"X-Linked-ETag": f'"{"0" * 64}"', "X-Repo-Commit": "a" * 40}
    with pytest.raises(IntegrityError, match=r"127\.0\.0\.1 says 000000000000…"):
        get(client, slot, Wanted())
    server.headers[PATH]["X-Linked-ETag"] = f'"{SHA}"'
    assert get(client, slot, Wanted()).revision == "a" * 40


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1])
def test_a_length_that_is_not_the_known_one_is_refused_before_it_comes(
    client: Client, slot: Slot, server: FileServer, length: int
) -> None:
    server.plans[PATH] = [sends(DATA, length=length)]
    with pytest.raises(IntegrityError, match=f"has {length} bytes and the catalogue says 300000"):
        get(client, slot)
    assert not slot.part.exists()


def test_a_length_that_is_a_lie_is_no_file(client: Client, slot: Slot, server: FileServer) -> None:
    server.plans[PATH] = [sends(DATA[:10], length=20)] * 3
    with pytest.raises(DownloadError, match="broke off after 10 of 20 bytes; 3 tries"):
        get(client, slot, Wanted())


def endless(handler: Handler, _: bytes) -> None:
    """Chunks for ever."""
    handler.head(200, None, {"Transfer-Encoding": "chunked"})
    while True:
        handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def test_sizes_are_bounded(client: Client, slot: Slot, server: FileServer) -> None:
    with pytest.raises(DownloadError, match="has 300000 bytes and at most 1000 are taken"):
        get(client, slot, Wanted(most=1000))
    server.plans[PATH] = [endless]
    with pytest.raises(DownloadError, match="sends more than 1000000 bytes"):
        get(client, slot, Wanted(most=1_000_000))
    assert slot.part.stat().st_size <= 1_000_000


def test_chunks_are_read(client: Client, slot: Slot, server: FileServer) -> None:
    def chunked(handler: Handler, data: bytes) -> None:
        handler.head(200, None, {"Transfer-Encoding": "chunked"})
        handler.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n0\r\n\r\n")

    server.plans[PATH] = [chunked]
    assert get(client, slot, Wanted()).sha256 == SHA


def test_a_body_without_any_length_is_taken_only_with_a_hash(client: Client, slot: Slot, server: FileServer) -> None:
    def bare(handler: Handler, data: bytes) -> None:
        handler.head(200, None)
        handler.wfile.write(data)

    server.plans[PATH] = [bare, bare]
    with pytest.raises(DownloadError, match="without a length"):
        get(client, slot, Wanted())
    assert get(client, slot).sha256 == SHA


def test_a_compressed_answer_is_not_unpacked(client: Client, slot: Slot, server: FileServer) -> None:
    server.plans[PATH] = [sends(b"x", headers={"Content-Encoding": "gzip"})]
    with pytest.raises(DownloadError, match="comes compressed"):
        get(client, slot, Wanted())


def test_redirects_are_followed_and_bounded(client: Client, slot: Slot, server: FileServer) -> None:
    server.files["/there"] = DATA
    server.plans[PATH] = [redirects("/there", {"X-Repo-Commit": "b" * 40})]
    assert get(client, slot).revision == "b" * 40
    server.plans[PATH] = [redirects(PATH)] * 99
    server.requests.clear()
    with pytest.raises(DownloadError, match="redirects more than 5 times"):
        get(client, slot)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("http://models.example/file", "redirects to models.example without encryption"),
        ("file:///etc/passwd", "an address that cannot be used"),
        ("https://user@models.example/", "an address that cannot be used"),
        ("ftp://models.example/", "an address that cannot be used"),
    ],
)
def test_a_redirect_away_from_https_is_not_followed(
    client: Client, slot: Slot, server: FileServer, target: str, text: str
) -> None:
    server.plans[PATH] = [redirects(target)]
    with pytest.raises(DownloadError, match=text):
        get(client, slot)
    assert len(server.requests) == 1


def test_https_never_becomes_http() -> None:
    for network in (Network(), Network(insecure=True)):
        network.check_redirect("https://a.example/", "https://b.example/")
        with pytest.raises(DownloadError, match="without encryption"):
            network.check_redirect("https://a.example/", "http://a.example/")
        with pytest.raises(DownloadError, match="without encryption"):
            network.check_redirect("https://a.example/", "http://127.0.0.1/")
    with pytest.raises(ConfigError, match="is not encrypted; use https://, or add --insecure"):
        Network().check("http://a.example/")
    Network(insecure=True).check("http://a.example/")
    Network().check("http://127.0.0.1:8080/")


def test_a_server_that_is_down_is_named(client: Client, slot: Slot, server: FileServer) -> None:
    url = server.url.replace(str(server.server_address[1]), "1")
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:1/x cannot be got \(Connection refused\); 3 tries"):
        get(client, Slot(f"{url}/x"))


def test_what_is_there_and_not_newer_stays(client: Client, slot: Slot, server: FileServer) -> None:
    first = get(client, slot, Wanted())
    assert get(client, slot, Wanted(), refresh=first.etag) == first
    assert server.requests[1][1]["if-none-match"] == first.etag
    server.files[PATH] = b"new"
    assert get(client, slot, Wanted(), refresh=first.etag).size == 3
    assert slot.data.read_bytes() == b"new"


def test_a_full_disk_is_told_and_the_next_try_goes_on(client: Client, slot: Slot, server: FileServer) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"part cannot be written \(File too large\); free space"):
            get(client, slot)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    get(client, slot)
    assert slot.data.read_bytes() == DATA
    assert server.ranges(PATH) == [None, "bytes=100000-"]


def test_too_little_space_is_told_before_it_begins(client: Client, slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecap.pull.cache.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(OutputError, match=r"0\.3 MB are needed in .* and 0\.0 MB are free"):
        get(client, slot)


SCRIPT = """
import sys
from edgecap.pull.cache import CacheSlot as Slot
from edgecap.pull.client import Client, Limits
from edgecap.pull.download import Wanted, download
from edgecap.pull.places import Network
slot = Slot(sys.argv[1])
with slot.locked(lambda kind, text: print(text, flush=True)):
    kept = slot.kept()
    client = Client(Network(), Limits(stall=30))
    print("kept" if kept else download(client, slot, slot.place, Wanted()).size, flush=True)
"""


def child(slot: Slot) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, slot.place], stdout=subprocess.PIPE, text=True)


def wait_for_part(slot: Slot, size: int) -> None:
    """Until so many bytes have come."""
    deadline = time.monotonic() + 30
    while not (slot.part.is_file() and slot.part.stat().st_size >= size):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_leaves_what_the_next_goes_on_with(
    client: Client, slot: Slot, server: FileServer, number: signal.Signals
) -> None:
    server.plans[PATH] = [stalls(150_000)]
    with child(slot) as process:
        wait_for_part(slot, 150_000)
        process.send_signal(number)
    assert not slot.data.exists()
    get(client, slot)
    assert slot.data.read_bytes() == DATA
    assert server.ranges(PATH) == [None, "bytes=150000-"]


def test_two_processes_at_once_get_it_once(slot: Slot, server: FileServer) -> None:
    server.plans[PATH] = [stalls(150_000)]
    with child(slot) as first:
        wait_for_part(slot, 150_000)
        with child(slot) as second:
            assert second.stdout is not None
            assert "another edgecap is getting" in second.stdout.readline()
            server.released.set()  # the first one's answer breaks off, and it gets the rest
            assert second.stdout.read() == "kept\n"
        assert first.stdout is not None
        assert first.stdout.read() == "300000\n"
    assert server.ranges(PATH) == [None, "bytes=150000-"]


def test_a_file_in_the_cache_that_was_changed_is_not_used(client: Client, slot: Slot) -> None:
    get(client, slot)
    slot.data.write_bytes(b"other")
    assert slot.kept() is None
    (slot.folder / "data.json").write_text("{")
    assert slot.said(slot.data) == Said()


def test_the_cache_has_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGECAP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Slot("x").folder.parent == tmp_path / "edgecap"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Slot("x").folder.parent == tmp_path / "home" / ".cache" / "edgecap"


@pytest.fixture
def refusing() -> Iterator[int]:
    with refusing_port() as port:
        yield port


def test_a_proxy_of_the_environment_is_used(
    client: Client, server: FileServer, monkeypatch: pytest.MonkeyPatch, refusing: int
) -> None:
    url = "http://models.example/file"
    server.files[url] = DATA
    monkeypatch.setenv("http_proxy", server.url)
    client.network = Network(insecure=True)
    get(client, Slot(url))
    assert [path for path, _ in server.requests] == [url]
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{refusing}")
    with pytest.raises(DownloadError, match=rf"cannot be got through the proxy 127\.0\.0\.1:{refusing} \(Connection r"):
        get(client, Slot("http://models.example/other"))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of localhost that nobody trusts unasked, with its key."""
    openssl = shutil.which("openssl") or pytest.skip("openssl is not installed")
    path = tmp_path / "localhost.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", path, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


def test_https_is_checked_and_never_left(
    client: Client, server: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port = server.server_address[1]
    slot = Slot(f"https://localhost:{port}{PATH}")
    server.files[PATH] = DATA
    with pytest.raises(DownloadError, match=r"certificate verify failed"):
        get(client, slot)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server.plans[PATH] = [stalls(150_000)]
    get(client, slot)
    assert slot.data.read_bytes() == DATA
    assert server.ranges(PATH) == [None, "bytes=150000-"]
    server.plans[PATH] = [redirects(f"http://127.0.0.1:{port}{PATH}")]
    with pytest.raises(DownloadError, match=r"localhost redirects to 127\.0\.0\.1 without encryption"):
        get(client, slot)


def test_a_place_that_cannot_be_written_is_told(client: Client, slot: Slot, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(
        OutputError, match=r"cannot be written \(.*\); free space or name another place by EDGECAP_CACHE"
    ):
        get(client, slot)


HEADS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nETag: "abc"\r\nX-Linked-ETag: "00"\r\n\r\n',
    b'HTTP/1.1 206 Part\r\nContent-Range: bytes 100-2099/2100\r\nContent-Length: 2000\r\nETag: "abc"\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /models/file?again=1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 416 Range\r\nContent-Range: bytes */2100\r\nContent-Length: 0\r\n\r\n",
)


def test_whatever_a_server_says_it_is_a_file_or_one_line(client: Client, slot: Slot, server: FileServer) -> None:
    rng = random.Random(1)
    pieces = (b"9" * 30, b"-1", b"\r\n", b"\xff", b"http://a/", b"0")
    lines: list[str] = []

    def says(handler: Handler, _: bytes) -> None:
        head = bytearray(rng.choice(HEADS))
        for _number in range(rng.choice((0, 1, 2, 8))):
            place = rng.randrange(len(head))
            head[place : place + rng.randrange(3)] = rng.choice(pieces)
        handler.wfile.write(head + DATA[:2000] + b"\r\n0\r\n\r\n")

    for number in range(150):
        server.plans[PATH] = [says] * 6
        with slot.locked(ignore):
            if number % 2:
                slot.part.write_bytes(DATA[:100])
            try:
                download(client, slot, slot.place, Wanted(most=10_000))
            except EdgecapError as error:
                lines.append(str(error))
    assert len(lines) > 50
    assert not [line for line in lines if "\n" in line]
