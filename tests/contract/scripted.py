"""A server that says exactly the bytes it is told to, for what no proper server says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TOKEN = b'{"access_token":"token","expires_in":3600}'
CUT = b""
"""The script that reads the request and resets the connection."""


def response(status: int, body: bytes, *headers: str) -> bytes:
    # It closes, and says so: a client that had to find out could send its next request first.
    lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Scripted:
    """Gives tokens by itself, and `script` to everything else; None is silence. It counts what it was sent."""

    def __init__(self, script: bytes | None) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            await self._answer(head, reader, writer)
        writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/auth/token" in head:
            writer.write(response(200, TOKEN))
            return
        self.requests.append(head)
        if self.script is None:
            await reader.read()
        elif self.script == CUT:
            writer.transport.abort()
        else:
            writer.write(self.script)
            await writer.drain()


@asynccontextmanager
async def scripted(script: bytes | None) -> AsyncIterator[Scripted]:
    server = Scripted(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
