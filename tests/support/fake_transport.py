"""A transport that answers without a network, in httpx's requests and responses, which are easier to look at."""

from abc import abstractmethod

import httpx

from worker.dintero.transport import Received, Transport


class FakeTransport(Transport):
    @abstractmethod
    async def answer(self, request: httpx.Request) -> httpx.Response: ...

    async def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> Received:
        response = await self.answer(httpx.Request(method, url, headers=headers, content=body))
        return Received(response.status_code, response.headers, await response.aread())
