"""Stand-ins for aiokafka's producer, with and without transactions: what the worker uses of it, with its traps."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka.errors import ConcurrentTransactions, KafkaConnectionError

from tests.simulation.broker import Place
from tests.simulation.clients import Link
from tests.simulation.log import Headers, Stored

_BACK_OFF = 0.02


class Batch:
    def __init__(self) -> None:
        self.stored: list[Stored] = []

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Headers) -> object:
        self.stored.append(Stored(key, value, headers, 0))
        return self


class PlainProducer:
    """Without transactions: what arrived stays, whatever the sender hears of it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sending: list[asyncio.Task[None]] = []

    async def start(self) -> None: ...

    async def stop(self) -> None:
        for task in self._sending:
            task.cancel()

    async def partitions_for(self, topic: str) -> set[int]:
        return {number for known, number in self._link.broker.logs if known == topic}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._send(batch.stored, (topic, partition)))
        self._sending = [each for each in self._sending if not each.done()] + [task]
        return task

    async def _send(self, stored: list[Stored], place: Place) -> None:
        await self._ask(lambda: self._link.broker.append(place, stored))

    async def _ask(self, act: Callable[[], Any]) -> Any:
        """One request, which may fail before it arrives or after."""
        troubled, before = self._link.troubled(), self._link.random.random() < 0.5
        if troubled and before:
            raise KafkaConnectionError("the connection was lost before the request")
        answer = await self._link.network.ask(act)
        if troubled:
            raise KafkaConnectionError("the connection was lost before the answer")
        return answer


class TransactionalProducer(PlainProducer):
    """After any failure it is not safe to use, and says nothing of it (trap T5)."""

    def __init__(self, link: Link, transactional_id: str) -> None:
        super().__init__(link)
        self._id = transactional_id
        self._epoch = -1

    async def start(self) -> None:
        broker = self._link.broker
        self._epoch = await self._patiently(lambda: broker.init(self._id, self._link.process))

    async def stop(self) -> None:
        """Leaves an open transaction open (trap T13)."""
        await super().stop()

    async def begin_transaction(self) -> None:
        self._sending = []

    async def commit_transaction(self) -> None:
        """A failed delivery does not stop it (trap T1)."""
        await asyncio.wait(self._sending)
        broker, epoch = self._link.broker, self._epoch
        await self._patiently(lambda: broker.end(self._id, epoch))

    async def _send(self, stored: list[Stored], place: Place) -> None:
        broker, epoch = self._link.broker, self._epoch
        await self._patiently(lambda: broker.begin(self._id, epoch))
        await self._patiently(lambda: broker.produce(self._id, epoch, place, stored))

    async def _patiently(self, act: Callable[[], Any]) -> Any:
        """A request, again as long as the coordinator still ends the last transaction."""
        while True:
            try:
                return await self._ask(act)
            except ConcurrentTransactions:
                await asyncio.sleep(_BACK_OFF)


def simulated_producer(link: Link, *, transactional_id: str | None = None, **_: Any) -> PlainProducer:
    return TransactionalProducer(link, transactional_id) if transactional_id else PlainProducer(link)
