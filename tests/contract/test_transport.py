"""What the errors of a transport promise: whether the request can have been sent."""

import asyncio
import socket
from typing import Literal

import httpx
import pytest

from tests.contract.conftest import PATIENCE, SILENCE, Build
from tests.contract.scripted import CUT, response, scripted
from worker.dintero.transport import MAX_BODY, ResponseTooLarge, Transport, build_transport

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


async def test_a_body_at_the_bound_is_given(transport: Transport) -> None:
    async with scripted(response(200, b" " * MAX_BODY)) as server:
        answer = await post(transport, server.url)
    assert len(await answer.aread()) == MAX_BODY


@pytest.mark.parametrize("name", ["pyreqwest", "httpx"])
async def test_closing_ends_idle_connections(name: Literal["pyreqwest", "httpx"]) -> None:
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
