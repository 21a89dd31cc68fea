"""What stands between a client and a server on loopback: a relay that can fall silent, and a proxy."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Relay:
    """Passes bytes on to a port. What it had let through when it is frozen stays open, and silent."""

    def __init__(self, behind: int) -> None:
        self.connections = 0
        self.address = ""
        self._behind = behind
        self._frozen = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        self._frozen = self.connections

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def aclose(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pass_on(b"", reader, writer)

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers.append(before)
        before.write(head)
        number = self.connections
        await asyncio.gather(self._pipe(number, reader, before), self._pipe(number, behind, writer))

    async def _pipe(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if number > self._frozen:
                    writer.write(data)
        writer.close()


class Proxy(Relay):
    """Tunnels and plain HTTP alike end at one port, whatever name was asked for. With a refusal, none is given."""

    def __init__(self, behind: int, refusal: bytes | None) -> None:
        super().__init__(behind)
        self.heads: list[bytes] = []
        self._refusal = refusal

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self._refusal is not None:
            writer.write(self._refusal)
            writer.close()
        elif head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._pass_on(b"", reader, writer)
        else:
            await self._pass_on(head, reader, writer)


@asynccontextmanager
async def relayed(behind: int) -> AsyncIterator[Relay]:
    relay = Relay(behind)
    async with _listening(relay):
        yield relay


@asynccontextmanager
async def proxied(behind: int, *, refusal: bytes | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(behind, refusal)
    async with _listening(proxy):
        yield proxy


@asynccontextmanager
async def _listening(relay: Relay) -> AsyncIterator[None]:
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        server.close()
        await relay.aclose()
