"""Each trouble of a link does to a connection what it says, and no more."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.network import Link, Network, Trouble
from tests.support.waiting import until

_SOON = 0.3
"""Seconds after which what has not come over loopback has been lost."""


class Echo:
    """A server that sends back what it is sent, and keeps it."""

    def __init__(self) -> None:
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while chunk := connection.recv(1000):
                    self.received += chunk
                    connection.sendall(chunk)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    with Network() as network:
        yield network.link(echo.port, seed=1)


@pytest.fixture
def near(link: Link) -> Iterator[socket.socket]:
    """A connection over the link, in use already."""
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as near:
        assert answer(near, b"hello", 5) == b"hello"
        yield near


def answer(near: socket.socket, sent: bytes, timeout: float = _SOON) -> bytes | None:
    """What comes back; None when nothing does, and b"" when the connection is ended instead."""
    near.settimeout(timeout)
    try:
        near.sendall(sent)
        return near.recv(1000)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


def test_a_cut_link_resets_connections_and_takes_no_new_ones_until_it_is_healed(
    link: Link, near: socket.socket
) -> None:
    link.fail(Trouble.CUT, 1.0)
    until(lambda: answer(near, b"more") == b"", 5)
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as new:
        assert answer(new, b"more", 5) == b""
    link.heal()

    def works() -> bool:
        with socket.create_connection(("127.0.0.1", link.port), timeout=5) as new:
            return answer(new, b"more", 5) == b"more"

    until(works, 5)


def test_a_delayed_link_loses_nothing(link: Link, near: socket.socket) -> None:
    link.fail(Trouble.DELAY, 1.0)
    assert answer(near, b"late", 5) == b"late"
    link.heal()


def test_a_connection_that_is_open_at_one_end_is_never_answered_and_never_told(
    link: Link, near: socket.socket, echo: Echo
) -> None:
    link.fail(Trouble.HALF_OPEN, 1.0)
    until(lambda: answer(near, b"a") is None, 5)
    received = echo.received
    link.heal()
    assert answer(near, b"lost") is None
    assert echo.received == received


def test_an_answer_is_lost_though_the_question_arrived(link: Link, near: socket.socket, echo: Echo) -> None:
    link.fail(Trouble.ANSWERS_LOST, 1.0)
    until(lambda: answer(near, b"?") is None, 5)
    assert answer(near, b"do it") is None
    until(lambda: echo.received.endswith(b"do it"), 5)


def test_a_refused_token_is_a_401_of_a_link_that_serves_everything_else(link: Link, near: socket.socket) -> None:
    link.fail(Trouble.TOKENS_REFUSED, 1.0)
    assert answer(near, b"GET / HTTP/1.1", 5) == b"GET / HTTP/1.1"
    told = until(lambda: answer(near, b"POST /v1/accounts/P1/auth/token HTTP/1.1", 5), 5)
    assert told.startswith(b"HTTP/1.1 401 ")


def test_a_share_of_the_connections_is_spared(link: Link) -> None:
    ways = [socket.create_connection(("127.0.0.1", link.port), timeout=5) for _ in range(20)]
    try:
        assert all(answer(way, b"hello", 5) == b"hello" for way in ways)
        link.fail(Trouble.CUT, 0.5)
        until(lambda: any(answer(way, b"more") == b"" for way in ways), 5)
        alive = sum(answer(way, b"more", 5) == b"more" for way in ways)
        assert 0 < alive < len(ways)
    finally:
        for way in ways:
            way.close()
