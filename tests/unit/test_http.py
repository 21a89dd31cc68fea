"""The HTTP face, asked over a real socket."""

import asyncio
import base64
import contextlib
import hashlib
import logging
import re
import signal
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from worker.http import ListenError, Server

HOSTILE = "<script>alert('x')</script>"
STATUS: dict[str, Any] = {
    "worker": {"version": "0.1.0", "uptime_s": 3725, "member": None},
    "partitions": [
        {"partition": 0, "state": "running", "position": 17, "lag": 0, "pending": 2, "oldest_pending_age_s": 4.25},
        {"partition": 1, "state": "halted", "error": HOSTILE, "surprise": {"a": [1]}},
    ],
    "accounts": {"P11223351": {"circuit": "open", "in_flight": 3, "limit": 64, "waiting": 0}},
}


class Shown:
    """A view whose answers a test can change."""

    def __init__(self) -> None:
        self.readiness = (False, "restoring partition 1")
        self.shown: dict[str, Any] = STATUS
        self.exposition = b"a_total 1.0\n"

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def metrics(self) -> bytes:
        return self.exposition

    def status(self) -> dict[str, Any]:
        return self.shown


@pytest.fixture
def view() -> Shown:
    return Shown()


@pytest.fixture
async def client(view: Shown) -> AsyncIterator[httpx.AsyncClient]:
    server = Server("127.0.0.1", 0, view)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
        yield client
    await server.stop(2)


async def test_a_worker_that_is_not_ready_says_why_and_is_live(client: httpx.AsyncClient, view: Shown) -> None:
    live, ready = await client.get("/livez"), await client.get("/readyz")
    assert (live.status_code, live.text) == (200, "live\n")
    assert (ready.status_code, ready.text) == (503, "restoring partition 1\n")
    view.readiness = (True, "joined")
    assert (await client.get("/readyz")).status_code == 200


async def test_metrics_come_as_prometheus_text(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.content == b"a_total 1.0\n"
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_the_status_is_json(client: httpx.AsyncClient) -> None:
    response = await client.get("/status")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == STATUS


async def test_the_page_is_whole_in_itself_and_nothing_but_its_own_style_and_script_runs(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "set-cookie" not in response.headers
    policy = dict(directive.split(" ", 1) for directive in response.headers["content-security-policy"].split("; "))
    page = response.text
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy.pop(directive) == f"'sha256-{digest}'"
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert re.findall(r"""src=|url\(|@import|\bstyle=|\bon\w+=|https?://(?!www\.w3\.org/2000/svg)""", page) == []


async def test_the_page_s_script_makes_no_markup_of_what_it_is_told(client: httpx.AsyncClient) -> None:
    page = (await client.get("/")).text
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|cookie", page) == []


async def test_the_page_holds_nothing_of_the_status(client: httpx.AsyncClient, view: Shown) -> None:
    before = (await client.get("/")).content
    view.shown = {"worker": {"host": HOSTILE}}
    assert (await client.get("/")).content == before


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/status", "/else"])
async def test_nothing_but_the_page_may_be_shown_as_one(client: httpx.AsyncClient, view: Shown, path: str) -> None:
    view.shown = {"worker": {"host": HOSTILE}}
    response = await client.get(path)
    assert "html" not in response.headers["content-type"]
    if path != "/else":
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", [HOSTILE, "x" * 1024, "\u202egnp.exe", 7, None])
async def test_a_hostile_name_leaves_the_status_readable(client: httpx.AsyncClient, view: Shown, name: Any) -> None:
    view.shown = {"oldest_lanes": [{"terminal_id": name}]}
    response = await client.get("/status")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == view.shown


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_changed(client: httpx.AsyncClient, method: str) -> None:
    for path in ("/", "/status", "/livez", "/metrics"):
        assert (await client.request(method, path)).status_code == 405


async def test_head_gives_the_headers_and_other_paths_are_not_found(client: httpx.AsyncClient) -> None:
    response = await client.head("/livez")
    assert (response.status_code, response.content) == (200, b"")
    assert (await client.get("/else")).status_code == 404


async def test_nobody_is_sent_to_a_host_that_a_request_names(client: httpx.AsyncClient) -> None:
    answer = await client.get("/livez/", headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


async def test_a_port_that_is_taken_is_a_clear_error(view: Shown) -> None:
    server = Server("127.0.0.1", 0, view)
    await server.start()
    try:
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1 port {server.port}"):
            await Server("127.0.0.1", server.port, view).start()
    finally:
        await server.stop(2)


async def test_signals_and_logging_stay_with_the_worker(view: Shown) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), logging.getLogger("uvicorn").handlers[:]
    server = Server("127.0.0.1", 0, view)
    await server.start()
    try:
        handlers = logging.getLogger("uvicorn").handlers
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), handlers) == before
    finally:
        await server.stop(2)


@pytest.mark.parametrize("request_", [b"GET /livez HTTP/1.1\r\nHost:", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_it_stops_in_time_whoever_holds_a_connection(view: Shown, request_: bytes) -> None:
    view.exposition = b"x" * 2**25  # far more than sockets buffer, and nobody reads it in time
    server = Server("127.0.0.1", 0, view)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(request_)
    await writer.drain()
    try:
        async with asyncio.timeout(30):
            await server.stop(0.5)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            assert "http-server" not in {task.get_name() for task in asyncio.all_tasks()}
            received = 0
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(2**20):
                    received += len(chunk)
            assert received < 2**25
    finally:
        writer.close()


async def test_whoever_holds_connections_and_asks_nothing_uses_up_neither_probes_nor_sockets(
    view: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.http.server._MOST_CONNECTIONS", 3)
    server = Server("127.0.0.1", 0, view)
    await server.start()
    async with contextlib.AsyncExitStack() as closing, asyncio.timeout(30):
        closing.push_async_callback(server.stop, 1)
        held = []
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            closing.callback(writer.close)
            held.append((reader, writer))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
                assert (await client.get("/livez")).status_code == 200
        assert await held[0][0].read() == b"", "the oldest gives way"
        reader, writer = held[-1]
        writer.write(b"GET /livez HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")


async def test_a_head_without_end_is_refused(client: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    try:
        async with asyncio.timeout(30):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 50_000)
            with contextlib.suppress(ConnectionError):
                assert (await reader.read()).startswith(b"HTTP/1.1 400")
    finally:
        writer.close()


async def test_a_pipeline_is_taken_in_no_faster_than_it_is_answered(client: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    asked = 2_000
    tracemalloc.start()
    try:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * asked)
        async with asyncio.timeout(30):
            for _ in range(asked):
                await reader.readuntil(b"\r\n\r\nlive\n")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
        writer.close()


async def test_stopping_is_harmless_before_the_start_and_twice(view: Shown) -> None:
    server = Server("127.0.0.1", 0, view)
    await server.stop(1)
    async with httpx.AsyncClient(timeout=30) as client:
        for _ in range(2):
            await server.start()
            url = f"http://127.0.0.1:{server.port}/livez"
            assert (await client.get(url)).status_code == 200
            await server.stop(1)
            await server.stop(1)
            with pytest.raises(httpx.ConnectError):
                await client.get(url)
