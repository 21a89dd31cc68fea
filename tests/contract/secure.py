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


async def _tell_version(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the version of HTTP it was asked by."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["http_version"].encode()})


@asynccontextmanager
async def offering_http2(authority: Authority) -> AsyncIterator[int]:
    """A server that takes HTTP/2 and HTTP/1.1 over TLS and answers which it was; gives its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.certfile = config.keyfile = str(authority.chain_file)
    config.errorlog = None
    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(cast(Any, _tell_version), config, shutdown_trigger=stopping.wait))
    try:
        yield port
    finally:
        stopping.set()
        await asyncio.wait([serving])
