"""TLS on loopback: an authority of the test's own, and a server that offers HTTP/2."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.contract.scripted import Scripted, response

HOST = "checkout.test"
"""A name that only a proxy can find. Certificates are for it and for loopback."""


class Authority:
    """Signs the certificates of this test's servers. `ca_file` holds its own, behind a stranger's."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.certificate = authority.issue_cert(HOST, "127.0.0.1")
        self.ca_file = folder / "authorities.pem"
        self.ca_file.write_bytes(trustme.CA().cert_pem.bytes() + authority.cert_pem.bytes())
        self.chain_file = folder / "chain.pem"
        self.certificate.private_key_and_cert_chain_pem.write_to_path(self.chain_file)

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        return context


@asynccontextmanager
async def secured(authority: Authority) -> AsyncIterator[int]:
    """A server that answers `secret` over TLS; gives its port."""
    server = Scripted(response(200, b"secret", "Connection: close"))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=authority.context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


@asynccontextmanager
async def offering_http2(authority: Authority, streams: int) -> AsyncIterator[tuple[int, asyncio.Semaphore]]:
    """A server that takes HTTP/1.1, and HTTP/2 with so many streams a connection, over TLS; gives its port.

    Where the path begins with `/hang` it answers only at its end. The semaphore is released for each of those.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.certfile = config.keyfile = str(authority.chain_file)
    config.errorlog = None
    config.h2_max_concurrent_streams = streams
    stopping, hanging = asyncio.Event(), asyncio.Semaphore(0)

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            if scope["path"].startswith("/hang"):
                hanging.release()
                await stopping.wait()
            # Else the connection stays, and the server's end waits half a minute for the client's.
            headers = [(b"connection", b"close")] if scope["http_version"] == "1.1" else []
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    serving = asyncio.create_task(serve(cast(Any, answer), config, shutdown_trigger=stopping.wait))
    try:
        yield port, hanging
    finally:
        stopping.set()
        await asyncio.wait([serving])
