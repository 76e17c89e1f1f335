"""A request with a body: its time limit is that of the whole."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from edgecap.util.http.post import post


@contextmanager
def server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server of one visit that talks as it likes; the event is set when the visit must end."""
    listening, end = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        with suppress(OSError):
            visitor, _ = listening.accept()
            with visitor:
                talk(visitor, end)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        end.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def drip(text: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Sends `text` and then a byte again and again, so that no read waits for long."""

    def talk(visitor: socket.socket, end: threading.Event) -> None:
        visitor.recv(65536)
        visitor.sendall(text)
        with suppress(OSError):
            while not end.wait(0.02):
                visitor.sendall(b"x")

    return talk


def answer(text: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Answers a request, which is read to its end first: a reset connection would lose the answer."""

    def talk(visitor: socket.socket, end: threading.Event) -> None:
        request = b""
        while not request.endswith(b"{}"):
            request += visitor.recv(65536)
        visitor.sendall(text)
        end.wait(20.0)

    return talk


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_drips_its_head_is_given_up(text: bytes) -> None:
    with server(drip(text)) as url, pytest.raises(TimeoutError, match=r"no complete answer within 0\.3 s"):
        post(url, b"{}", {}, 0.3)


def test_a_body_that_never_ends_is_not_waited_for() -> None:
    with server(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")) as url:
        assert post(url, b"{}", {}, 20.0) == (200, "")


def test_a_handshake_that_never_ends_is_given_up() -> None:
    with server(drip(b"\x16\x03\x03\x40\x00")) as url, pytest.raises(TimeoutError):
        post(url.replace("http:", "https:"), b"{}", {}, 0.3)


def test_a_servers_words_are_cleaned_and_cut() -> None:
    words = b"\x1b[31mno\x07 " + b"x" * 1000
    with server(answer(b"HTTP/1.1 403 " + words + b"\r\n\r\n")) as url:
        status, reason = post(url, b"{}", {}, 20.0)
    assert (status, reason[:12], len(reason)) == (403, r"\x1b[31mno\x07 "[:12], 100)


def test_a_redirect_is_not_followed() -> None:
    with server(answer(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n")) as url:
        assert post(url, b"{}", {}, 20.0)[0] == 302
