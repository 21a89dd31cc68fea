"""Connections to one origin: one for each call under way, and those that wait for the next."""

import asyncio
from collections.abc import Callable

import httpx

from worker.dintero.http1 import HttpConnection, Received
from worker.dintero.route import Headers, Route

# Seconds. Servers end idle connections, seldom under a minute: a request on one that just ended would be in doubt.
_IDLE = 30.0

Door = Callable[[], bool]
"""The caller's last check."""


class DoorClosedError(Exception):
    """The caller's last check said no. Nothing was sent."""


class Pool:
    """It grows with the calls under way, which their budgets bound: no account waits for those of another."""

    def __init__(self, route: Route, connect_timeout: float) -> None:
        self._route = route
        self._connect_timeout = connect_timeout
        self._standing: set[HttpConnection] = set()
        self._idle: dict[HttpConnection, float] = {}
        self._emptied = asyncio.Event()
        self._closed = False

    async def send(
        self, method: str, target: str, headers: Headers, body: bytes, door: Door, deadline: float
    ) -> Received:
        """Asks `door` and writes the request in one synchronous step, on a connection that stands (rule 8).

        Raises DoorClosedError, httpx's errors of connecting, or those of `HttpConnection.exchange`.
        """
        request = self._route.head(method, target, headers, len(body)) + body
        connection = self._idle_one() or await self._connect()
        try:
            if not door():
                raise DoorClosedError
            return await connection.exchange(request, deadline)
        finally:
            if connection.reusable:
                self._keep(connection)

    async def aclose(self) -> None:
        """Ends all connections, and the exchanges on them. Those that are being made end as they stand."""
        self._closed = True
        for connection in self._standing:
            connection.abort()
        if self._standing:
            await self._emptied.wait()

    def _idle_one(self) -> HttpConnection | None:
        """The one used last: the others grow old, and `_keep` ends them."""
        while self._idle:
            connection, since = self._idle.popitem()
            if connection.quiet() and asyncio.get_running_loop().time() - since < _IDLE:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: HttpConnection) -> None:
        now = self._idle[connection] = asyncio.get_running_loop().time()
        oldest, since = next(iter(self._idle.items()))
        if now - since >= _IDLE:
            oldest.abort()

    async def _connect(self) -> HttpConnection:
        connection = await self._route.connect(self._lost, self._connect_timeout)
        if self._closed or not connection.reusable:
            connection.abort()
            raise httpx.ConnectError("ended as it was made")
        self._standing.add(connection)
        self._emptied.clear()
        return connection

    def _lost(self, connection: HttpConnection) -> None:
        self._standing.discard(connection)
        self._idle.pop(connection, None)
        if not self._standing:
            self._emptied.set()
