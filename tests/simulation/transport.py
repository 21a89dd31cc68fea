"""One process's way to the API, behind the worker's real client: its HTTP transport."""

import asyncio
from dataclasses import dataclass

import httpx
import orjson

from tests.simulation.api import ApiServer, OutageKind
from tests.simulation.network import Network
from tests.simulation.nonsense import Answer

_NEVER = 1e6


@dataclass(slots=True)
class Transport(httpx.AsyncBaseTransport):
    server: ApiServer
    network: Network
    process: str
    loop: asyncio.AbstractEventLoop

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions["target"].decode()
        if target.endswith("/auth/token"):
            return await self._token(target.split("/")[-3])
        if self.server.refuses_connections():
            raise httpx.ConnectError("refused")
        silent = self.server.outage() is OutageKind.SILENT
        if request.method == "GET":
            id_ = target.partition("operation_id=")[2]
            if self.server.trouble(self.server.account(id_)):
                raise httpx.ConnectError("refused")
            answer = await self.network.ask(lambda: self.server.poll(id_))
        else:
            key = request.headers["idempotency-key"]
            content = orjson.loads(b"".join(request.stream))  # type: ignore[arg-type]
            if trouble := self.server.trouble(content["terminal_id"].partition("-")[0]):
                return _response((trouble, {}, {}))
            self.server.sent.append((self.loop.time(), key, self.process))
            answer = await self.network.ask(lambda: self.server.create(key, content))
        if silent:
            await asyncio.sleep(_NEVER)
        return _response(answer)

    async def _token(self, account: str) -> httpx.Response:
        await asyncio.sleep(0.01)
        trouble = self.server.trouble(account)
        if trouble == 503:
            raise httpx.ConnectError("refused")
        if trouble == 401:
            return _response((401, {}, {}))
        return _response((200, {}, {"access_token": "token", "expires_in": 3600}))


def _response(answer: Answer) -> httpx.Response:
    status, headers, content = answer
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))
