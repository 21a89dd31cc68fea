"""Connections of our own: which are used again, whose answer is whose, and what a server can do to them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpx
import pytest

from tests.contract.conftest import PATIENCE, SILENCE
from worker.dintero import pool
from worker.dintero.http1 import MAX_BODY, MAX_HEAD, Received, ResponseTooLarge
from worker.dintero.pool import DoorClosedError
from worker.dintero.transport import PooledTransport, Transport, build_transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = build_transport("asyncio", request_timeout=PATIENCE)
    yield transport
    await transport.aclose()


class Server:
    """Answers the requests of each connection by a function, in writes of its own, and counts the connections."""

    def __init__(self, answer: Callable[[int, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self.ended = 0
        self.url = ""
        self._answer = answer
        self._changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self._note()
                await self._answer(len(self.heads), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.ended += 1
            await self._note()

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until_asked(self, times: int) -> None:
        await self._until(lambda: len(self.heads) >= times)

    async def until_ended(self, connections: int) -> None:
        await self._until(lambda: self.ended >= connections)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)


@asynccontextmanager
async def serving(answer: Callable[[int, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Server]:
    server = Server(answer)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


def saying(*writes: bytes) -> Callable[[int, asyncio.StreamWriter], Awaitable[None]]:
    """The same answer to each request, in segments of its own."""

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        for write in writes:
            writer.write(write)
            await writer.drain()
            await asyncio.sleep(0.001 if len(writes) > 1 else 0)

    return answer


async def get(transport: Transport, server: Server) -> Received:
    return await transport.send("GET", server.url + "/x", [], b"")


async def _noticed(transport: Transport) -> None:
    """Until the client knows of the ends of its connections."""
    async with asyncio.timeout(PATIENCE):
        for _, known in cast(PooledTransport, transport)._origins.values():
            await known._emptied.wait()


async def test_a_connection_is_used_again_and_again(transport: Transport) -> None:
    async with serving(saying(OK)) as server:
        for _ in range(20):
            assert (await get(transport, server)).body == b"ok"
    assert (len(server.heads), server.connections) == (20, 1)


async def test_calls_at_once_have_a_connection_each_and_leave_them_to_later_ones(transport: Transport) -> None:
    async with serving(saying(OK)) as server:
        for _ in range(2):
            answers = await asyncio.gather(*(get(transport, server) for _ in range(8)))
            assert [answer.body for answer in answers] == [b"ok"] * 8
    assert (len(server.heads), server.connections) == (16, 8)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + OK,
        OK + b"HTTP/1.1 500",
        OK + b"garbage",
    ],
    ids=["close", "http/1.0", "two answers", "one and a half", "garbage behind it"],
)
async def test_after_an_answer_that_says_so_or_says_more_the_next_request_has_another_connection(
    transport: Transport, answer: bytes
) -> None:
    async with serving(saying(answer)) as server:
        for number in (1, 2, 3):
            assert (await get(transport, server)).body == b"ok"
            await server.until_ended(number)
    assert server.connections == 3


async def test_what_an_idle_connection_says_is_nobodys_answer(transport: Transport) -> None:
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        if number == 1:
            asyncio.get_running_loop().call_later(0.01, writer.write, stray)

    async with serving(answer) as server:
        assert (await get(transport, server)).body == b"ok"
        await server.until_ended(1)
        assert (await get(transport, server)).body == b"ok"
    assert server.connections == 2


async def test_a_connection_that_the_server_ended_is_not_used_again(transport: Transport) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with serving(answer) as server:
        for number in (1, 2, 3):
            assert (await get(transport, server)).body == b"ok"
            await server.until_ended(number)
            await _noticed(transport)
    assert server.connections == 3


async def test_a_connection_that_was_idle_for_long_is_ended_and_not_used(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(saying(OK)) as server:
        await asyncio.gather(*(get(transport, server) for _ in range(3)))
        monkeypatch.setattr(pool, "_IDLE", -1.0)
        await get(transport, server)
        await server.until_ended(3)
    assert server.connections == 4


@pytest.mark.parametrize(
    "writes",
    [
        [OK[:9], OK[9:30], OK[30:-1], OK[-1:]],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
        [b"\r\n" + OK],
    ],
    ids=["in pieces", "chunked", "after interim ones", "after an empty line"],
)
async def test_an_answer_is_read_however_it_comes(transport: Transport, writes: list[bytes]) -> None:
    async with serving(saying(*writes)) as server:
        for _ in range(2):
            answer = await get(transport, server)
            assert (answer.status, answer.body) == (200, b"ok")
    assert server.connections == 1


async def test_a_body_without_a_length_ends_with_its_connection(transport: Transport) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\no")
        await writer.drain()
        writer.write(b"k")
        writer.close()

    async with serving(answer) as server:
        assert (await get(transport, server)).body == b"ok"


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "chunks without an end", "an interim answer"],
)
async def test_an_answer_cut_short_is_no_answer(transport: Transport, beginning: bytes) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        await writer.drain()
        writer.close()

    async with serving(answer) as server:
        with pytest.raises(httpx.ReadError):
            await get(transport, server)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"\x16\x03\x01\x00\x05",
    ],
    ids=["101", "two framings", "two lengths", "a negative length", "no chunk", "no status", "TLS"],
)
async def test_what_is_no_answer_by_the_rules_is_an_error_and_ends_the_connection(
    transport: Transport, answer: bytes
) -> None:
    async with serving(saying(answer)) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await get(transport, server)
        await server.until_ended(1)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: " + 1_000 * b"x" + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Header: ", 1_000 * b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + 1_000 * b"x" + b"\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: " + 1_000 * b"x" + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", 1_000 * b"x"),
    ],
    ids=["headers", "one header", "interim answers", "chunk extensions", "trailers", "a body"],
)
async def test_an_answer_without_an_end_is_given_up_at_its_bound(
    transport: Transport, begin: bytes, more: bytes
) -> None:
    written = 0

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(begin)
        while True:
            writer.write(20 * more)
            written += 20 * len(more)
            await writer.drain()

    async with serving(answer) as server:
        with pytest.raises((ResponseTooLarge, httpx.RemoteProtocolError)):
            await get(transport, server)
        await server.until_ended(1)
    assert written < 10 * (MAX_BODY + MAX_HEAD)  # most of it lies in buffers between the two


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
async def test_a_call_that_is_given_up_takes_its_connection_along(how: str) -> None:
    async def silent(number: int, writer: asyncio.StreamWriter) -> None:
        if number > 1:
            writer.write(OK)

    transport = build_transport("asyncio", request_timeout=PATIENCE if how == "cancelled" else SILENCE)
    async with serving(silent) as server:
        call = asyncio.create_task(get(transport, server))
        await server.until_asked(1)
        if how == "cancelled":
            call.cancel()
        with pytest.raises((asyncio.CancelledError, httpx.ReadTimeout)):
            await call
        await server.until_ended(1)
        assert (await get(transport, server)).body == b"ok"
        await transport.aclose()
    assert server.connections == 2


async def test_closing_ends_calls_on_their_way(transport: Transport) -> None:
    async def silent(_: int, __: asyncio.StreamWriter) -> None: ...

    async with serving(silent) as server:
        call = asyncio.create_task(get(transport, server))
        await server.until_asked(1)
        await transport.aclose()
        with pytest.raises(httpx.ReadError):
            await call


async def test_behind_a_closed_door_nothing_is_written_and_the_connection_waits_for_the_next(
    transport: Transport,
) -> None:
    async with serving(saying(OK)) as server:
        with pytest.raises(DoorClosedError):
            await transport.send("POST", server.url, [], b"{}", lambda: False)
        await get(transport, server)
    assert [head.split()[0] for head in server.heads] == [b"GET"]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [("/x", "a\r\nX-Other: b"), ("/x", "a\nb"), ("/x", "\xe9"), ("/x y", "a"), ("/x\r\n", "a"), ("/\xe9", "a")],
)
async def test_what_would_end_a_header_or_the_target_is_not_sent(transport: Transport, path: str, value: str) -> None:
    async with serving(saying(OK)) as server:
        with pytest.raises(httpx.LocalProtocolError):
            await transport.send("GET", server.url + path, [("X-Header", value)], b"")
    assert server.connections == 0
