"""Sending requests: in order, at a rate, each delivered before it counts as sent."""

import asyncio
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaProducer

from schemas import RequestRecord
from worker.cli.topic_reader import partition_count
from worker.kafka.connection import Connection, stop_client

_TIMEOUT = 30.0
# Records on their way at once; at a low rate, those of one step.
_AT_ONCE = 500
_STEP = 0.2


async def send(
    connection: Connection,
    topic: str,
    requests: Iterable[tuple[str, RequestRecord]],
    *,
    rate: float | None,
    sent: Callable[[list[str]], None],
) -> None:
    """Send all, keyed by terminal with Java's partitioner, at most `rate` a second; tells what was delivered.

    Raises TopicsError, KafkaError or TimeoutError; then more may have been delivered than was told.
    """
    await partition_count(connection, topic)  # a topic that is missing would be made, on some brokers
    # Not idempotent, which some brokers refuse: a repeat has the same message ID, and order is kept by sending the
    # batches of a partition one by one.
    producer = AIOKafkaProducer(
        **connection.options(), acks="all", linger_ms=5, request_timeout_ms=int(_TIMEOUT * 1000)
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            await producer.start()
        loop = asyncio.get_running_loop()
        due = loop.time()
        for group in _groups(requests, _AT_ONCE if rate is None else max(1, min(_AT_ONCE, int(rate * _STEP)))):
            await asyncio.sleep(due - loop.time())
            async with asyncio.timeout(_TIMEOUT):
                deliveries = [await producer.send(topic, **record) for _, record in group]
                await asyncio.gather(*deliveries)
            sent([message_id for message_id, _ in group])
            due = max(due, loop.time() - _STEP) + (0 if rate is None else len(group) / rate)
    finally:
        await stop_client(producer)


def _groups(requests: Iterable[tuple[str, RequestRecord]], size: int) -> Iterable[list[tuple[str, RequestRecord]]]:
    group: list[tuple[str, RequestRecord]] = []
    for request in requests:
        group.append(request)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
