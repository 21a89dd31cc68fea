"""The HTTP server, in the worker's own event loop: when the loop stands still, the liveness probe fails with it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Protocol

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from worker.http import page

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# Probes, a scrape and some people at once.
_MOST_CONNECTIONS = 256


class View(Protocol):
    """What is shown. Each method answers at once, from memory."""

    def ready(self) -> tuple[bool, str]:
        """Whether it has joined and restored its partitions, and why not."""

    def metrics(self) -> bytes:
        """Prometheus text."""

    def status(self) -> dict[str, Any]:
        """What the page shows, bounded and ready for JSON."""


class ListenError(OSError):
    """The address cannot be listened on. Choose another, or end what holds it."""


class _Uvicorn(uvicorn.Server):
    """Uvicorn as a guest: signals belong to the worker."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class _Connection(H11Protocol):
    """h11, since httptools takes in headers without end, and a pipeline of requests faster than it answers them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.made_at = time.monotonic()
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            # The oldest gives way: whoever holds connections and asks nothing uses up neither sockets nor probes.
            oldest = min(self.connections, key=attrgetter("made_at"))
            self.connections.discard(oldest)
            oldest.transport.abort()


class Server:
    """Serves a view on `host` and `port` (0: any free one). GET and HEAD only, nothing changes the worker."""

    def __init__(self, host: str, port: int, view: View) -> None:
        self._host = host
        self._port = port
        self._view = view
        self._uvicorn: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        return self._port

    async def start(self) -> None:
        """Returns when it listens; raises `ListenError` when it cannot."""
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            _application(self._view),
            http=_Connection,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
        )
        self._uvicorn = _Uvicorn(config)
        self._task = asyncio.create_task(self._uvicorn.serve([listener]), name="http-server")
        up = asyncio.create_task(self._uvicorn.up.wait(), name="http-server-up")
        try:
            await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                listener.close()
                self._task.result()
        finally:
            up.cancel()

    async def stop(self, timeout: float) -> None:
        """Answers what is being asked and closes, within `timeout` seconds. Harmless before `start` or twice."""
        server, task = self._uvicorn, self._task
        if server is None or task is None:
            return
        self._uvicorn = self._task = None
        server.should_exit = True
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=timeout)
        # Whoever sends half a request would otherwise hold its connection for as long as the process lives.
        for connection in list(server.server_state.connections):
            connection.transport.abort()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ListenError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from None


def _application(view: View) -> Starlette:
    def live(_: Request) -> Response:
        # That this is answered shows that the loop moves; brokers and the API are no reason to restart.
        return PlainTextResponse("live\n", headers=_HEADERS)

    def ready(_: Request) -> Response:
        good, reason = view.ready()
        return PlainTextResponse(reason + "\n", 200 if good else 503, _HEADERS)

    def metrics(_: Request) -> Response:
        return Response(view.metrics(), headers=_HEADERS, media_type="text/plain; version=0.0.4; charset=utf-8")

    def status(_: Request) -> Response:
        body = orjson.dumps(view.status(), default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)
        return Response(body, headers=_HEADERS, media_type="application/json")

    shown = page.load()
    page_headers = {**_HEADERS, "content-security-policy": shown.policy}

    def overview(_: Request) -> Response:
        return HTMLResponse(shown.body, headers=page_headers)

    application = Starlette(
        routes=[
            _route("/livez", live),
            _route("/readyz", ready),
            _route("/metrics", metrics),
            _route("/status", status),
            _route("/", overview),
        ]
    )
    application.router.redirect_slashes = False  # to the host that the request names, which can be anyone's
    return application


def _route(path: str, answer: Callable[[Request], Response]) -> Route:
    # A coroutine, since Starlette runs plain functions in threads: the view belongs to this loop.
    async def endpoint(request: Request) -> Response:
        return answer(request)

    return Route(path, endpoint, methods=["GET"])
