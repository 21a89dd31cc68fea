"""One process's way to the API, behind the worker's real client: its HTTP transport."""

import asyncio
from dataclasses import dataclass

import httpx
import orjson

from tests.simulation.api import ApiServer, OutageKind
from tests.simulation.network import Network
from tests.simulation.nonsense import Answer
from worker.dintero.http1 import Received
from worker.dintero.pool import Door, DoorClosedError
from worker.dintero.route import Headers
from worker.dintero.transport import Transport as HttpTransport
from worker.dintero.transport import always

_NEVER = 1e6


@dataclass(slots=True)
class Transport(HttpTransport):
    server: ApiServer
    network: Network
    process: str
    loop: asyncio.AbstractEventLoop

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        if url.endswith("/auth/token"):
            return await self._token(url.split("/")[-3])
        if self.server.refuses_connections():
            raise httpx.ConnectError("refused")
        silent = self.server.outage() is OutageKind.SILENT
        if method == "GET":
            id_ = url.partition("operation_id=")[2]
            if self.server.trouble(self.server.account(id_)):
                raise httpx.ConnectError("refused")
            answer = await self.network.ask(lambda: self.server.poll(id_))
        else:
            key = dict(headers)["Idempotency-Key"]
            content = orjson.loads(body)
            if trouble := self.server.trouble(content["terminal_id"].partition("-")[0]):
                return _received((trouble, {}, {}))
            if not door():
                raise DoorClosedError
            self.server.sent.append((self.loop.time(), key, self.process))
            answer = await self.network.ask(lambda: self.server.create(key, content))
        if silent:
            await asyncio.sleep(_NEVER)
        return _received(answer)

    async def _token(self, account: str) -> Received:
        await asyncio.sleep(0.01)
        trouble = self.server.trouble(account)
        if trouble == 503:
            raise httpx.ConnectError("refused")
        if trouble == 401:
            return _received((401, {}, {}))
        return _received((200, {}, {"access_token": "token", "expires_in": 3600}))


def _received(answer: Answer) -> Received:
    status, headers, content = answer
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Received(status, headers, body)
