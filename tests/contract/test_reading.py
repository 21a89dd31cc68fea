"""Answers as bytes on one connection, made up at random: however they are cut, and whatever else comes."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.conftest import PATIENCE
from worker.dintero.http1 import HttpConnection, Received

End = Received | type[httpx.TransportError]


class Answer(NamedTuple):
    """What a server says, and how it is to be taken."""

    said: bytes
    read: Received
    ends: bool


class Wire(asyncio.Transport):
    """What is written to it goes nowhere."""

    aborted = False

    def write(self, data: object) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


class Client:
    """One connection; its server ends it after what it says, unless it is to be used again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wire = Wire()
        self.connection = HttpConnection(lambda _: None)
        self.connection.connection_made(self._wire)

    def hear(self, segments: Iterable[bytes]) -> End:
        return self._loop.run_until_complete(self._hear(segments))

    async def _hear(self, segments: Iterable[bytes]) -> End:
        asking = asyncio.create_task(self.connection.exchange(b"", self._loop.time() + PATIENCE))
        await asyncio.sleep(0)
        for segment in segments:
            if not self._wire.aborted:
                self.connection.data_received(segment)
        await asyncio.sleep(0)
        if not asking.done():
            self.connection.eof_received()
            self.connection.connection_lost(None)
        try:
            return await asking
        except httpx.TransportError as error:
            return type(error)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    interim = draw(st.lists(st.sampled_from([b"100 Continue\r\n\r\n", b"103 Hints\r\nDate: 1\r\n\r\n"]), max_size=2))
    status, body = draw(st.sampled_from([200, 201, 404, 503, 999])), draw(st.binary(max_size=30))
    kept = draw(st.dictionaries(st.sampled_from(["retry-after", "date"]), st.sampled_from(["", "7", "a b"])))
    framing = draw(st.sampled_from(["length", "chunks", "end", "none"]))
    headers = [f"{name.title()}: {value}\r\n".encode() for name, value in kept.items()]
    headers += draw(st.lists(st.sampled_from([b"X:\r\n", b"Vary: a, b\r\n", b"X-Y:\t\xe9 \r\n"]), max_size=2))
    if framing == "length":
        headers.append(b"Content-Length: %d\r\n" % len(body))
        content = body
    elif framing == "chunks":
        headers.append(b"Transfer-Encoding: chunked\r\n")
        size = draw(st.integers(1, 9))
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        trailer = draw(st.sampled_from([b"", b"X:\r\n", b"X: y\r\nZ: 1\r\n"]))
        content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"
    elif framing == "end":
        content = body
    else:
        status, body, content = 204, b"", b""
    head = b"".join(b"HTTP/1.1 " + said for said in [*interim, b"%d\r\n" % status]) + b"".join(headers) + b"\r\n"
    return Answer(head + content, Received(status, kept, body), framing == "end")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
cuts = st.lists(st.integers(0, 300), max_size=8) | st.just(range(300))


def split(said: bytes, at: Sequence[int]) -> list[bytes]:
    return [said[begin:end] for begin, end in pairwise([0, *sorted(at), len(said)]) if said[begin:end]]


@given(first=answers(), second=answers(), at=cuts)
@settings(deadline=None, max_examples=60)
def test_however_an_answer_is_cut_it_is_read_alike_and_leaves_nothing_to_the_next(
    loop: asyncio.AbstractEventLoop, first: Answer, second: Answer, at: list[int]
) -> None:
    client = Client(loop)
    assert client.hear(split(first.said, at)) == first.read
    assert client.connection.reusable is not first.ends
    if not first.ends:
        assert client.hear(split(second.said, at)) == second.read


@given(answer=answers(), length=st.integers(0, 300), at=cuts)
@settings(deadline=None, max_examples=40)
def test_part_of_an_answer_is_none_unless_its_end_is_that_of_its_connection(
    loop: asyncio.AbstractEventLoop, answer: Answer, length: int, at: list[int]
) -> None:
    client, part = Client(loop), answer.said[:length]
    read = client.hear(split(part, at))
    if part != answer.said:
        assert read is httpx.ReadError or answer.ends
        assert not client.connection.reusable


def test_a_connection_that_its_server_ends_is_not_used_again_in_the_steps_until_it_is_lost(
    loop: asyncio.AbstractEventLoop,
) -> None:
    client = Client(loop)
    assert client.hear([OK]) == Received(200, {}, b"ok")
    assert client.connection.reusable
    client.connection.eof_received()
    assert not client.connection.reusable


@given(answer=answers(), more=st.binary(min_size=1, max_size=20), at=cuts)
@settings(deadline=None, max_examples=40)
def test_what_comes_behind_an_answer_ends_the_connection_and_changes_nothing(
    loop: asyncio.AbstractEventLoop, answer: Answer, more: bytes, at: list[int]
) -> None:
    client = Client(loop)
    if not answer.ends and more.strip(b"\r\n"):
        assert client.hear(split(answer.said + more, at)) == answer.read
        assert not client.connection.reusable


@given(answer=answers(), place=st.integers(0, 300), put=st.binary(max_size=4), over=st.integers(0, 4), at=cuts)
@settings(deadline=None, max_examples=100)
def test_whatever_bytes_come_there_is_an_answer_or_an_error_of_httpx_and_only_answers_keep_a_connection(
    loop: asyncio.AbstractEventLoop, answer: Answer, place: int, put: bytes, over: int, at: list[int]
) -> None:
    client = Client(loop)
    read = client.hear(split(answer.said[:place] + put + answer.said[place + over :], at))
    assert isinstance(read, Received) or not client.connection.reusable
    assert not isinstance(read, Received) or 200 <= read.status <= 999
