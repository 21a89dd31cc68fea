"""HTTP transports: httpx's interface over connections of our own, or over httpx's as a fallback. Both promise the same.

Each request also carries `HEADERS`, `Host` and `Content-Length`. An answer comes whole, not compressed, and within
`MAX_BODY`; of its headers only those of `KEPT` do. Redirects are not followed. `httpx.ConnectError` and
`ConnectTimeout` mean that the request was certainly not sent, to a proxy neither. After every other error it may have
been.

Proxies are those of the environment, read once: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, or the same in
lower case. Certificates are always verified, against the system's authorities and those of a file of one's own.
Both speak HTTP/1.1 only, one connection for each call under way. HTTP/2 would have all calls share one, and those over
the server's bound of streams (often 100) wait for others to end: after the caller's last check, and for other accounts.
"""

import asyncio
import ssl
from abc import abstractmethod
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal, cast

import httpx

from worker import __version__
from worker.dintero.http1 import KEPT, MAX_BODY, Received, ResponseTooLarge
from worker.dintero.pool import Door, DoorClosedError, Pool
from worker.dintero.route import Headers, Proxies, Route

SYSTEM = "terminal-operations-worker"
HEADERS = {
    "User-Agent": f"{SYSTEM}/{__version__}",
    "Accept": "application/json",
    "Dintero-System-Name": SYSTEM,
    "Dintero-System-Version": __version__,
    "Dintero-System-Plugin-Name": SYSTEM,
    "Dintero-System-Plugin-Version": __version__,
}


def always() -> bool:
    """The door of what may be sent at any time."""
    return True


class Transport(httpx.AsyncBaseTransport):
    """httpx's interface; a request's body must be an `httpx.ByteStream`. Under it is `send`, all in plain values."""

    @abstractmethod
    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        """Asks `door` in the step in which it sends, on a connection that stands. Whoever sends gets its answer whole.

        Raises httpx's transport errors; DoorClosedError when nothing was sent because of the door.
        """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        body = b"".join(cast(httpx.ByteStream, request.stream))
        received = await self.send(request.method, str(request.url), headers, body)
        return httpx.Response(received.status, headers=received.headers, stream=httpx.ByteStream(received.body))


def build_transport(
    name: Literal["asyncio", "httpx"],
    *,
    request_timeout: float,
    connect_timeout: float = 5.0,
    ca_file: str | None = None,
) -> Transport:
    """A transport that gives up a request after `request_timeout` seconds, reading the answer included.

    The certificates in `ca_file` (PEM) are trusted beside the system's. It is read once; raises OSError. Raises
    ValueError for a proxy that it cannot use.
    """
    trusted = ssl.create_default_context()
    if ca_file is not None:
        trusted.load_verify_locations(ca_file)
    transport = PooledTransport if name == "asyncio" else StockTransport
    return transport(request_timeout, min(connect_timeout, request_timeout), trusted)


class PooledTransport(Transport):
    """Connections of our own, on the event loop: a fortieth of the stock transport's CPU."""

    def __init__(self, request_timeout: float, connect_timeout: float, trusted: ssl.SSLContext) -> None:
        trusted.set_alpn_protocols(["http/1.1"])
        self._request_timeout = request_timeout
        self._connect_timeout = connect_timeout
        self._trusted = trusted
        self._proxies = Proxies()
        self._pools: dict[str, Pool] = {}

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        deadline = asyncio.get_running_loop().time() + self._request_timeout
        origin, target = _split(url)
        pool = self._pools.get(origin)
        if pool is None:
            route = Route(origin, self._proxies, self._trusted, HEADERS)
            pool = self._pools[origin] = Pool(route, self._connect_timeout)
        return await pool.send(method, target, headers, body, door, deadline)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


def _split(url: str) -> tuple[str, str]:
    """The origin and the target that is asked of it."""
    at = url.find("/", len("https://"))
    return (url, "/") if at < 0 else (url[:at], url[at:])


class StockTransport(Transport):
    """httpx's own transport, with one deadline for the whole request."""

    def __init__(self, request_timeout: float, connect_timeout: float, trusted: ssl.SSLContext) -> None:
        # A client only for the environment's proxies: of answers it keeps nothing, and cookies would pile up.
        self._client = httpx.AsyncClient(
            verify=trusted,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # As many connections as calls, which their budgets bound: no account waits for those of another.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=connect_timeout),
        )
        self._request_timeout = request_timeout

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        async def trace(event: str, _: dict[str, Any]) -> None:
            if event == "http11.send_request_headers.started" and not door():
                raise DoorClosedError

        every = {**HEADERS, **dict(headers)}
        request = httpx.Request(method, url, headers=every, content=body, extensions={"trace": trace})
        try:
            async with asyncio.timeout(self._request_timeout):
                response = await self._client.send(request, stream=True)
                try:
                    content = await _read(cast(httpx.AsyncByteStream, response.stream))
                finally:
                    # Cancelled while it closes, it would hold its connection for ever.
                    await asyncio.shield(response.aclose())
        except TimeoutError:
            # Also while connecting: how far the request got is not known here.
            raise httpx.ReadTimeout("no whole answer in time") from None
        except httpx.ProxyError:
            raise httpx.ConnectError("the proxy gives no tunnel") from None
        kept = {name: value for name in KEPT if (value := response.headers.get(name)) is not None}
        return Received(response.status_code, kept, content)

    async def aclose(self) -> None:
        await self._client.aclose()


async def _read(stream: httpx.AsyncByteStream) -> bytes:
    received: list[bytes] = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > MAX_BODY:
            raise ResponseTooLarge(f"the answer is over {MAX_BODY} bytes")
        received.append(chunk)
    return b"".join(received)
