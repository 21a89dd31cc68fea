"""Links between the workers and what they talk to: TCP that passes through here, and fails as networks do."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from typing import Self

_LONGEST_DELAY = 1.0
_TIMEOUT = 10.0
_CHUNK = 65_536
_TOKENS = b"POST /v1/accounts/"
_UNAUTHORIZED = (
    b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
)


class Trouble(Enum):
    """What a link does to a connection."""

    CUT = "reset, and new ones too"
    DELAY = "whatever is sent comes up to a second later"
    HALF_OPEN = "gone at the far end, and the near end is never told"
    ANSWERS_LOST = "what is asked arrives, what is answered does not"
    TOKENS_REFUSED = "401 for whoever asks for a token"
    ALL_REFUSED = "401 for every request"

    @property
    def passes(self) -> bool:
        """A connection under it can be used again; under the others bytes are missing for ever."""
        return self in (Trouble.DELAY, Trouble.TOKENS_REFUSED, Trouble.ALL_REFUSED)


class Network:
    """Carries the links, in a thread of its own, while it is entered."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._links: list[Link] = []

    def link(self, to_port: int, seed: int) -> "Link":
        """A new way to a loopback port, which need not be listened on yet."""
        link = Link(self._loop, to_port, seed)
        asyncio.run_coroutine_threadsafe(link.open(), self._loop).result(_TIMEOUT)
        self._links.append(link)
        return link

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            asyncio.run_coroutine_threadsafe(link.close(), self._loop).result(_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT)
        self._loop.close()


class Link:
    """Listens on `port` and passes on every connection. `fail` and `heal` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, to_port: int, seed: int) -> None:
        self._loop = loop
        self._to_port = to_port
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._wires: dict[_Wire, asyncio.Task[None]] = {}
        self._trouble: Trouble | None = None
        self._share = 1.0
        self.port = 0

    def fail(self, trouble: Trouble, share: float) -> None:
        """Trouble for each connection with the chance `share`, those there are and those to come."""
        self._loop.call_soon_threadsafe(self._fail, trouble, share)

    def heal(self) -> None:
        """No more trouble. Connections that have lost bytes stay as they are until one end gives up."""
        self._loop.call_soon_threadsafe(self._heal)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server:
            self._server.close()
        tasks = list(self._wires.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_TIMEOUT)

    def _fail(self, trouble: Trouble, share: float) -> None:
        self._trouble, self._share = trouble, share
        for wire in list(self._wires):
            self._strike(wire)

    def _heal(self) -> None:
        self._trouble = None
        for wire in self._wires:
            wire.heal()

    def _strike(self, wire: "_Wire") -> None:
        if self._trouble and self._chance.random() < self._share:
            wire.fail(self._trouble)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = _Wire(reader, writer, self._chance)
        task = asyncio.current_task()
        assert task is not None
        self._wires[wire] = task
        self._strike(wire)
        try:
            await wire.carry(self._to_port)
        except asyncio.CancelledError:
            pass  # the network closes
        finally:
            del self._wires[wire]
            wire.abort()


class _Wire:
    """One connection: a worker's end and the far end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: random.Random) -> None:
        self._reader = reader
        self._writer = writer
        self._chance = chance
        self._far: asyncio.StreamWriter | None = None
        self._trouble: Trouble | None = None

    def fail(self, trouble: Trouble) -> None:
        if self._trouble is None or self._trouble.passes:
            self._trouble = trouble
        if trouble is Trouble.CUT:
            self.abort()
        if trouble is Trouble.HALF_OPEN and self._far:
            self._far.transport.abort()

    def heal(self) -> None:
        if self._trouble and self._trouble.passes:
            self._trouble = None

    def abort(self) -> None:
        self._writer.transport.abort()
        if self._far:
            self._far.transport.abort()

    async def carry(self, port: int) -> None:
        """Until the worker's end is closed, or the far end is and the worker may know."""
        if self._trouble is Trouble.CUT:
            return
        if self._trouble is Trouble.HALF_OPEN:
            await self._pump(self._reader, self._sink)
            return
        try:
            far_reader, self._far = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        pumps = {
            asyncio.create_task(self._pump(self._reader, self._ask)),
            asyncio.create_task(self._answers(far_reader)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)

    async def _answers(self, far_reader: asyncio.StreamReader) -> None:
        await self._pump(far_reader, self._answer)
        if self._trouble in (Trouble.HALF_OPEN, Trouble.ANSWERS_LOST):
            await asyncio.Event().wait()  # that the far end has gone is lost too

    async def _pump(self, reader: asyncio.StreamReader, pass_on: Callable[[bytes], Awaitable[None]]) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if self._trouble is Trouble.DELAY:
                    await asyncio.sleep(self._chance.random() * _LONGEST_DELAY)
                await pass_on(chunk)

    async def _ask(self, chunk: bytes) -> None:
        refused = self._trouble is Trouble.ALL_REFUSED
        if refused or (self._trouble is Trouble.TOKENS_REFUSED and chunk.startswith(_TOKENS)):
            self._writer.write(_UNAUTHORIZED)
            await self._writer.drain()
            self._writer.close()
            raise ConnectionAbortedError
        if self._trouble is not Trouble.HALF_OPEN and self._far:
            self._far.write(chunk)
            await self._far.drain()

    async def _answer(self, chunk: bytes) -> None:
        if self._trouble not in (Trouble.HALF_OPEN, Trouble.ANSWERS_LOST):
            self._writer.write(chunk)
            await self._writer.drain()

    async def _sink(self, chunk: bytes) -> None:
        """Taken, and lost."""
