"""The page behind real proxies that compress: nginx below a path with a bare Host, and Caddy, each at another port."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from edgecap.captioner import Captioner
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.web.access import AccessPolicy
from edgecap.web.assets import FOLDER
from edgecap.web.page import LivePage
from support.live_parts import ignore
from support.ports import free_port
from support.web_parts import change, status, until

TOKEN = "correct-horse-battery"
NGINX = """
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    gzip on;
    gzip_proxied any;
    gzip_types text/css;
    gzip_min_length 1;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /sounds/ {{
            proxy_pass http://127.0.0.1:{page}/;
            proxy_set_header Host $host;
        }}
    }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
    storage file_system {folder}
}}
http://:{port} {{
    bind 127.0.0.1
    encode gzip
    handle_path /sounds/* {{
        reverse_proxy 127.0.0.1:{page}
    }}
}}
"""
PROXIES = {
    "nginx": (NGINX, ("-p", "{folder}", "-c", "{settings}")),
    "caddy": (CADDY, ("run", "--adapter", "caddyfile", "--config", "{settings}")),
}
"""Each with its configuration and its arguments."""


class Proxied:
    """What a browser gets through the proxy."""

    def __init__(self, port: int) -> None:
        self.host, self.cookie, self.port = f"box.example:{port}", "", port
        self._connections: list[http.client.HTTPConnection] = []

    def open(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Host": self.host, "Cookie": self.cookie, "Accept-Encoding": "gzip"}
        if method == "POST":
            headers |= {"Origin": f"http://{self.host}", "Content-Type": "application/octet-stream"}
        connection.request(method, path, body, headers)
        self._connections.append(connection)
        return connection.getresponse()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@pytest.fixture
def page(captioner: Captioner) -> Iterator[LivePage]:
    config = ListenConfig(web=WebConfig(address="0", token=TOKEN, hosts=["box.example"]))
    opened = LivePage(config, captioner, ignore)
    yield opened
    opened.close()


@pytest.fixture(params=PROXIES)
def proxied(page: LivePage, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Proxied]:
    program = shutil.which(request.param) or shutil.which(f"/usr/sbin/{request.param}")
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    settings, port, (text, arguments) = tmp_path / "settings", free_port(), PROXIES[request.param]
    settings.write_text(text.format(folder=tmp_path, port=port, page=page._server.port))
    process = subprocess.Popen(
        [program, *(argument.format(folder=tmp_path, settings=settings) for argument in arguments)],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens)
        visitor = Proxied(port)
        yield visitor
        visitor.close()
    finally:
        process.terminate()
        process.wait(20)


def test_the_page_works_below_a_path(proxied: Proxied) -> None:
    signed_in = proxied.open("GET", f"/sounds/?token={TOKEN}")
    assert signed_in.status == 303
    assert urljoin("http://box.example/sounds/?token=x", signed_in.headers["Location"]) == "http://box.example/sounds/"
    proxied.cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    assert proxied.open("GET", "/sounds/").status == 200
    for name in re.findall(r'(?:src|href)="([^"#]+)"', (FOLDER / "index.html").read_text(encoding="utf-8")):
        # without a journal there is no summary, and its link is hidden
        assert proxied.open("GET", urljoin("/sounds/", name)).status == (404 if name == "summary" else 200)
    about = proxied.open("GET", "/sounds/about")
    assert about.status == 200
    assert proxied.open("GET", "/sounds/style.css").headers["Content-Encoding"] == "gzip"  # this proxy does compress


def test_no_file_of_the_page_names_an_absolute_path() -> None:
    absolute = re.compile(r"""(?:href|src|action)="/|(?:fetch|EventSource|addModule|Worker)\(["'`]/|url\(["']?/""")
    files = [path for path in FOLDER.iterdir() if path.suffix in {".html", ".js", ".css"}]
    assert [path.name for path in files if absolute.search(path.read_text(encoding="utf-8"))] == []


def test_a_message_of_the_stream_is_neither_compressed_nor_held_back(proxied: Proxied, page: LivePage) -> None:
    proxied.cookie = page._server.access.cookie(page._server.port).partition(";")[0]
    stream = proxied.open("GET", "/sounds/events")
    assert "no-transform" in stream.headers["Cache-Control"]
    page.on_status(status())
    page.on_event(change("begin", 1, "a dog barks"))
    lines = [b""]
    while len(lines) < 60 and lines[-1] != b"event: change\n":
        lines.append(stream.readline())
    data = stream.readline()
    stream.close()
    assert json.loads(data.removeprefix(b"data: "))["text"] == "a dog barks"


def test_a_sound_comes_through_where_the_proxy_drops_the_port_of_its_name(
    proxied: Proxied, page: LivePage, sounds: Path
) -> None:
    proxied.cookie = page._server.access.cookie(page._server.port).partition(";")[0]
    answer = proxied.open("POST", "/sounds/caption", (sounds / "noise.wav").read_bytes())
    assert answer.status == 200


@pytest.mark.parametrize(
    ("configured", "origin", "own"),
    [
        ("sounds.example", "https://sounds.example", True),
        ("sounds.example", "https://sounds.example:8443", True),
        ("Sounds.example:8443", "https://sounds.example:8443", True),
        ("sounds.example:8443", "https://sounds.example:9", False),
        ("sounds.example:443", "https://sounds.example", True),
        ("192.168.1.7:8443", "https://192.168.1.7:8443", True),
        ("sounds.example", "https://evil.example", False),
        ("sounds.example", "https://sounds.example.evil.example", False),
    ],
)
def test_a_configured_name_counts_with_and_without_its_port(configured: str, origin: str, own: bool) -> None:
    policy = AccessPolicy("127.0.0.1", None, [configured])
    assert policy.knows(configured)
    assert policy.knows(configured.partition(":")[0])
    assert policy.is_own(origin, "127.0.0.1:8080") is own
