"""A transport that answers without a network, in httpx's requests and responses, which are easier to look at."""

from abc import abstractmethod

import httpx

from worker.dintero.http1 import Received
from worker.dintero.pool import Door, DoorClosedError
from worker.dintero.route import Headers
from worker.dintero.transport import Transport, always


class FakeTransport(Transport):
    @abstractmethod
    async def answer(self, request: httpx.Request) -> httpx.Response: ...

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        if not door():
            raise DoorClosedError
        response = await self.answer(httpx.Request(method, url, headers=headers, content=body))
        return Received(response.status_code, response.headers, await response.aread())
