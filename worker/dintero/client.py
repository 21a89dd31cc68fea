"""One HTTP request to the API: what is sent, traced and counted. What the answer means is decided elsewhere."""

import base64
import re
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

import httpx
import orjson

from worker.dintero.answers import read_exception
from worker.dintero.call import Credentials
from worker.dintero.http1 import Received
from worker.dintero.pool import Door, DoorClosedError
from worker.dintero.route import Headers
from worker.dintero.transport import Transport, always
from worker.domain.entry import Entry
from worker.telemetry.tracing import Span, Tracing

OPERATIONS = "/v1/admin/terminals/operations"

GRACE = 1.0
"""The transport knows more of what happened, and so is given the time to speak first."""

_JSON = ("Content-Type", "application/json")
# Trace context may come from a request: it must not be able to end its header and begin another.
_HEADER = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)


class CallMetrics(Protocol):
    def http(self, method: str, status: int | None, error: str | None, seconds: float) -> None:
        """One call, answered or not. Must not raise."""


class Client:
    """Sends if the call's door is open. Raises `httpx.HTTPError` when there is no whole answer, or DoorClosedError.

    How long that takes is the transport's to bound; the caller bounds the transport, by `patience` seconds.
    """

    def __init__(
        self,
        base_url: str,
        transport: Transport,
        request_timeout: float,
        tracing: Tracing,
        metrics: CallMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._operations = self._base_url + OPERATIONS
        self._transport = transport
        self.patience = request_timeout + GRACE
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock

    async def create(self, entry: Entry, token: str, resent: int, door: Door) -> Received:
        request = entry.request
        content: dict[str, object] = {"terminal_id": request.terminal_id, "operation": request.operation}
        if request.parameters is not None:
            content["parameters"] = orjson.Fragment(request.parameters)
        headers = [_bearer(token), ("Idempotency-Key", request.key), _JSON]
        span = self._attempt("POST", self._operations, headers, entry, resent)
        return await self._send("POST", self._operations, headers, orjson.dumps(content), span, door)

    async def poll(self, entry: Entry, token: str, resent: int, door: Door) -> Received:
        url = f"{self._operations}?operation_id={quote(entry.operation_id or '', safe='')}"
        headers = [_bearer(token)]
        return await self._send("GET", url, headers, b"", self._attempt("GET", url, headers, entry, resent), door)

    async def token(self, account: str, credentials: Credentials) -> Received:
        pair = f"{credentials.client_id}:{credentials.client_secret.get_secret_value()}"
        audience = f"https://api.dintero.com/v1/accounts/{account}"
        headers = [("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()), _JSON]
        body = orjson.dumps({"grant_type": "client_credentials", "audience": audience})
        url = f"{self._base_url}/v1/accounts/{quote(account, safe='')}/auth/token"
        # A trace of its own: it serves many requests.
        return await self._send("POST", url, headers, body, self._tracing.attempt("POST", url, None, None, 0), always)

    def _attempt(self, method: str, url: str, headers: Headers, entry: Entry, resent: int) -> Span:
        """The span of this call, its context put into the headers."""
        request = entry.request
        span = self._tracing.attempt(
            method, url, request.traceparent, request.tracestate, resent, restored=entry.restored
        )
        for name, value in (("traceparent", span.traceparent), ("tracestate", span.tracestate)):
            if value is not None and _HEADER.fullmatch(value):
                headers.append((name, value))
        return span

    async def _send(self, method: str, url: str, headers: Headers, body: bytes, span: Span, door: Door) -> Received:
        started = self._clock()
        status: int | None = None
        error: str | None = "interrupted"
        try:
            received = await self._transport.send(method, url, headers, body, door)
            status, error = received.status, None
            return received
        except httpx.HTTPError as reason:
            error = read_exception(reason).cause
            raise
        except DoorClosedError:
            error = "door_closed"
            raise
        finally:
            self._metrics.http(method, status, error, self._clock() - started)
            span.end(status, error)


def _bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"
