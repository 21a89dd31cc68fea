"""The floor: the least that aiokafka and pyreqwest can do the same calls and outcomes with.

A transaction for each batch, and nothing else: no memory of what was asked, no order of a terminal's operations, no
retries, no checks, no telemetry. A crash loses every poll that is due.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.partitioner import murmur2
from pyreqwest.client import Client, ClientBuilder

from schemas import names
from tests.benchmarks.peers import outcome as peer
from tests.benchmarks.peers.outcome import Request, outcome

_MOST = 500
_IDLE_MS = 500
_LEAST_APART = 0.005
"""Seconds between two transactions: one begun sooner waits a whole back-off for the last one's end at the broker."""


class Floor:
    def __init__(self, client: Client, bearer: str, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        self._client = client
        self._headers = {"Authorization": bearer, "Content-Type": names.JSON}
        self._consumer = consumer
        self._producer = producer
        self._partitions = 0
        self._due: deque[tuple[float, Request, str]] = deque()
        self._told: list[tuple[str, Request, dict[str, Any]]] = []

    async def run(self) -> None:
        self._partitions = len(await self._producer.partitions_for(peer.OUTCOMES))
        while True:
            wait = min(_IDLE_MS, max(0, int((self._due[0][0] - time.monotonic()) * 1000))) if self._due else _IDLE_MS
            fetched = await self._consumer.getmany(timeout_ms=wait, max_records=_MOST)
            records = [record for batch in fetched.values() for record in batch]
            await _each(records, self._create)
            await _each(self._polls(), self._poll)
            if self._told:
                await self._commit({partition: batch[-1].offset + 1 for partition, batch in fetched.items()})
                await asyncio.sleep(_LEAST_APART)

    async def _create(self, record: ConsumerRecord) -> None:
        message_id = next(value for name, value in record.headers if name == names.CE_ID).decode()
        request = Request(message_id, record.timestamp, orjson.loads(record.value))
        calling = self._client.post(peer.OPERATIONS).headers({**self._headers, "Idempotency-Key": message_id})
        response = await calling.body_bytes(record.value).build().send()
        operation = orjson.loads(bytes(await response.bytes()))
        self._told.append(("created", request, operation))
        if peer.POLL_DELAY:
            self._due.append((time.monotonic() + peer.POLL_DELAY, request, operation["id"]))

    def _polls(self) -> Iterator[tuple[float, Request, str]]:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            yield self._due.popleft()

    async def _poll(self, due: tuple[float, Request, str]) -> None:
        _, request, operation_id = due
        target = f"{peer.OPERATIONS}?operation_id={operation_id}"
        response = await self._client.get(target).headers(self._headers).build().send()
        (operation,) = orjson.loads(bytes(await response.bytes()))
        self._told.append(("completed", request, operation))

    async def _commit(self, offsets: dict[Any, int]) -> None:
        grouped: dict[int, list[tuple[bytes, bytes, list[tuple[str, bytes]]]]] = defaultdict(list)
        for told in self._told:
            value, headers = outcome(*told)
            key = value["terminal_id"].encode()
            encoded = [(name, text.encode()) for name, text in headers.items()]
            grouped[(murmur2(key) & 0x7FFFFFFF) % self._partitions].append((key, orjson.dumps(value), encoded))
        self._told.clear()
        async with self._producer.transaction():
            deliveries = []
            for partition, messages in grouped.items():
                batch = self._producer.create_batch()
                for key, body, encoded in messages:
                    while batch.append(timestamp=None, key=key, value=body, headers=encoded) is None:
                        deliveries.append(await self._producer.send_batch(batch, peer.OUTCOMES, partition=partition))
                        batch = self._producer.create_batch()
                deliveries.append(await self._producer.send_batch(batch, peer.OUTCOMES, partition=partition))
            await asyncio.gather(*deliveries)
            if offsets:
                await self._producer.send_offsets_to_transaction(offsets, peer.GROUP)


async def _each(items: Iterable[Any], call: Callable[[Any], Awaitable[None]]) -> None:
    """All of them, so many at a time."""
    left = iter(items)

    async def calls() -> None:
        for item in left:
            await call(item)

    await asyncio.gather(*(calls() for _ in range(peer.IN_FLIGHT)))


async def main() -> None:
    options = {"bootstrap_servers": peer.BROKERS, "retry_backoff_ms": 20}
    consumer = AIOKafkaConsumer(
        peer.REQUESTS,
        group_id=peer.GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        **options,
    )
    producer = AIOKafkaProducer(transactional_id=peer.GROUP, max_batch_size=1_048_576, **options)
    async with consumer, producer, ClientBuilder().build() as client:
        asking = client.post(peer.TOKEN).basic_auth(*peer.CREDENTIALS).body_json(peer.TOKEN_REQUEST)
        token = await (await asking.build().send()).json()
        await Floor(client, f"Bearer {token['access_token']}", consumer, producer).run()


if __name__ == "__main__":
    uvloop.run(main())
