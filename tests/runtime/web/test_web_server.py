"""The page's server over real sockets: who may ask, what is refused, and that nobody holds up the listener."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.captioner import Captioner
from edgecap.errors import ConfigError, MissingDependencyError, OutputError
from edgecap.live.config.listen_config import ListenConfig, OutputConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.live.listener import FOLLOWED_POLL, IDLE_POLL, Listener
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.types import LogMel
from edgecap.util.http import http_server
from edgecap.util.http.request_budget import RequestBudget
from edgecap.util.limits import MOST_KEPT, MOST_PASSING, MOST_REQUESTS, REQUESTS_AT_ONCE
from edgecap.web import server as web_server
from edgecap.web import uploads
from edgecap.web.access import AccessPolicy, web_token
from edgecap.web.broadcast import Broadcast, Watcher
from edgecap.web.demo import Demo
from edgecap.web.events.history import History
from edgecap.web.page import LivePage
from edgecap.web.picture import HELD_SECONDS, SourcePicture
from edgecap.web.spectrum import HIGHEST_DB, LOWEST_DB, Spectrum
from support.live_parts import FedSource, Messages, ignore, notifier, says
from support.signals import RATE, noise
from support.web_parts import Visitor, change, status, until

TOKEN = "correct-horse-battery"
Serve = Callable[..., "tuple[LivePage, Visitor]"]


def config(journal: Path | None = None, **web: Any) -> ListenConfig:
    return ListenConfig(
        web=WebConfig(**{"address": "0", **web}), output=OutputConfig(journal=str(journal) if journal else None)
    )


@pytest.fixture
def messages() -> Messages:
    return []


@pytest.fixture
def serve(captioner: Captioner, messages: Messages) -> Iterator[Callable[..., tuple[LivePage, Visitor]]]:
    pages: list[LivePage] = []

    def serve(journal: Path | None = None, **web: Any) -> tuple[LivePage, Visitor]:
        page = LivePage(config(journal, **web), captioner, notifier(messages))
        pages.append(page)
        return page, Visitor(page._server.port)

    yield serve
    for page in pages:
        page.close()


class Follower:
    """A browser's stream of events, read as it comes."""

    def __init__(self, port: int, last: str = "", **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.connection.request("GET", "/events", headers=headers | ({"Last-Event-ID": last} if last else {}))
        self.answer = self.connection.getresponse()

    def next(self, kind: str = "") -> tuple[str, str, dict[str, Any]]:
        """Kind, identifier and data of the next message, of a kind where one is named."""
        fields: dict[str, str] = {}
        while True:
            received = self.answer.readline()
            assert received, "the stream ended"
            line = received.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields.get("event") and kind in {"", fields["event"]}:
                return fields["event"], fields.get("id", ""), json.loads(fields["data"])
            else:
                fields = {}

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def wav(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(seconds), RATE, format="WAV")
    return file.getvalue()


def test_a_proxy_is_told_neither_to_compress_the_stream_nor_to_hold_it_back(serve: Serve) -> None:
    _, ask = serve()
    follower = Follower(ask.port)
    assert "no-transform" in follower.answer.headers["Cache-Control"]
    assert follower.answer.headers["X-Accel-Buffering"] == "no"
    follower.close()


def test_the_page_comes_with_headers_that_keep_it_to_itself(serve: Serve) -> None:
    _, ask = serve()
    code, headers, body = ask("GET", "/")
    assert code == 200
    assert b'aria-live="polite"' in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert ask("GET", "/", If_None_Match=headers["etag"])[0] == 304


def test_a_frame_is_for_the_named_origins_alone(serve: Serve) -> None:
    origins = ["http://homeassistant.local:8123", "https://home.example"]
    _, ask = serve(frames=origins)
    headers = ask("GET", "/")[1]
    assert headers["content-security-policy"].endswith(f"; frame-ancestors {' '.join(origins)}")
    assert "x-frame-options" not in headers
    for wrong in ("*", "homeassistant.local", "https:", "https://*.example", "https://a b", "'self'; script-src *"):
        with pytest.raises(ConfigError, match=r"^web\.frames: .* is no origin, as http://"):
            WebConfig(frames=[wrong])


def test_a_trusted_proxy_needs_no_token_and_nobody_else_is_let_in_by_what_it_says(serve: Serve) -> None:
    page, ask = serve(address="127.0.0.1:0", token=TOKEN, ingress="127.0.0.2")
    through = {"Host": "home.example", "X-Forwarded-Host": "home.example", "Origin": "https://home.example"}

    def asked(peer: str, method: str, path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", ask.port, timeout=30, source_address=(peer, 0))
        connection.request(method, path, b"no sound" if method == "POST" else None, through | headers)
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    assert asked("127.0.0.2", "GET", "/") == 200
    assert asked("127.0.0.2", "GET", "/", Host="127.0.0.1:1") == 200
    assert asked("127.0.0.2", "POST", "/caption", Origin="https://evil.example") == 403
    assert asked("127.0.0.2", "POST", "/caption") not in {401, 403, 421}
    assert asked("127.0.0.1", "GET", "/") == 421  # a foreign name
    assert asked("127.0.0.1", "GET", "/", Host="127.0.0.1:1", X_Forwarded_For="127.0.0.2") == 401
    assert ask("GET", "/", Cookie=f"edgecap-{ask.port}={TOKEN}")[0] == 200
    assert ask("GET", "/")[1]["content-security-policy"].endswith("; frame-ancestors 'self'")
    assert page._server.access.trusts("::ffff:127.0.0.2")
    for wrong, fault in (("hassio", "is no IP address"), ("172.30.32.0/24", "no IP address"), ("::", "any machine")):
        with pytest.raises(ConfigError, match=rf"^web\.ingress: .*{fault}"):
            WebConfig(ingress=wrong)


def test_all_files_of_the_page_together_weigh_at_most_80_kb(serve: Serve) -> None:
    page, ask = serve()
    sizes = {path: len(ask("GET", path)[2]) for path in page._server.assets}
    assert {"/", "/main.js", "/style.css"} <= sizes.keys()
    assert sum(sizes.values()) <= 80_000


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "a@127.0.0.1", "127.0.0.1.evil.example"]
)
def test_a_foreign_name_that_points_here_gets_nothing(serve: Serve, host: str) -> None:
    _, ask = serve()
    for path in ("/", "/about", "/events", "/past", "/style.css"):
        assert ask("GET", path, Host=host)[0] == 421
    assert ask("POST", "/caption", wav(), Host=host, Origin=f"http://{host}")[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:80", "192.168.1.7", "box.example"])
def test_addresses_and_names_of_this_machine_are_known(serve: Serve, host: str) -> None:
    _, ask = serve(hosts=["Box.example"])
    assert ask("GET", "/about", Host=host)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../access.py",
        "/..%2faccess.py",
        "/static/../index.html",
        "//etc/passwd",
        "/a\\..",
        "/index.html",
        "/main.js/",
        "/%2e%2e/server.py",
    ],
)
def test_no_path_leads_out_of_the_page(serve: Serve, path: str) -> None:
    _, ask = serve()
    assert ask("GET", path)[0] == 404


