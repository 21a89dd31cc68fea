"""HTTP transports: httpx's interface over pyreqwest, and the stock one as a fallback. Both give the same promises.

httpx's requests and responses cost 40 us a call to build and to take apart: the hot path does without them, by `send`.

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
from collections.abc import Mapping
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Literal, NamedTuple, cast

import httpx
from pyreqwest import exceptions
from pyreqwest.client import ClientBuilder
from pyreqwest.response import Response

from worker import __version__

MAX_BODY = 1024 * 1024
SYSTEM = "terminal-operations-worker"
HEADERS = {
    "User-Agent": f"{SYSTEM}/{__version__}",
    "Accept": "application/json",
    "Dintero-System-Name": SYSTEM,
    "Dintero-System-Version": __version__,
    "Dintero-System-Plugin-Name": SYSTEM,
    "Dintero-System-Plugin-Version": __version__,
}
KEPT = ("retry-after", "date")


class ResponseTooLarge(httpx.ReadError):
    """The answer's body is over `MAX_BODY` bytes. The request was sent."""


class Received(NamedTuple):
    """An answer. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(httpx.AsyncBaseTransport):
    """httpx's interface; a request's body must be an `httpx.ByteStream`. Under it is `send`, all in plain values."""

    @abstractmethod
    async def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> Received:
        """Sends in the synchronous step in which it is awaited. Raises httpx's transport errors."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        body = b"".join(cast(httpx.ByteStream, request.stream))
        received = await self.send(request.method, str(request.url), headers, body)
        return httpx.Response(received.status, headers=received.headers, stream=httpx.ByteStream(received.body))


def build_transport(
    name: Literal["pyreqwest", "httpx"],
    *,
    request_timeout: float,
    connect_timeout: float = 5.0,
    ca_file: str | None = None,
) -> Transport:
    """A transport that gives up a request after `request_timeout` seconds, reading the answer included.

    The certificates in `ca_file` (PEM) are trusted beside the system's. It is read once; raises OSError.
    """
    connect_timeout = min(connect_timeout, request_timeout)
    transport = PyreqwestTransport if name == "pyreqwest" else StockTransport
    return transport(request_timeout, connect_timeout, ca_file)


class StockTransport(Transport):
    """httpx's own transport, with one deadline for the whole request."""

    def __init__(self, request_timeout: float, connect_timeout: float, ca_file: str | None) -> None:
        trusted = ssl.create_default_context()
        for authority in _authorities(ca_file):
            trusted.load_verify_locations(cadata=authority)
        # A client only for the environment's proxies: of answers it keeps nothing, and cookies would pile up.
        self._client = httpx.AsyncClient(
            verify=trusted,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # As many connections as calls, which their budgets bound: no account waits for those of another.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=connect_timeout),
        )
        self._request_timeout = request_timeout

    async def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> Received:
        request = httpx.Request(method, url, headers={**HEADERS, **dict(headers)}, content=body)
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


class PyreqwestTransport(Transport):
    """pyreqwest called directly: about a tenth of the stock transport's CPU per request."""

    def __init__(self, request_timeout: float, connect_timeout: float, ca_file: str | None) -> None:
        builder = (
            ClientBuilder()
            .follow_redirects(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .timeout(timedelta(seconds=request_timeout))
            .connect_timeout(timedelta(seconds=connect_timeout))
            .http1_only()
            .default_headers(HEADERS)
        )
        for authority in _authorities(ca_file):
            builder = builder.add_root_certificate_der(authority)
        self._client = builder.build()

    async def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> Received:
        # Nothing before the send may suspend: the caller's last check and the send are one synchronous step.
        streamed = self._client.request(method, url).headers(headers).body_bytes(body).build_streamed()
        try:
            response = await streamed.__aenter__()
            try:
                # One call reads to the end, or past the bound; each further call would cost a switch of threads.
                content = bytes(await response.body_reader.read(MAX_BODY + 1) or b"")
            finally:
                await streamed.__aexit__(None, None, None)
        except exceptions.PyreqwestError as error:
            raise _translate(error) from None
        if len(content) > MAX_BODY:
            raise _too_large()
        return Received(response.status, _kept(response), content)

    async def aclose(self) -> None:
        await self._client.close()
        # That ended only what was under way: idle connections end with the client itself.
        del self._client


def _authorities(ca_file: str | None) -> list[bytes]:
    """The certificates of a PEM file, each as DER: pyreqwest would take only the first."""
    if ca_file is None:
        return []
    loaded = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loaded.load_verify_locations(ca_file)
    return loaded.get_ca_certs(binary_form=True)


async def _read(stream: httpx.AsyncByteStream) -> bytes:
    received: list[bytes] = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()
        received.append(chunk)
    return b"".join(received)


def _too_large() -> ResponseTooLarge:
    return ResponseTooLarge(f"the answer is over {MAX_BODY} bytes")


def _kept(response: Response) -> dict[str, str]:
    kept = {}
    for name in KEPT:
        try:
            value = response.get_header(name)
        except ValueError:
            continue  # outside ASCII, which neither of them has
        if value is not None:
            kept[name] = value
    return kept


def _translate(error: exceptions.PyreqwestError) -> httpx.TransportError:
    """The httpx error that says whether the request can have been sent.

    pyreqwest's ConnectError and ConnectTimeoutError do not: it raises them too when the connection is lost, or the
    time is up, after the request went out. Only its HTTP library's own cause, second in the list, tells. The text is
    compared whole, and another text means "may have been sent": a change of it costs certainty, never an operation.
    """
    causes = (error.details["causes"] or []) if isinstance(error, exceptions.DetailedPyreqwestError) else []
    connecting = len(causes) > 1 and causes[1]["message"] == "client error (Connect)"
    if isinstance(error, exceptions.RequestTimeoutError):
        if connecting:
            return httpx.ConnectTimeout("not connected in time")
        return httpx.ReadTimeout("no whole answer in time")
    if connecting:
        return httpx.ConnectError("cannot connect")
    if isinstance(error, exceptions.NetworkError):
        return httpx.ReadError("connection lost")
    return httpx.RemoteProtocolError("the answer cannot be read")
