"""What every client is built from, and clean-ups that must end."""

import asyncio
import gc
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import MessageAccumulator
from pydantic import SecretStr

from worker.kafka.connection import Connection, stop_client, within

PASSWORD = "hunter2-hunter2"


def connection(protocol: str, **changes: Any) -> Connection:
    sasl = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "worker", "sasl_password": SecretStr(PASSWORD)}
    return Connection("broker:9092", security_protocol=protocol, **{**sasl, **changes})


@pytest.mark.parametrize(
    ("protocol", "sasl", "tls"),
    [("PLAINTEXT", False, False), ("SSL", False, True), ("SASL_PLAINTEXT", True, False), ("SASL_SSL", True, True)],
)
def test_each_protocol_gets_what_it_needs_and_nothing_else(protocol: str, sasl: bool, tls: bool) -> None:
    options = connection(protocol).options()
    assert options["bootstrap_servers"] == "broker:9092"
    assert options["security_protocol"] == protocol
    assert ("sasl_mechanism" in options, "sasl_plain_password" in options) == (sasl, sasl)
    assert ("ssl_context" in options) == tls


def test_the_password_is_readable_only_where_a_client_is_built() -> None:
    made = connection("SASL_PLAINTEXT")
    assert PASSWORD not in f"{made!r} {made}"
    assert made.options()["sasl_plain_password"] == PASSWORD


def test_brokers_must_show_a_certificate_for_their_own_name() -> None:
    context = connection("SSL").options()["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_what_ends_well_within_its_time_is_true() -> None:
    assert await within(1.0, asyncio.sleep(0))


async def test_what_hangs_or_fails_is_false_and_ended() -> None:
    hanging = asyncio.ensure_future(asyncio.Event().wait())
    assert not await within(0.01, hanging)
    assert hanging.cancelled()

    async def fail() -> None:
        raise ConnectionError

    assert not await within(1.0, fail())


async def test_a_cancellation_leaked_by_the_client_is_a_failure_and_ours_passes() -> None:
    leaking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    leaking.cancel()
    assert not await within(1.0, leaking)
    ours = asyncio.create_task(within(5.0, asyncio.Event().wait()))
    await asyncio.sleep(0)
    ours.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ours


class Stuck:
    """A client whose `stop` waits for brokers that are away."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._sender = SimpleNamespace(close=lambda: self._end("sender"))
        self.client = SimpleNamespace(close=lambda: self._end("client"))

    async def stop(self) -> None:
        await asyncio.Event().wait()

    async def _end(self, part: str) -> None:
        self.ended.append(part)


async def test_a_client_that_does_not_stop_is_taken_apart() -> None:
    stuck = Stuck()
    async with asyncio.timeout(2):
        await stop_client(stuck, seconds=0.01)
    assert stuck.ended == ["client", "sender"]


async def test_batches_that_were_being_sent_again_are_failed_without_a_complaint() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    stuck, partition = Stuck(), TopicPartition("outcomes", 0)
    accumulator = MessageAccumulator(ClusterMetadata(), 16_384, 0, 30.0)
    stuck._message_accumulator = accumulator  # type: ignore[attr-defined]
    builder = accumulator.create_builder()
    builder.append(timestamp=None, key=None, value=b"{}", headers=[])
    delivery = await accumulator.add_batch(builder, partition, 1.0)
    batch = accumulator._pop_batch(partition)
    accumulator.reenqueue(batch)
    await stop_client(stuck, seconds=0.01)
    accumulator._pending_batches.remove(batch)  # by the task that had sent it
    with pytest.raises(KafkaError, match="given up"):
        await delivery
    del accumulator, batch, delivery, stuck
    gc.collect()
    assert complaints == []


async def test_an_admin_client_is_closed() -> None:
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    await stop_client(SimpleNamespace(close=close), seconds=1.0)
    assert closed.is_set()