def test_other_methods_are_refused(serve: Serve) -> None:
    _, ask = serve()
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert ask(method, "/caption")[0] == 501
    assert ask("POST", "/about", b"x")[0] == 404
    assert ask("GET", "/caption")[0] == 404


def test_a_page_for_other_machines_needs_its_token(serve: Serve, messages: Messages) -> None:
    page, ask = serve(address="0.0.0.0:0", token=TOKEN)
    assert page.url.endswith(f":{page._server.port}/?token={TOKEN}")
    assert page.url.partition("?")[0] in messages[0][1]
    assert TOKEN not in messages[0][1]  # it was set, so it need not stand in a log
    made, _ = serve(address="0.0.0.0:0")
    assert made.url in messages[1][1]
    for path in ("/about", "/events", "/past"):
        assert ask("GET", path)[0] == 401
    assert ask("POST", "/caption", wav())[0] == 401
    code, _, body = ask("GET", "/")
    assert code == 401
    assert b'name="token"' in body
    code, headers, _ = ask("GET", f"/?token={TOKEN}")
    assert (code, headers["location"]) == (303, "./")
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in headers["set-cookie"].split(";")}
    cookie = headers["set-cookie"].partition(";")[0]
    assert ask("GET", "/", Cookie=f"other=1; {cookie}")[0] == 200
    assert ask("GET", "/", Cookie=f'neighbour={{"a": 1}}; {cookie}')[0] == 200
    assert ask("GET", "/", Cookie=f"{cookie}x")[0] == 401
    assert ask("GET", "/about", Cookie=cookie)[0] == 200
    assert ask("GET", "/about", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask("GET", "/about", Cookie=cookie[:-1])[0] == 401


def test_a_wrong_token_is_refused_after_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ask = serve(address="0.0.0.0:0", token=TOKEN)
    waits: list[float] = []
    monkeypatch.setattr(web_server.Exchange, "_pause", lambda _, seconds: waits.append(seconds))
    assert ask("GET", "/?token=correct-horse")[0] == 401
    assert ask("GET", "/about", Authorization="Bearer wrong")[0] == 401
    assert waits == [web_server.WRONG_TOKEN_SECONDS] * 2


def test_a_token_is_made_only_where_other_machines_may_visit(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert web_token(WebConfig(), host, ignore) is None
        assert web_token(WebConfig(token=TOKEN), host, ignore) == TOKEN
    made = {web_token(WebConfig(), host, ignore) for host in ("0.0.0.0", "::", "192.168.1.7", "box") for _ in range(3)}
    assert None not in made
    assert len(made) == 12
    (tmp_path / "token").write_text(f"{TOKEN}\nmore\n")
    assert web_token(WebConfig(token_file=str(tmp_path / "token")), "127.0.0.1", ignore) == TOKEN
    (tmp_path / "short").write_text("abc\n")
    (tmp_path / "words").write_text("correct horse battery; staple\n")  # no cookie can carry this
    for name in ("short", "words", "missing"):
        with pytest.raises(ConfigError, match=f"token.*{name}"):
            web_token(WebConfig(token_file=str(tmp_path / name)), "127.0.0.1", ignore)


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o606, True), (0o640, False), (0o600, False)])
def test_a_token_file_that_all_users_may_read_is_reported(
    serve: Serve, tmp_path: Path, messages: Messages, mode: int, warned: bool
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(mode)
    serve(token_file=str(token))
    said = f"the token file {token} is open to all users of this machine; type: chmod o= {token}"
    assert (("warning", said) in messages) is warned


def test_only_the_token_fits() -> None:
    policy = AccessPolicy("0.0.0.0", TOKEN)
    assert policy.fits(TOKEN)
    assert not any(policy.fits(wrong) for wrong in ("é", "", TOKEN[:-1], TOKEN + "x", TOKEN.upper()))


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1", "file://", "http://127.0.0.1.evil.example"]
)
def test_a_sound_from_another_site_is_refused(serve: Serve, origin: str | None) -> None:
    _, ask = serve()
    assert ask("POST", "/caption", wav(), Origin=origin)[0] == 403


