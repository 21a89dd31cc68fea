"""Connections of our own: which are used again, whose answer is whose, and what a server can do to them."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpx
import pytest

from tests.contract.conftest import PATIENCE, SILENCE
from worker.dintero import pool
from worker.dintero.http1 import MAX_BODY, MAX_HEAD, MAX_PARTS, HttpConnection, Received, ResponseTooLarge
from worker.dintero.pool import DoorClosedError
from worker.dintero.route import Route
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
        for known in cast(PooledTransport, transport)._pools.values():
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
        b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nno" + OK,
        b"\x16\x03\x01\x00\x05",
    ],
    ids=["101", "two framings", "two lengths", "a negative length", "no chunk", "no status", "under 100", "TLS"],
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


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, Callable[[], Awaitable[socket.socket]]]]:
    """An address, and what accepts the next connection there and reads the beginning of its request."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.setblocking(False)

        async def accept() -> socket.socket:
            connection = opened.enter_context((await loop.sock_accept(server))[0])
            await loop.sock_recv(connection, 4096)
            return connection

        async with asyncio.timeout(PATIENCE):
            yield f"http://127.0.0.1:{server.getsockname()[1]}", accept


@pytest.mark.parametrize(
    "unread", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray", b""], ids=["an answer", "its end"]
)
async def test_a_connection_with_something_unread_on_it_is_not_used(transport: Transport, unread: bytes) -> None:
    async with listening() as (url, accept):
        for _ in range(2):
            asking = asyncio.create_task(transport.send("GET", url, [], b""))
            connection = await accept()
            connection.sendall(OK)
            assert (await asking).body == b"ok"
            # In the step that asks again: the loop has no turn to read it.
            connection.sendall(unread)
            connection.shutdown(socket.SHUT_WR)


async def test_an_answer_that_comes_before_the_request_is_sent_is_given_and_the_connection_not_used_again(
    transport: Transport,
) -> None:
    async with listening() as (url, accept):
        for _ in range(2):
            asking = asyncio.create_task(transport.send("POST", url, [], bytes(20_000_000)))
            (await accept()).sendall(OK)
            assert (await asking).body == b"ok"


async def test_a_connection_that_ended_as_it_was_made_was_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    transport, connect = build_transport("asyncio", request_timeout=PATIENCE), Route.connect

    async def ended(route: Route, lost: Callable[[HttpConnection], None], timeout: float) -> HttpConnection:
        gone = asyncio.Event()

        def ends(connection: HttpConnection) -> None:
            lost(connection)
            gone.set()

        connection = await connect(route, ends, timeout)
        connection.abort()
        await gone.wait()
        return connection

    async with serving(saying(OK)) as server, asyncio.timeout(PATIENCE / 2):
        monkeypatch.setattr(Route, "connect", ended)
        with pytest.raises(httpx.ConnectError):
            await get(transport, server)
        await transport.aclose()


async def test_a_connection_that_is_made_while_all_are_closed_ends_too(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, made, closed = Route.connect, asyncio.Event(), asyncio.Event()

    async def slow(route: Route, lost: Callable[[HttpConnection], None], timeout: float) -> HttpConnection:
        connection = await connect(route, lost, timeout)
        made.set()
        await closed.wait()
        return connection

    async with serving(saying(OK)) as server:
        monkeypatch.setattr(Route, "connect", slow)
        call = asyncio.create_task(get(transport, server))
        await made.wait()
        await transport.aclose()
        closed.set()
        with pytest.raises(httpx.ConnectError):
            await call
        await server.until_ended(1)
    assert server.heads == []


async def test_connections_that_are_needed_no_more_end_one_with_each_call(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(saying(OK)) as server, asyncio.timeout(PATIENCE):
        await asyncio.gather(*(get(transport, server) for _ in range(4)))
        monkeypatch.setattr(pool, "_IDLE", 0.1)
        while server.ended < 3:
            assert (await get(transport, server)).body == b"ok"


async def test_a_connection_that_waits_keeps_nothing_of_its_last_answer(transport: Transport) -> None:
    async with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_BODY + bytes(MAX_BODY))) as server:
        await get(transport, server)
        [known] = cast(PooledTransport, transport)._pools.values()
        [connection] = known._idle
        assert connection._body == []


@pytest.mark.parametrize("end", ["silence", "cut", "garbage", "no TLS"])
async def test_a_call_that_fails_leaves_nothing_to_the_garbage_collector(end: str) -> None:
    """The worker's looks at what is old very seldom."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write({"cut": OK[:-1], "garbage": b"garbage"}.get(end, b""))
        if end == "silence":
            await reader.read()
        writer.close()

    transport = build_transport("asyncio", request_timeout=0.1 if end == "silence" else PATIENCE)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
        scheme, port = "https" if end == "no TLS" else "http", server.sockets[0].getsockname()[1]
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(httpx.TransportError):
                await transport.send("GET", f"{scheme}://127.0.0.1:{port}/x", [], b"")
            for _ in range(1_000):
                left = sum(isinstance(kept, HttpConnection) for kept in gc.get_objects())
                if not left:
                    break
                await asyncio.sleep(0.01)
            assert left == 0
        finally:
            gc.enable()


@pytest.mark.parametrize("host", ["a..b", ".example", 70 * "a"])
async def test_a_name_that_is_none_was_sent_nothing(transport: Transport, host: str) -> None:
    with pytest.raises(httpx.ConnectError):
        await transport.send("GET", f"http://{host}/x", [], b"")


@pytest.mark.parametrize(
    ("begin", "part", "end"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"a:\r\n", b"Content-Length: 0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b"0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a:\r\n", b"\r\n"),
    ],
    ids=["headers", "chunks", "trailers"],
)
async def test_an_answer_of_many_small_parts_is_given_up_since_each_takes_time(
    transport: Transport, begin: bytes, part: bytes, end: bytes
) -> None:
    async with serving(saying(begin + (MAX_PARTS // 2) * part + end)) as server:
        assert (await get(transport, server)).status == 200
    async with serving(saying(begin + (MAX_PARTS + 1) * part + end)) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await get(transport, server)
