"""One HTTP request to the API: what is sent, traced and counted. What the answer means is decided elsewhere."""

import asyncio
import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote

import httpx
import orjson

from worker import __version__
from worker.dintero.answers import read_exception
from worker.dintero.call import Credentials
from worker.domain.entry import Entry

if TYPE_CHECKING:
    from worker.telemetry.metrics import Metrics
    from worker.telemetry.tracing import Tracing

SYSTEM = "terminal-operations-worker"
OPERATIONS = "/v1/admin/terminals/operations"

# Trace context may come from a request: it must not be able to end its header and begin another.
_HEADER = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)


class Received(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


class Client:
    """Sends in the synchronous step in which it is awaited. Raises `httpx.HTTPError` when there is no whole answer."""

    def __init__(
        self,
        base_url: str,
        transport: httpx.AsyncBaseTransport,
        request_timeout: float,
        tracing: "Tracing",
        metrics: "Metrics",
        clock: Callable[[], float],
    ) -> None:
        self._url = httpx.URL(base_url)
        self._origin = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"
        self._prefix = self._url.path.rstrip("/")
        self._operations = self._prefix + OPERATIONS
        self._transport = transport
        # The transport knows more of what happened, and so is given the time to speak first.
        self._timeout = request_timeout + 1.0
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock
        self._headers = [
            (b"Host", self._url.netloc),
            (b"User-Agent", f"{SYSTEM}/{__version__}".encode()),
            (b"Accept", b"application/json"),
            (b"Dintero-System-Name", SYSTEM.encode()),
            (b"Dintero-System-Version", __version__.encode()),
            (b"Dintero-System-Plugin-Name", SYSTEM.encode()),
            (b"Dintero-System-Plugin-Version", __version__.encode()),
        ]

    async def create(self, entry: Entry, token: str, resent: int) -> Received:
        request = entry.request
        content: dict[str, object] = {"terminal_id": request.terminal_id, "operation": request.operation}
        if request.parameters is not None:
            content["parameters"] = request.parameters
        headers = [(b"Authorization", b"Bearer " + token.encode()), (b"Idempotency-Key", request.key.encode())]
        return await self._traced("POST", self._operations, headers, orjson.dumps(content), entry, entry.asked + resent)

    async def poll(self, entry: Entry, token: str, resent: int) -> Received:
        target = f"{self._operations}?operation_id={quote(entry.operation_id or '', safe='')}"
        return await self._traced("GET", target, [(b"Authorization", b"Bearer " + token.encode())], b"", entry, resent)

    async def token(self, account: str, credentials: Credentials) -> Received:
        pair = f"{credentials.client_id}:{credentials.client_secret.get_secret_value()}"
        audience = f"https://api.dintero.com/v1/accounts/{account}"
        headers = [(b"Authorization", b"Basic " + base64.b64encode(pair.encode()))]
        body = orjson.dumps({"grant_type": "client_credentials", "audience": audience})
        target = f"{self._prefix}/v1/accounts/{quote(account, safe='')}/auth/token"
        return await self._counted("POST", target, headers, body, lambda status, error: None)

    async def _traced(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes, entry: Entry, resent: int
    ) -> Received:
        request = entry.request
        url = self._origin + target
        attempt = self._tracing.attempt(method, url, request.traceparent, request.tracestate, resent)
        for name, value in ((b"traceparent", attempt.traceparent), (b"tracestate", attempt.tracestate)):
            if value is not None and _HEADER.fullmatch(value):
                headers.append((name, value.encode()))
        return await self._counted(method, target, headers, body, attempt.end)

    async def _counted(
        self,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        end: Callable[[int | None, str | None], None],
    ) -> Received:
        if method == "POST":
            headers += ((b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body)))
        started = self._clock()
        status: int | None = None
        error: str | None = "interrupted"
        try:
            received = await self._send(method, target, headers, body)
            status, error = received.status, None
            return received
        except httpx.HTTPError as reason:
            error = read_exception(reason).cause
            raise
        finally:
            self._metrics.http(method, status, error, self._clock() - started)
            end(status, error)

    async def _send(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Received:
        request = httpx.Request(
            method,
            self._url,
            headers=httpx.Headers(self._headers + headers),
            stream=httpx.ByteStream(body),
            extensions={"target": target.encode("ascii")},
        )
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._transport.handle_async_request(request)
        except TimeoutError:
            raise httpx.ReadTimeout("no whole answer in time", request=request) from None
        return Received(response.status_code, response.headers, b"".join(cast(httpx.ByteStream, response.stream)))