def test_a_sound_is_captioned_with_its_beams(serve: Serve, captioner: Captioner) -> None:
    _, ask = serve()
    code, headers, body = ask("POST", "/caption?name=a%0a%3Cb%3E.wav", wav(12.0))
    assert (code, headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in body.splitlines()]
    expected = list(captioner.caption_windows(soundfile.read(io.BytesIO(wav(12.0)), dtype="float32")[0], RATE))
    assert [(line["start"], line["end"], line["text"]) for line in lines] == [
        (caption.start, caption.end, caption.text) for caption in expected
    ]
    assert len(lines[0]["beams"]) == captioner.manifest.decoder.default_beam
    assert lines[0]["beams"][0]["score"] == pytest.approx(expected[0].score, abs=1e-5)
    assert lines[0]["name"] == "a<b>.wav"


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_sounds_are_taken_as_they_are(serve: Serve, kind: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.stack([noise(2, 44_100)] * 2, axis=1), 44_100, format=kind)
    code, _, body = serve()[1]("POST", "/caption", file.getvalue())
    assert code == 200
    assert json.loads(body)["end"] == pytest.approx(2.0, abs=0.1)


def test_a_sound_leaves_nothing_on_disk(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert serve()[1]("POST", "/caption", wav())[0] == 200
    assert list(tmp_path.iterdir()) == []
    with uploads.hold() as held:
        assert Path(f"/proc/self/fd/{held.fileno()}").resolve() != tmp_path


def test_what_is_no_sound_is_told_in_one_line_by_the_name_it_was_given(serve: Serve) -> None:
    _, ask = serve()
    for body in (b"this is no sound", wav()[:30], b""):
        code, _, answer = ask("POST", "/caption?name=notes.txt", body)
        assert code == 422
        assert json.loads(answer)["error"].startswith("notes.txt ")
        assert "/proc" not in answer.decode()


def test_a_machine_that_cannot_read_sounds_says_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ask = serve()

    def missing(*_: object, **__: object) -> None:
        raise MissingDependencyError("reading sound files needs libsndfile")

    monkeypatch.setattr(uploads, "AudioFile", missing)
    code, _, answer = ask("POST", "/caption", wav())
    assert (code, json.loads(answer)) == (500, {"error": "reading sound files needs libsndfile"})


def test_a_damaged_sound_gives_the_captions_before_the_damage(serve: Serve) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(25), RATE, format="FLAC")
    damaged = file.getvalue()[: len(file.getvalue()) * 3 // 4]
    code, _, body = serve()[1]("POST", "/caption?name=walk.flac", damaged)
    lines = [json.loads(line) for line in body.splitlines()]
    assert code == 200
    assert "text" in lines[0]
    assert lines[-1]["error"].startswith("walk.flac is ")


def test_uploads_are_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ask = serve()
    assert ask("POST", "/caption", wav(), Content_Type="text/plain")[0] == 415
    monkeypatch.setattr(uploads, "MOST_UPLOAD", 10_000)
    code, _, answer = ask("POST", "/caption", b"0" * 10_001)
    assert code == 413
    assert "type: edgecap caption FILE" in json.loads(answer)["error"]
    monkeypatch.setattr(uploads, "MOST_UPLOAD", 64 << 20)
    monkeypatch.setattr(uploads, "MOST_WINDOWS", 2)
    lines = [json.loads(line) for line in ask("POST", "/caption", wav(25))[2].splitlines()]
    assert [set(line) & {"text", "note"} for line in lines] == [{"text"}, {"text"}, {"note"}]


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"\0\xff\xfe\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /about HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /past?" + b"a=1&" * 40 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /past?words=%ff%00&before=" + b"9" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b'GET /about HTTP/1.1\r\nHost: localhost\r\nCookie: =;;\xff="\r\n\r\n',
        b"POST /caption HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Type: audio/x\r\n"
        b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    ],
)
def test_nonsense_is_refused_and_is_no_news(serve: Serve, messages: Messages, request_: bytes) -> None:
    _, ask = serve()
    with socket.create_connection(("127.0.0.1", ask.port), timeout=20) as plain:
        plain.sendall(request_)
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(65_536):
            pass
    assert ask("GET", "/about")[0] == 200
    assert [kind for kind, _ in messages] == ["note"]  # the address, and nothing else


