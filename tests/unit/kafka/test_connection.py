"""What every client is built from, and clean-ups that must end."""

import asyncio
import gc
import logging
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.producer.message_accumulator import MessageAccumulator
from pydantic import SecretStr

from worker.credentials import MountedSecret
from worker.kafka import connection as connections
from worker.kafka.connection import Connection, NotAllowedError, naming, rotated, stop_client, within

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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TopicAuthorizationFailedError("in"), "Write on topic 'in'"),
        (TopicAuthorizationFailedError({"out"}), "Write on topic 'out'"),
        (GroupAuthorizationFailedError("us"), "Read on group 'us'"),
        (TransactionalIdAuthorizationFailed("us-0"), "Write on transactional id 'us-0'"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_refusal_names_what_is_not_allowed_on_what(error: KafkaError, line: str, wrapped: bool) -> None:
    raised = KafkaError("Unexpected error") if wrapped else error
    raised.__cause__ = error if wrapped else None
    with pytest.raises(NotAllowedError) as told, naming("Write"):
        raise raised
    assert str(told.value) == f"{line} is not allowed to this user: `terminal-worker check` tells what to do"


def test_what_is_no_refusal_passes_as_it_is() -> None:
    error = KafkaConnectionError("nobody there")
    with pytest.raises(KafkaConnectionError) as told, naming("Read"):
        raise error
    assert told.value is error


@pytest.fixture
def mounted(tmp_path: Path) -> Connection:
    for name in ("password", "ca.pem", "worker.pem", "worker.key"):
        (tmp_path / name).write_text(PASSWORD)
    return connection(
        "SASL_PLAINTEXT",
        sasl_password=MountedSecret(tmp_path / "password"),
        ssl_cafile=str(tmp_path / "ca.pem"),
        ssl_certfile=str(tmp_path / "worker.pem"),
        ssl_keyfile=str(tmp_path / "worker.key"),
    )


@pytest.mark.parametrize("name", ["password", "ca.pem", "worker.pem", "worker.key"])
def test_every_credential_that_changes_or_goes_away_is_noticed(mounted: Connection, tmp_path: Path, name: str) -> None:
    before = mounted.credentials()
    assert before == mounted.credentials()
    assert PASSWORD not in before
    (tmp_path / name).write_text("changed")
    changed = mounted.credentials()
    assert changed != before
    if name != "password":  # of which the last one counts
        (tmp_path / name).unlink()
        assert mounted.credentials() not in (before, changed)


async def test_what_was_rotated_counts_once_the_brokers_take_it(
    mounted: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[str] = []

    class Brokers:
        def __init__(self, **options: Any) -> None:
            self._password = options["sasl_plain_password"]

        async def bootstrap(self) -> None:
            tried.append(self._password)
            if len(tried) < 3:
                raise KafkaConnectionError("not that one")

        async def close(self) -> None:
            pass

    monkeypatch.setattr(connections, "AIOKafkaClient", Brokers)
    monkeypatch.setattr(connections, "_LOOK_EVERY", 0.001)
    watching = asyncio.create_task(rotated(mounted, mounted.credentials()))
    (tmp_path / "password").write_text("changed")
    with caplog.at_level(logging.INFO):
        async with asyncio.timeout(30):
            await watching
    assert tried == ["changed"] * 3
    assert [record.levelname for record in caplog.records] == [
        "WARNING",
        "INFO",
    ]  # said once, however often it is tried
    assert "changed" not in caplog.text


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
    async with asyncio.timeout(30):
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
