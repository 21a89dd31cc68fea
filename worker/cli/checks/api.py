"""The API: a token for each account, and its clock. Nothing but tokens is asked for."""

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from worker.cli.checks.finding import Finding, Level
from worker.dintero.call import Credentials
from worker.dintero.client import Client
from worker.dintero.http1 import Received
from worker.dintero.pool import Door
from worker.dintero.route import Headers
from worker.dintero.tokens import TokenError, Tokens
from worker.dintero.transport import Transport, always, build_transport
from worker.settings import Settings
from worker.telemetry.tracing import Tracing

_AT_ONCE = 8
_SKEW_WARNED = 5.0
_SKEW_PROBLEM = 300.0


class _Noting(Transport):
    """Notes the last answer's status, and how far our clock is ahead of its date."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.status: int | None = None
        self.ahead: float | None = None

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        asked = time.time()
        received = await self._inner.send(method, url, headers, body, door)
        self.status = received.status
        date = _seconds(received.headers.get("date"))
        # The header has whole seconds, cut off.
        self.ahead = None if date is None else (asked + time.time()) / 2 - date - 0.5
        return received


class _Uncounted:
    """In the place of metrics: nobody reads those of a command."""

    def http(self, *_: object) -> None: ...


async def check_tokens(settings: Settings, credentials: Mapping[str, Credentials]) -> list[Finding]:
    try:
        transport = build_transport(
            settings.dintero_transport,
            request_timeout=settings.dintero_request_timeout,
            ca_file=settings.dintero_ssl_cafile,
        )
    except ValueError as error:
        return [Finding("api", Level.PROBLEM, str(error))]
    some = asyncio.Semaphore(_AT_ONCE)

    async def one(account: str, each: Credentials) -> tuple[Finding, float | None]:
        async with some:
            return await _token(settings, transport, account, each)

    try:
        told = await asyncio.gather(*(one(account, each) for account, each in credentials.items()))
    finally:
        await transport.aclose()
    findings = [finding for finding, _ in told]
    if settings.dintero_base_url.startswith("http:"):
        fix = "DINTERO_BASE_URL with https, except for a simulator"
        findings.append(Finding("api", Level.WARNING, "credentials cross the network as they are", fix))
    return [*findings, _check_clock([ahead for _, ahead in told if ahead is not None])]


async def _token(
    settings: Settings, transport: Transport, account: str, credentials: Credentials
) -> tuple[Finding, float | None]:
    noting = _Noting(transport)
    client = Client(
        settings.dintero_base_url,
        noting,
        settings.dintero_request_timeout,
        Tracing(),
        _Uncounted(),
        time.monotonic,
    )
    tokens = Tokens(account, lambda: credentials, client, time.monotonic, random.random)
    try:
        await tokens.get()
    except TokenError as error:
        return Finding("token", Level.PROBLEM, f"{account}: {error.cause}", _fix(noting.status)), noting.ahead
    finally:
        await tokens.aclose()
    return Finding("token", Level.OK, account), noting.ahead


def _fix(status: int | None) -> str:
    if status is None:
        return "check DINTERO_BASE_URL, DINTERO_SSL_CAFILE and HTTPS_PROXY, and that this machine may reach it"
    if status in (400, 401, 403, 404):
        return "check the account's ID, client ID and client secret"
    return "the API is in trouble, or DINTERO_BASE_URL is another service: try again later"


def _check_clock(ahead: list[float]) -> Finding:
    if not ahead:
        return Finding("clock", Level.SKIPPED, "no answer had a date")
    skew = min(ahead, key=abs)
    found = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the API's"
    fix = "set this machine's clock by NTP: expiry and the age of idempotency keys go by it"
    if abs(skew) > _SKEW_PROBLEM:
        return Finding("clock", Level.PROBLEM, found, fix)
    if abs(skew) > _SKEW_WARNED:
        return Finding("clock", Level.WARNING, found, fix)
    return Finding("clock", Level.OK, found)


def _seconds(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp() if date else None
    except ValueError:
        return None
