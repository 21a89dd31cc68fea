"""What the errors of a transport promise: whether the request can have been sent."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests.contract.conftest import PATIENCE, SILENCE, Build
from tests.contract.proxy import pipe
from tests.contract.scripted import CUT, response, scripted
from tests.contract.secure import Authority
from worker.dintero.http1 import MAX_BODY, ResponseTooLarge
from worker.dintero.pool import DoorClosedError
from worker.dintero.transport import Transport, build_transport

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)


async def post(transport: Transport, url: str) -> httpx.Response:
    return await transport.handle_async_request(
        httpx.Request(
            "POST",
            url + "/x?y=z",
            headers=httpx.Headers({"Idempotency-Key": "k"}),
            stream=httpx.ByteStream(b"{}"),
        )
    )


async def test_target_headers_and_body_arrive(transport: Transport) -> None:
    async with scripted(response(200, b"hello")) as server:
        answer = await post(transport, server.url)
    assert await answer.aread() == b"hello"
    assert server.requests[0].startswith(b"post /x?y=z http/1.1\r\n")
    host = server.url.removeprefix("http://").encode()
    for header in (b"content-length: 2", b"host: " + host, b"idempotency-key: k", b"accept: application/json"):
        assert server.requests[0].count(b"\r\n" + header + b"\r\n") == 1
    assert server.requests[0].count(b"\r\ndintero-system-name: terminal-operations-worker\r\n") == 1


async def test_of_an_answers_headers_those_we_read_are_kept(transport: Transport) -> None:
    headers = ("Retry-After: 7", "Date: Sun, 22 Nov 2026 12:00:00 GMT", "X-Large: " + 1_000 * "x")
    async with scripted(response(429, b"", *headers)) as server:
        answer = await post(transport, server.url)
    assert dict(answer.headers) == {"retry-after": "7", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}


async def test_a_refused_connection_was_not_sent(transport: Transport) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError):
            await post(transport, f"http://127.0.0.1:{deaf.getsockname()[1]}")


async def test_a_failed_tls_handshake_was_not_sent(transport: Transport) -> None:
    async def speak_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response(400, b""))
        writer.close()

    async with await asyncio.start_server(speak_no_tls, "127.0.0.1", 0) as server:
        with pytest.raises(httpx.ConnectError):
            await post(transport, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_a_connection_not_made_in_time_was_not_sent(build: Build) -> None:
    transport = build(request_timeout=30.0, connect_timeout=1.0)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(full.getsockname())
        with pytest.raises(httpx.ConnectTimeout):
            await post(transport, f"http://127.0.0.1:{full.getsockname()[1]}")
        for connection in waiting:
            connection.close()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (CUT, httpx.TransportError),
        (None, httpx.ReadTimeout),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", httpx.RemoteProtocolError),
        (response(200, b"half")[:-2], httpx.TransportError),
        (response(200, b" " * (MAX_BODY + 1)), ResponseTooLarge),
    ],
)
async def test_after_any_other_error_it_may_have_been(
    build: Build, script: bytes | None, error: type[Exception]
) -> None:
    transport = build(request_timeout=SILENCE if script is None else PATIENCE)
    async with scripted(script) as server:
        with pytest.raises(error) as raised:
            await post(transport, server.url)
    assert not isinstance(raised.value, NOT_SENT)
    assert len(server.requests) == 1


async def test_the_door_is_asked_when_the_connection_stands_and_behind_a_closed_one_nothing_is_sent(
    build: Build, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    transport, doors = build(ca_file=str(authority.ca_file)), [True]
    async with delayed(authority) as (url, reached, go_on, received), asyncio.timeout(PATIENCE):
        sending = asyncio.create_task(transport.send("POST", url + "/x", [], b"{}", lambda: doors[-1]))
        await reached.wait()
        doors.append(False)
        go_on.set()
        with pytest.raises(DoorClosedError):
            await sending
        await transport.aclose()
        assert await received == b""


@asynccontextmanager
async def delayed(
    authority: Authority,
) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event, asyncio.Future[bytes]]]:
    """A server whose TLS begins when it is told to: its address, when it is reached, the telling, what it was sent."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            received.set_result(await reader.read(1))
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go_on.wait()
        behind, before = await asyncio.open_connection("127.0.0.1", secured.sockets[0].getsockname()[1])
        await asyncio.gather(pipe(reader, before), pipe(behind, writer))

    async with (
        await asyncio.start_server(note, "127.0.0.1", 0, ssl=authority.context) as secured,
        await asyncio.start_server(pass_on, "127.0.0.1", 0) as front,
    ):
        yield f"https://127.0.0.1:{front.sockets[0].getsockname()[1]}", reached, go_on, received


async def test_a_body_at_the_bound_is_given(transport: Transport) -> None:
    async with scripted(response(200, b" " * MAX_BODY)) as server:
        answer = await post(transport, server.url)
    assert len(await answer.aread()) == MAX_BODY


@pytest.mark.parametrize("name", ["asyncio", "httpx"])
async def test_closing_ends_idle_connections(name: Literal["asyncio", "httpx"]) -> None:
    transport = build_transport(name, request_timeout=PATIENCE)
    ended = asyncio.Event()

    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 204 No\r\n\r\n")  # and it stays open
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(keep_alive, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
        await post(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert not ended.is_set()
        await transport.aclose()
        await ended.wait()
