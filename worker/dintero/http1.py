"""One HTTP/1.1 connection as a client: a request, its answer whole, then the next. The parsing is llhttp's.

Nothing of the server is trusted. What it says unasked, behind an answer or between two, ends the connection, since it
could be taken for the answer to the next request; so does every answer that was not read to its end.
"""

import asyncio
import select
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_BODY = 1024 * 1024
MAX_HEAD = 64 * 1024
"""Of what is around an answer's body (heads, the sizes of chunks, trailers), and as many bytes more as the body has."""
MAX_PARTS = 10_000
"""Headers, pieces of the body, interim answers. Each costs up to a microsecond, however short: with a read's 50,000 the
loop stood still for 20 ms."""
KEPT = ("retry-after", "date")
_FRAMING = ("content-length", "transfer-encoding")


class ResponseTooLarge(httpx.ReadError):
    """The answer's body is over `MAX_BODY` bytes, or what surrounds it over `MAX_HEAD`. The request was sent."""


class Received(NamedTuple):
    """An answer. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpConnection(asyncio.Protocol):
    """An asyncio protocol, for one exchange at a time. `reusable` says whether another may follow."""

    def __init__(self, lost: Callable[["HttpConnection"], None]) -> None:
        """`lost` is called once, when the connection has ended, whoever ended it."""
        self.reusable = True
        self._lost = lost
        self._transport: asyncio.Transport
        self._parser: HttpResponseParser
        self._answer: asyncio.Future[Received] | None = None
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = self._taken = self._parts = 0
        self._framed = self._complete = False

    async def exchange(self, request: bytes, deadline: float) -> Received:
        """Writes the request in the step in which it is awaited, and reads its answer until the loop's time `deadline`.

        Raises httpx's errors of reading and of the protocol: the request may have been sent. Only a whole answer that
        allows it leaves the connection reusable.
        """
        loop = asyncio.get_running_loop()
        self.reusable = False
        self._answer = loop.create_future()
        timer = loop.call_at(deadline, self._fail, httpx.ReadTimeout("no whole answer in time"))
        self._transport.write(request)
        try:
            return await self._answer  # no name of this frame: an error refers to the frame, which would be a circle
        finally:
            timer.cancel()
            self._answer = None
            self._begin()  # or the answer would be kept for as long as the connection waits
            if not self.reusable:
                self.abort()

    def quiet(self) -> bool:
        """Whether another exchange may follow now: nothing that the server said lies unread, nor its end.

        The loop may have had no turn to read it, and it would be taken for the answer, or the request be in doubt.
        """
        heard = self._transport.get_extra_info("socket") if self.reusable else None
        if heard is None:
            return False
        unread = select.poll()
        unread.register(heard, select.POLLIN)
        return not unread.poll(0)

    def abort(self) -> None:
        """End the connection, whatever it is doing."""
        self.reusable = False
        self._transport.abort()

    # -- asyncio's calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # It refers to us: a circle would stay in memory until the collector comes. `connection_lost` parts the two, and
        # is not called where TLS failed before this was.
        self._parser = HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()
            return
        self._taken += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.reusable = False
            if not self._complete:
                self._fail(httpx.RemoteProtocolError("the answer cannot be read"))
                return
        if self._size > MAX_BODY:
            self._fail(ResponseTooLarge(f"the answer is over {MAX_BODY} bytes"))
        elif self._taken - self._size > MAX_HEAD + self._size:
            self._fail(ResponseTooLarge(f"there are over {MAX_HEAD} bytes around the answer"))
        elif self._complete:
            self._succeed(self._answer)

    def eof_received(self) -> None:
        self.reusable = False
        # An answer without a length ends with its connection.
        if self._answer and not self._answer.done() and self._status >= 200 and not self._framed:
            self._succeed(self._answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        self._fail(httpx.ReadError("connection lost"))
        del self._parser
        self._lost(self)

    def _succeed(self, answer: asyncio.Future[Received]) -> None:
        answer.set_result(Received(self._status, self._headers, b"".join(self._body)))

    def _fail(self, error: httpx.TransportError) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)

    # -- the parser's calls -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise httpx.RemoteProtocolError("an answer that nobody asked for")  # its body would be added to ours
        self._count()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count()
        known = name.decode("latin-1").lower()
        if known in KEPT:
            self._headers[known] = value.decode("latin-1")
        elif known in _FRAMING:
            self._framed = True

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 100:
            raise httpx.RemoteProtocolError("a status that is none")  # nor is it an interim one, and it may have a body

    def on_body(self, chunk: bytes) -> None:
        self._count()
        self._size += len(chunk)
        if self._size <= MAX_BODY:
            self._body.append(chunk)

    def on_message_complete(self) -> None:
        if self._status < 200:  # an interim answer: the one to our request follows
            self._status, self._framed = 0, False
            self._headers = {}
            return
        self._complete = True
        unsent = self._transport.get_write_buffer_size()  # where it answers before it has read the request
        self.reusable = self._parser.should_keep_alive() and not unsent

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ResponseTooLarge(f"the answer is of over {MAX_PARTS} parts")
