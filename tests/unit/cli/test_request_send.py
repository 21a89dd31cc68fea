"""Sending requests: nothing is told as sent that was not delivered, and a rate is kept."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from worker.cli.requests import send as send_module
from worker.kafka.connection import Connection
from worker.kafka.topics import TopicsError


class Producer:
    """Delivers all but the records of `refused`."""

    def __init__(self, refused: str = "") -> None:
        self.sent: list[str] = []
        self.stopped = False
        self._refused = refused

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, topic: str, *, key: bytes, value: bytes, headers: Any) -> asyncio.Future[None]:
        self.sent.append(key.decode())
        delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if key.decode() == self._refused:
            delivery.set_exception(KafkaError("refused"))
        else:
            delivery.set_result(None)
        return delivery


async def send(
    monkeypatch: pytest.MonkeyPatch, producer: Producer, count: int, *, rate: float | None = None
) -> tuple[list[str], list[float]]:
    """What was told as sent, and what was slept."""
    told: list[str] = []
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def partition_count(*_: Any) -> int:
        return 4

    requests: Any = [(str(number), {"key": b"%d" % number, "value": b"", "headers": []}) for number in range(count)]
    monkeypatch.setattr(send_module, "AIOKafkaProducer", lambda **_: producer)
    monkeypatch.setattr(send_module, "partition_count", partition_count)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 0.0)  # else what sending takes is made up for
    try:
        await send_module.send(Connection("nowhere"), "requests", requests, rate=rate, sent=told.extend)
    except KafkaError:
        told.append("failed")
    return told, slept


async def test_all_are_sent_in_their_order_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Producer()
    told, slept = await send(monkeypatch, producer, 1_234)
    assert told == producer.sent == [str(number) for number in range(1_234)]
    assert max(slept) <= 0
    assert producer.stopped


async def test_what_was_not_delivered_is_not_told_as_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Producer(refused="700")
    told, _ = await send(monkeypatch, producer, 1_234)
    assert told == [*(str(number) for number in range(500)), "failed"]
    assert producer.stopped


@pytest.mark.parametrize(("rate", "count"), [(100.0, 1_000), (2.0, 20), (10_000.0, 20_000)])
async def test_a_rate_is_kept(rate: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, slept = await send(monkeypatch, Producer(), count, rate=rate)
    # Nothing sleeps here, so what is owed adds up; the last group need not be waited for.
    assert slept[-1] == pytest.approx(count / rate, abs=1.0)


async def test_nothing_is_sent_to_a_topic_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing(*_: Any) -> int:
        raise TopicsError("no such topic")

    monkeypatch.setattr(send_module, "AIOKafkaProducer", lambda **_: pytest.fail("a producer would make it"))
    monkeypatch.setattr(send_module, "partition_count", missing)
    with pytest.raises(TopicsError):
        await send_module.send(Connection("nowhere"), "requests", [], rate=None, sent=lambda _: None)