def test_an_endless_last_event_is_no_event(serve: Serve) -> None:
    page, ask = serve()
    follower = Follower(ask.port, f"{page._start}-" + "9" * 5000)
    assert follower.next("hello")[2]["anew"] is True
    follower.close()


def test_a_fault_of_a_route_is_told_and_survived(serve: Serve, messages: Messages) -> None:
    page, ask = serve()
    page._server.routes["GET", "/about"] = lambda exchange: print(1 / 0)  # noqa: T201
    with pytest.raises(http.client.BadStatusLine):
        ask("GET", "/about")
    until(lambda: messages[-1] == ("warning", "a request to the page failed: ZeroDivisionError: division by zero"))
    assert ask("GET", "/past")[0] == 200


def test_all_browsers_are_told_the_same(serve: Serve) -> None:
    page, ask = serve()
    followers = [Follower(ask.port) for _ in range(4)]
    for follower in followers:
        follower.next("hello")
    page.on_event(change("begin", 1, "rain falls"))
    assert {follower.next("change")[1] for follower in followers} == {f"{page._start}-1"}
    for follower in followers:
        follower.close()


def test_a_sound_without_a_length_or_that_does_not_come_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, ask = serve()
    head = (
        f"POST /caption HTTP/1.1\r\nHost: {ask.host}\r\nOrigin: {ask.origin}\r\nContent-Type: audio/wav\r\n"
    ).encode()
    monkeypatch.setattr(web_server.Exchange, "timeout", 1.0)  # of which the last one waits
    for more, code in (
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"Content-Length: -5\r\n\r\n", b"411"),
        (b"Content-Length: 500\r\n\r\nRIFF", b"408"),
    ):
        with socket.create_connection(("127.0.0.1", page._server.port), timeout=20) as plain:
            plain.sendall(head + more)
            assert plain.recv(1000).split()[1] == code


