"""The way to a server: the environment's proxies, TLS, and connections that stand."""

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from urllib.request import getproxies_environment, proxy_bypass

import httpx
from aiohappyeyeballs import start_connection

from worker.dintero.http1 import MAX_HEAD, HttpConnection

# A connection that died silently is found within a minute, not when a request is lost on it.
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}
# Seconds until the next address of a name is tried beside the last (RFC 8305).
_NEXT_ADDRESS = 0.25
_PROXIED = {"http", "https", "all"}
_AGREED = re.compile(rb"HTTP/1\.[01] 2[0-9][0-9][ \r]")

Headers = list[tuple[str, str]]


class Proxies:
    """Those that the environment names, `http://user:password@host:port`, read once. Raises ValueError for others."""

    def __init__(self) -> None:
        named = getproxies_environment()
        self._urls = {scheme: _proxy_url(scheme, named[scheme]) for scheme in _PROXIED & named.keys()}

    def of(self, url: httpx.URL) -> httpx.URL | None:
        """That of requests to a host, unless `NO_PROXY` names it, or what it is within, or is `*`."""
        return None if proxy_bypass(url.host) else self._urls.get(url.scheme) or self._urls.get("all")


def _proxy_url(scheme: str, named: str) -> httpx.URL:
    try:
        url = httpx.URL(named if "://" in named else f"http://{named}")
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme != "http" or not url.host:  # not told as it is: it may hold a password
        raise ValueError(f"{scheme.upper()}_PROXY must be http://host:port; DINTERO_TRANSPORT=httpx takes others too")
    return url


class Route:
    """Opens connections to one origin (a scheme, host and port), and writes the heads of requests to it."""

    def __init__(self, origin: str, proxies: Proxies, trusted: ssl.SSLContext, headers: Mapping[str, str]) -> None:
        url = httpx.URL(origin)
        secure = url.scheme == "https"
        self._host, self._port = url.raw_host.decode(), url.port or (443 if secure else 80)
        self._tls = trusted if secure else None
        self._proxy = proxies.of(url)
        # By a tunnel the server is asked as if there were no proxy; of plain HTTP the proxy is told all.
        passed_on = self._proxy is not None and not secure
        every = {"Host": url.netloc.decode(), **headers, **(_authorization(self._proxy) if passed_on else {})}
        self._target_prefix = origin if passed_on else ""
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in every.items())

    def head(self, method: str, target: str, headers: Headers, length: int) -> bytes:
        """What a request begins with, up to its body. Raises `httpx.LocalProtocolError` where it would be no head."""
        said = "".join([target, *(value for _, value in headers)])
        if not (said.isascii() and said.isprintable()) or " " in target:
            raise httpx.LocalProtocolError("a target or a header that HTTP cannot carry")
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        first = f"{method} {self._target_prefix}{target} HTTP/1.1\r\n"
        return f"{first}{self._headers}{lines}Content-Length: {length}\r\n\r\n".encode()

    async def connect(self, lost: Callable[[HttpConnection], None], timeout: float) -> HttpConnection:
        """A connection that stands, its TLS too. Raises `httpx.ConnectError` or `ConnectTimeout`."""
        try:
            async with asyncio.timeout(timeout):
                connected = await self._reach()
                try:
                    if self._proxy is not None and self._tls is not None:
                        await self._tunnel(connected, self._proxy)
                except BaseException:
                    connected.close()
                    raise
                # From here on the socket is the event loop's, which closes it whatever happens.
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: HttpConnection(lost),
                    sock=connected,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
                return connection
        except TimeoutError:
            raise httpx.ConnectTimeout("not connected in time") from None
        except (OSError, RuntimeError, ValueError) as error:  # uvloop's of a closed socket; a name that is none
            # Without its traceback, whose frames refer to it: a circle.
            raise httpx.ConnectError("cannot connect") from error.with_traceback(None)

    async def _reach(self) -> socket.socket:
        host, port = (self._proxy.host, self._proxy.port or 80) if self._proxy else (self._host, self._port)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return connected

    async def _tunnel(self, connected: socket.socket, proxy: httpx.URL) -> None:
        loop, host = asyncio.get_running_loop(), f"[{self._host}]" if ":" in self._host else self._host
        asked = {"Host": f"{host}:{self._port}", **_authorization(proxy)}
        lines = [f"CONNECT {host}:{self._port} HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items())]
        await loop.sock_sendall(connected, "\r\n".join([*lines, "\r\n"]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            received = await loop.sock_recv(connected, 4096)
            head += received
            if not received or len(head) > MAX_HEAD:
                raise ConnectionError("the proxy gives no tunnel")
        # In a tunnel it is the client who speaks first.
        if not (_AGREED.match(head) and head.endswith(b"\r\n\r\n")):
            raise ConnectionError("the proxy gives no tunnel")


def _authorization(proxy: httpx.URL | None) -> dict[str, str]:
    if proxy is None or not proxy.userinfo:
        return {}
    pair = f"{proxy.username}:{proxy.password}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