def test_sounds_wait_for_their_turn_and_not_forever(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    page, ask = serve()
    monkeypatch.setattr(uploads, "TURN_SECONDS", 0.05)
    route = page._server.routes["POST", "/caption"]
    assert isinstance(route, uploads.Uploads)
    with route._turn:
        code, headers, _ = ask("POST", "/caption", wav())
    assert (code, "retry-after" in headers) == (503, True)
    assert ask("POST", "/caption", wav())[0] == 200


def test_a_browser_is_told_of_events_and_of_what_went_before(serve: Serve) -> None:
    page, ask = serve()
    page.on_event(change("begin", 1, "rain falls"))
    page.on_status(status())
    follower = Follower(ask.port)
    kind, _, hello = follower.next()
    assert (kind, hello["anew"]) == ("hello", True)
    assert [event["text"] for event in hello["events"]] == ["rain falls"]
    assert hello["status"][0]["source"] == "the test"
    page.on_event(change("end", 1, "rain falls"))
    page.on_event(change("begin", 2, "a dog barks\nid: 9"))
    assert follower.next("change")[2]["open"] is False
    assert follower.next("change")[2]["text"] == "a dog barks\nid: 9"
    follower.close()


def test_a_browser_that_comes_back_gets_just_what_it_missed(serve: Serve) -> None:
    page, ask = serve()
    first = Follower(ask.port)
    _, last, _ = first.next("hello")
    page.on_event(change("begin", 1, "rain falls"))
    _, last, _ = first.next("change")
    first.close()
    page.on_event(change("end", 1, "rain falls"))
    page.on_event(change("begin", 2, "a dog barks"))
    again = Follower(ask.port, last)
    _, newest, hello = again.next("hello")
    assert hello["anew"] is False
    assert [(event["id"], event["open"]) for event in hello["events"]] == [(1, False), (2, True)]
    again.close()
    nothing = Follower(ask.port, newest)
    assert nothing.next("hello")[2]["events"] == []
    nothing.close()


def test_a_browser_that_was_away_for_longer_than_events_are_held_begins_anew(serve: Serve) -> None:
    page, ask = serve()
    page._history = History(most=2)
    for number in range(1, 5):
        page.on_event(change("end", number, f"event {number}"))
    for last, anew, events in ((1, True, [3, 4]), (2, False, [3, 4]), (3, False, [4])):
        follower = Follower(ask.port, f"{page._start}-{last}")
        hello = follower.next("hello")[2]
        assert (hello["anew"], [event["id"] for event in hello["events"]]) == (anew, events)
        follower.close()


def test_a_browser_that_saw_an_earlier_run_begins_anew(serve: Serve) -> None:
    page, ask = serve()
    page.on_event(change("begin", 1, "rain falls"))
    follower = Follower(ask.port, "0badcafe-1")  # of another run
    assert follower.next("hello")[2]["anew"] is True
    follower.close()


def test_events_are_dated_anew_when_the_clock_is_set(serve: Serve) -> None:
    page, ask = serve()
    page.on_event(change("begin", 1, "rain falls", began=1000.0))
    follower = Follower(ask.port)
    follower.next("hello")
    page.on_clock_set(1_700_000_000.0)
    hello = follower.next("hello")[2]
    assert hello["anew"] is True
    assert hello["events"][0]["began"].startswith("2023")
    follower.close()


def test_the_sound_is_told_at_most_thirty_times_a_second_to_who_watches(
    captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    page = LivePage(config(), captioner, ignore, clock=lambda: now[0])
    frames = np.full((1, 64), -20.0, np.float32)
    try:
        assert not page.followed
        follower = Follower(page._server.port)
        follower.next("hello")
        assert until(lambda: page.followed)
        (watcher,) = page.broadcast.watchers
        sent: list[bytes] = []
        monkeypatch.setattr(watcher, "put", lambda message, keep: sent.append(message))
        for step in range(1000):  # ten seconds of frames, a step for each
            now[0] = step * 0.01
            page.on_frames("the test", frames)
            page.on_status(status(heard=now[0]))
        sounds = [message for message in sent if message.startswith(b"event: sound")]
        assert 240 <= len(sounds) <= 303
        assert sum(message.startswith(b"event: status") for message in sent) == 10
        follower.close()
    finally:
        page.close()


def test_a_listener_brings_each_frame_once_and_steps_more_often_while_it_is_followed(captioner: Captioner) -> None:
    source, sound, followed = FedSource(), noise(6), False
    frames: list[LogMel] = []
    with CaptionWorker() as worker:
        listener = Listener(
            captioner, source, ListenerSettings(window=4.0), ignore, worker, describe=says(), followed=lambda: followed
        )
        for tenth in range(60):
            followed = 20 <= tenth < 40
            source.feed(sound[tenth * RATE // 10 : (tenth + 1) * RATE // 10])
            step = listener.step()
            if step.frames is None:
                assert not followed  # several blocks are transformed at once where nobody looks at them
            else:
                frames.append(step.frames)
            assert listener.patience <= (FOLLOWED_POLL if followed else IDLE_POLL)
        listener.close()
    brought = np.concatenate(frames)  # a frame is complete when its last sample has come
    assert np.allclose(brought[199:399], log_mel(sound, FrontEnd()).T[199:399], atol=0.01)


def test_columns_are_the_frames_already_computed_as_coarse_bytes() -> None:
    spectrum = Spectrum(FrontEnd())
    rising = np.linspace(LOWEST_DB - 10, HIGHEST_DB + 10, 64, dtype=np.float32)
    for _ in range(5):
        spectrum.push(rising[None])
    column = np.frombuffer(spectrum.take(), np.uint8)
    assert column.size == 64  # three frames of five
    assert (column[0], column[-1]) == (0, 255)
    assert np.all(np.diff(column.astype(int)) >= 0)
    spectrum.push(rising[None])
    assert len(spectrum.take()) == 64  # the two that were left, and one more
    for _ in range(5000):
        spectrum.push(rising[None])
    assert len(spectrum.take()) == 250 * 64
    natural = Spectrum(FrontEnd(compression="log", power=1))
    natural.push(np.zeros((3, 64), np.float32))  # a magnitude of 1: 0 dB
    decibel = Spectrum(FrontEnd())
    decibel.push(np.zeros((3, 64), np.float32))
    assert natural.take() == decibel.take()


def test_a_source_holds_its_last_half_minute_and_what_was_lost_is_a_gap() -> None:
    picture, seconds, bands = SourcePicture(FrontEnd()), 0.0, 64

    def play(tenths: int) -> None:
        nonlocal seconds
        for _ in range(tenths):
            seconds += 0.12
            picture.spectrum.push(np.full((12, bands), 40.0, np.float32))
            picture.take(status(heard=seconds, level=-42.4))

    play(500)  # a minute
    held = picture.held("the test")
    columns, levels = (b64decode(str(held[name])) for name in ("columns", "levels"))
    assert len(columns) == len(levels) * bands == round(HELD_SECONDS / 0.03) * bands
    assert (set(columns), set(levels)) == ({255}, {42})
    assert held["at"] == pytest.approx(seconds, abs=0.03)
    seconds += 3.0  # of which nothing came
    play(10)
    levels = b64decode(str(picture.held("the test")["levels"]))
    assert levels == bytes([42] * (len(levels) - 140) + [255] * 100 + [42] * 40)


def test_a_browser_that_comes_gets_at_most_a_hundred_kilobytes_a_source(captioner: Captioner) -> None:
    now = [0.0]
    page = LivePage(config(), captioner, ignore, clock=lambda: now[0])
    for step in range(400):
        now[0] = (step + 1) * 0.12
        page.on_frames("the test", np.zeros((12, 64), np.float32))
        page.on_status(status(heard=now[0]))
    follower = Follower(page._server.port)
    (sound,) = follower.next("hello")[2]["sounds"]
    assert 60_000 < len(json.dumps(sound)) < 100_000
    follower.close()
    page.close()


def test_a_slow_browser_loses_sound_and_no_event() -> None:
    watcher = Watcher(b"hello ")
    for number in range(100):
        watcher.put(b"s%d " % number, keep=False)
    for number in range(MOST_KEPT - 10):
        watcher.put(b"e%d " % number, keep=True)
    walk = iter(watcher)
    parts = next(walk).split()
    assert sum(part.startswith(b"e") for part in parts) == MOST_KEPT - 10
    assert parts[-1] == b"s99"
    assert watcher.dropped == 100 - MOST_PASSING


def test_a_browser_for_which_even_events_pile_up_is_sent_away_to_come_back() -> None:
    watcher = Watcher(b"hello")
    for _ in range(MOST_KEPT + 1):
        watcher.put(b"e", keep=True)
    assert list(watcher)


def test_publishing_never_waits_for_browsers_that_do_not_read(serve: Serve) -> None:
    page, ask = serve()
    plain = [socket.create_connection(("127.0.0.1", ask.port)) for _ in range(3)]
    for one in plain:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(f"GET /events HTTP/1.1\r\nHost: {ask.host}\r\n\r\n".encode())
    until(lambda: len(page.broadcast.watchers) == 3)
    for step in range(2000):
        page._picture("the test").sound_due = float("-inf")
        page.on_frames("the test", np.zeros((30, 64), np.float32))
        page.on_status(status(heard=step))
    assert all(watcher.dropped for watcher in page.broadcast.watchers)
    for number in range(3000):
        page.on_event(change("begin", number, "rain " * 200))
    assert all(len(watcher._kept) <= MOST_KEPT + 1 for watcher in page.broadcast.watchers)
    follower = Follower(ask.port)  # and one that reads is served
    assert follower.next("hello")[2]["events"]
    follower.close()
    for one in plain:
        one.close()


def connected(count: int, port: int, sent: bytes, stack: ExitStack) -> None:
    """So many visitors of one address that send something and no more."""
    for _ in range(count):
        opened = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
        visitor = stack.enter_context(opened)
        with suppress(OSError):  # the server may have cut it already
            visitor.sendall(sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /ab",
        b"GET /about HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: Bearer wrong-horse\r\n\r\n",
        b"GET /?token=wrong-horse HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n",
    ],
    ids=["idle", "slow", "guessing", "guessing on the page"],
)
def test_two_hundred_strangers_keep_no_holder_of_the_token_out(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(web_server, "WRONG_TOKEN_SECONDS", 60.0)
    page, ask = serve(address="0.0.0.0:0", token=TOKEN)
    token = f"Bearer {TOKEN}"
    follower = Follower(ask.port, Authorization=token)
    follower.next("hello")
    with ExitStack() as stack:
        connected(200, ask.port, sent, stack)
        assert ask("GET", "/about", Authorization=token)[0] == 200
        connected(MOST_REQUESTS, ask.port, sent, stack)
        assert ask("GET", "/past", Authorization=token)[0] == 200
        page.on_event(change("begin", 1, "rain falls"))
        assert follower.next("change")[2]["text"] == "rain falls"  # who was admitted keeps its place
    follower.close()


def test_many_visitors_of_one_address_push_out_each_other_and_not_another(serve: Serve) -> None:
    _, ask = serve(address="0.0.0.0:0", token=TOKEN)
    with socket.create_connection(("127.0.0.1", ask.port), timeout=20) as early, ExitStack() as stack:
        early.sendall(b"GET /about HTTP/1.1\r\n")  # the oldest of all
        connected(3 * MOST_REQUESTS, ask.port, b"GET /ab", stack)
        early.sendall(f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert early.recv(100).startswith(b"HTTP/1.0 200")


def test_a_flood_is_closed_unanswered_and_another_address_is_served(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "RequestBudget", lambda: RequestBudget(lambda: 0.0))  # all of it at once
    _, ask = serve()
    answered = 0
    for _ in range(REQUESTS_AT_ONCE + 400):
        with (
            suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", ask.port), 20, source_address=("127.0.0.2", 0)) as visitor,
        ):
            visitor.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answered += visitor.recv(5) == b"HTTP/"
    assert answered == REQUESTS_AT_ONCE
    assert ask("GET", "/past")[0] == 200


def test_a_request_that_drips_is_cut_off_and_a_stream_is_not(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "STRANGER_SECONDS", 1.0)
    page, ask = serve()
    follower = Follower(ask.port)
    follower.next("hello")
    with socket.create_connection(("127.0.0.1", ask.port), timeout=0.05) as visitor:

        def cut() -> bool:
            try:
                visitor.sendall(b"x")
                return visitor.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        until(cut)
    page.on_event(change("begin", 1, "rain falls"))
    assert follower.next("change")[2]["text"] == "rain falls"
    follower.close()


def test_another_site_cannot_hold_places_by_asking_for_what_it_may_not_read(serve: Serve) -> None:
    _, ask = serve()
    for path in ("/events", "/past", "/about"):
        assert ask("GET", path, Sec_Fetch_Site="cross-site")[0] == 403
        assert ask("GET", path, Sec_Fetch_Site="none")[0] == 200 if path != "/events" else True
    assert ask("GET", "/", Sec_Fetch_Site="cross-site")[0] == 200  # a link to the page


def test_places_are_bounded_for_those_who_are_admitted_too(serve: Serve) -> None:
    page, ask = serve()
    held = threading.Event()
    arrived: list[None] = []

    def wait(exchange: web_server.Exchange) -> None:
        arrived.append(None)
        held.wait(20)
        exchange.reply_json({})

    page._server.routes["GET", "/wait"] = wait

    def turned_away(path: str = "/about") -> bool:
        try:
            return bool(ask("GET", path)[0] != 200)
        except (ConnectionError, http.client.BadStatusLine):
            return True

    waiting = [threading.Thread(target=turned_away, args=("/wait",)) for _ in range(MOST_REQUESTS)]
    for thread in waiting:
        thread.start()

    until(lambda: len(arrived) == MOST_REQUESTS)  # before that a visitor of ours could take the place of one of them
    assert turned_away()
    held.set()
    for thread in waiting:
        thread.join()
    until(lambda: not turned_away())


def test_watchers_are_bounded_and_leave_their_place() -> None:
    broadcast = Broadcast(most=2)
    first, second = (broadcast.join(lambda: b"hello") for _ in range(2))
    assert broadcast.join(lambda: b"hello") is None
    assert first
    assert second
    broadcast.leave(first)
    assert broadcast.join(lambda: b"hello") is not None


def test_the_end_is_told_and_frees_the_port(captioner: Captioner) -> None:
    page = LivePage(config(), captioner, ignore)
    port = page._server.port
    follower = Follower(port)
    follower.next("hello")
    page.close()
    assert follower.next("bye")
    assert follower.answer.read() == b""
    follower.close()
    again = LivePage(config(address=str(port)), captioner, ignore)
    again.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "edgecap page"]


def test_a_busy_or_foreign_port_is_one_clear_line(captioner: Captioner) -> None:
    with Demo(WebConfig(address="0"), captioner, ignore) as demo:
        taken = WebConfig(address=str(demo._server.port))
        with pytest.raises(OutputError, match=r"cannot be served at 127.0.0.1:\d+ .*choose another port"):
            LivePage(ListenConfig(web=taken), captioner, ignore)
        with pytest.raises(OutputError, match=r"cannot be served at 127.0.0.1:\d+ .*choose another port"):
            Demo(taken, captioner, ignore)
    with pytest.raises(OutputError, match="an address of this machine"):
        Demo(WebConfig(address="192.0.2.1:0", token=TOKEN), captioner, ignore)
    with pytest.raises(ConfigError, match="use PORT or HOST:PORT"):
        Demo(WebConfig(address="here"), captioner, ignore)


def test_the_demo_captions_and_has_no_events(captioner: Captioner) -> None:
    with Demo(WebConfig(address="0"), captioner, ignore, beam=2) as demo:
        ask = Visitor(demo._server.port)
        assert json.loads(ask("GET", "/about")[2])["live"] is False
        assert ask("GET", "/events")[0] == 404
        assert len(json.loads(ask("POST", "/caption", wav())[2])["beams"]) == 2
