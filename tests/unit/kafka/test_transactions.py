"""What a transaction asks of brokers, and what it makes of their answers."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import product
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    CorrelationIdError,
    DuplicateSequenceNumber,
    IllegalStateError,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaError,
    KafkaStorageError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    NotCoordinatorError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    OperationNotAttempted,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownError,
    UnknownTopicOrPartitionError,
)

from tests.unit.kafka.cluster import LOST, Cluster
from worker.kafka import producer as producers
from worker.kafka import transactions
from worker.kafka.connection import Connection, NotAllowedError
from worker.kafka.producer import Message, TransactionalProducer
from worker.kafka.wire import AddPartitions, EndTransaction, InitProducerId, Produce, Request

MIB = 1_048_576
STATE, OUTCOMES = TopicPartition("state", 2), TopicPartition("outcomes", 1)
A_COMMIT = 0.004

Write = Callable[[list[Message], list[Message]], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(transactions, "AIOKafkaClient", lambda **_: cluster)
    return cluster


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it waits between two requests: it is told, and not waited for."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        if seconds:
            slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return slept


@pytest.fixture
def producer() -> TransactionalProducer:
    return TransactionalProducer(Connection("127.0.0.1:1"), "id")


@pytest.fixture
async def write(cluster: Cluster, producer: TransactionalProducer) -> Write:
    await producer.start()
    cluster.told.clear()
    return producer.write


def entry(value: bytes, partition: int = 2) -> Message:
    return Message("state", b"k", value, partition=partition)


def event(value: bytes = b"v", partition: int | None = 1) -> Message:
    return Message("outcomes", b"k", value, [("h", b"x"), ("empty", None)], partition)


def values(cluster: Cluster, place: TopicPartition) -> list[bytes | None]:
    return [value for at, values, _ in cluster.written if at == place for value in values]


# -- a transaction -----------------------------------------------------------------------------------------------


async def test_a_write_is_three_requests_and_one_batch_for_each_partition(cluster: Cluster, write: Write) -> None:
    entries = [b"%d" % number for number in range(100)]
    await write([event(b"first"), event(b"second")], [entry(value) for value in entries])
    assert cluster.told == ["AddPartitions", "Produce", "EndTransaction"]
    assert cluster.written == [(STATE, entries, 0), (OUTCOMES, [b"first", b"second"], 0)]


async def test_sequence_numbers_go_on_from_one_write_to_the_next(cluster: Cluster, write: Write) -> None:
    for _ in range(3):
        await write([event()], [entry(b"a"), entry(b"b")])
    assert [(place, sequence) for place, _, sequence in cluster.written if place == STATE] == [
        (STATE, 0),
        (STATE, 2),
        (STATE, 4),
    ]
    assert cluster.committed == 3


async def test_sequence_numbers_begin_again_where_java_has_them_do_so(
    cluster: Cluster, producer: TransactionalProducer, write: Write
) -> None:
    producer._transactions._sequences[STATE] = 2**31 - 2
    cluster._sequences[STATE] = 2**31 - 2
    await write([], [entry(b"a"), entry(b"b"), entry(b"c")])
    assert producer._transactions._sequences[STATE] == 1


async def test_an_empty_write_asks_nothing(cluster: Cluster, write: Write) -> None:
    await write([], [])
    await write([], [])
    assert cluster.told == []


async def test_what_is_over_a_mebibyte_is_split_over_requests_and_every_batch_fits(
    cluster: Cluster, write: Write
) -> None:
    content = [bytes([number]) * 200_000 for number in range(12)]
    await write([event()], [entry(value) for value in content])
    assert cluster.told == ["AddPartitions", *["Produce"] * 3, "EndTransaction"]
    assert values(cluster, STATE) == content
    produced = [request for _, request in cluster.asked if isinstance(request, Produce)]
    assert all(len(batch) <= MIB for request in produced for batch in request.batches.values())


async def test_a_record_larger_than_a_batch_is_sent_and_never_left_out(cluster: Cluster, write: Write) -> None:
    await write([], [entry(b"small"), entry(b"x" * (MIB + 1)), entry(b"last")])
    assert [len(value or b"") for value in values(cluster, STATE)] == [5, MIB + 1, 4]


async def test_partitions_of_several_brokers_are_asked_at_once_and_the_commit_waits_for_all(
    cluster: Cluster, write: Write
) -> None:
    cluster.leaders[OUTCOMES] = 2
    answer = asyncio.Event()
    cluster.faults[Produce] = [answer]
    writing = asyncio.create_task(write([event()], [entry(b"e")]))
    while len(cluster.written) < 1:  # noqa: ASYNC110 - what is awaited is a state, not an event
        await asyncio.sleep(0)
    assert cluster.told == ["AddPartitions", "Produce", "Produce"]
    assert {node for node, request in cluster.asked if isinstance(request, Produce)} == {1, 2}
    answer.set()
    await writing
    assert cluster.told[-1] == "EndTransaction"
    assert len(cluster.written) == 2


# -- what ends it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [STATE, OUTCOMES])
@pytest.mark.parametrize(
    "error",
    [MessageSizeTooLargeError, OutOfOrderSequenceNumber, InvalidTxnState, InvalidProducerIdMapping, UnknownError],
)
async def test_a_failed_delivery_is_never_followed_by_a_commit(
    cluster: Cluster, write: Write, failing: TopicPartition, error: type[KafkaError]
) -> None:
    cluster.faults[Produce] = [{failing: error.errno}]
    with pytest.raises(error):
        await write([event()], [entry(b"e")])
    assert cluster.told == ["AddPartitions", "Produce"]


async def test_a_failure_on_one_broker_does_not_wait_for_another_and_leaves_nothing_behind(
    cluster: Cluster, write: Write
) -> None:
    cluster.leaders[OUTCOMES] = 2
    cluster.faults[Produce] = [asyncio.Event(), MessageSizeTooLargeError.errno]
    with pytest.raises(MessageSizeTooLargeError):
        await write([event()], [entry(b"e")])
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("request_type", [AddPartitions, Produce, EndTransaction])
async def test_an_older_epoch_is_fenced_whatever_it_asks(
    cluster: Cluster, write: Write, request_type: type[Request]
) -> None:
    cluster.faults[request_type] = [InvalidProducerEpoch.errno]
    with pytest.raises(ProducerFenced):
        await write([event()], [entry(b"e")])
    assert cluster.told[-1] == request_type.__name__
    assert not cluster.committed


@pytest.mark.parametrize("request_type", [AddPartitions, EndTransaction])
async def test_a_coordinator_that_knows_no_such_transaction_ends_it(
    cluster: Cluster, write: Write, request_type: type[Request]
) -> None:
    cluster.faults[request_type] = [InvalidTxnState.errno]
    with pytest.raises(InvalidTxnState):
        await write([event()], [entry(b"e")])


async def test_after_a_failure_nothing_is_written_any_more(cluster: Cluster, write: Write) -> None:
    cluster.faults[Produce] = [MessageSizeTooLargeError.errno]
    with pytest.raises(MessageSizeTooLargeError):
        await write([event()], [])
    asked = len(cluster.told)
    for content in ([event()], []):
        with pytest.raises(IllegalStateError):
            await write(content, [])
    assert len(cluster.told) == asked


async def test_what_hangs_is_given_up_and_not_committed(
    cluster: Cluster, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "_TIMEOUT", 0.01)
    cluster.faults[Produce] = [asyncio.Event()]
    with pytest.raises(TimeoutError):
        await write([event()], [entry(b"e")])
    assert cluster.told == ["AddPartitions", "Produce"]


async def test_what_fails_for_ever_is_given_up(cluster: Cluster, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "_TIMEOUT", 0.1)
    cluster.faults[Produce] = [NotEnoughReplicasError.errno] * 1_000
    with pytest.raises(TimeoutError):
        await write([event()], [entry(b"e")])
    assert not cluster.committed


# -- refusals, by name -------------------------------------------------------------------------------------------


async def test_refused_topics_are_named_and_those_not_tried_are_not(cluster: Cluster, write: Write) -> None:
    refused, not_tried = TopicAuthorizationFailedError.errno, OperationNotAttempted.errno
    cluster.faults[AddPartitions] = [{STATE: not_tried, OUTCOMES: refused}]
    with pytest.raises(NotAllowedError, match=r"^Write on topic 'outcomes' is not allowed[^;]*$"):
        await write([event()], [entry(b"e")])
    assert cluster.told == ["AddPartitions"]


async def test_a_topic_refused_by_its_broker_is_named(cluster: Cluster, write: Write) -> None:
    cluster.faults[Produce] = [{OUTCOMES: TopicAuthorizationFailedError.errno}]
    with pytest.raises(NotAllowedError, match="Write on topic 'outcomes' is not allowed"):
        await write([event()], [entry(b"e")])


async def test_a_topic_this_user_may_not_even_see_is_named(cluster: Cluster, write: Write) -> None:
    del cluster.topics["outcomes"]
    cluster.unauthorized_topics.add("outcomes")
    with pytest.raises(NotAllowedError, match="Write on topic 'outcomes' is not allowed"):
        await write([event()], [entry(b"e")])


@pytest.mark.parametrize("asking", ["lookup", "init"])
async def test_a_refused_transactional_id_is_named(
    cluster: Cluster, producer: TransactionalProducer, asking: str
) -> None:
    if asking == "lookup":
        cluster.refused_lookups = [TransactionalIdAuthorizationFailed()]
    else:
        cluster.faults[InitProducerId] = [TransactionalIdAuthorizationFailed.errno]
    with pytest.raises(NotAllowedError, match="Write on transactional id 'id' is not allowed"):
        await producer.start()


# -- what passes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        *(NotLeaderForPartitionError, UnknownTopicOrPartitionError, RequestTimedOutError),
        *(NotEnoughReplicasError, KafkaStorageError, CoordinatorLoadInProgressError),
    ],
)
@pytest.mark.usefixtures("slept")
async def test_only_the_partition_that_failed_is_asked_again_with_the_same_bytes_after_a_refresh(
    cluster: Cluster, write: Write, error: type[KafkaError]
) -> None:
    cluster.faults[Produce] = [{OUTCOMES: error.errno}, {OUTCOMES: error.errno}]
    await write([event()], [entry(b"e")])
    first, second, third = [request.batches for _, request in cluster.asked if isinstance(request, Produce)]
    assert first.keys() == {STATE, OUTCOMES}
    assert second == third == {OUTCOMES: first[OUTCOMES]}
    assert cluster.refreshed == 2
    assert [value for _, values, _ in cluster.written for value in values] == [b"e", b"v"]
    assert cluster.committed == 1


@pytest.mark.usefixtures("slept")
async def test_what_is_asked_again_goes_to_the_new_leader(cluster: Cluster, write: Write) -> None:
    async def moved() -> None:
        cluster.leaders[STATE] = 2

    cluster.force_metadata_update = moved  # type: ignore[method-assign]
    cluster.faults[Produce] = [NotLeaderForPartitionError.errno]
    await write([], [entry(b"e")])
    assert [node for node, request in cluster.asked if isinstance(request, Produce)] == [1, 2]


@pytest.mark.usefixtures("slept")
async def test_a_partition_without_a_leader_is_waited_for(cluster: Cluster, write: Write) -> None:
    cluster.leaders[STATE] = -1

    async def elected() -> None:
        cluster.leaders[STATE] = 2

    cluster.force_metadata_update = elected  # type: ignore[method-assign]
    await write([event()], [entry(b"e")])
    assert {place for place, _, _ in cluster.written} == {STATE, OUTCOMES}


@pytest.mark.usefixtures("slept")
async def test_what_an_answer_leaves_out_is_not_written(cluster: Cluster, write: Write) -> None:
    cluster.faults[Produce] = [{STATE: 0}]
    send = cluster.send

    async def forgetful(node: int, request: Request, *, group: int = 0) -> Any:
        answer = await send(node, request, group=group)
        return {STATE: 0} if isinstance(request, Produce) else answer

    cluster.send = forgetful  # type: ignore[method-assign]
    with pytest.raises(UnknownError):
        await write([event()], [entry(b"e")])


async def test_a_number_that_the_broker_has_is_written(cluster: Cluster, write: Write) -> None:
    cluster.faults[Produce] = [DuplicateSequenceNumber.errno]
    await write([event()], [entry(b"e")])
    assert cluster.told == ["AddPartitions", "Produce", "EndTransaction"]


@pytest.mark.parametrize(
    ("request_type", "error"),
    [
        *product([InitProducerId, AddPartitions, Produce], [KafkaConnectionError(), LOST, RequestTimedOutError()]),
        *product([InitProducerId, AddPartitions, Produce, EndTransaction], [NodeNotReadyError()]),
    ],
)
@pytest.mark.usefixtures("slept")
async def test_a_lost_connection_is_survived_and_nothing_is_written_twice(
    cluster: Cluster, producer: TransactionalProducer, request_type: type[Request], error: KafkaError
) -> None:
    cluster.faults[request_type] = [error, error]
    await producer.start()
    await producer.write([event()], [entry(b"e")])
    assert cluster.told.count(request_type.__name__) == 3
    assert [value for _, values, _ in cluster.written for value in values] == [b"e", b"v"]
    assert cluster.told[-1] == "EndTransaction"


@pytest.mark.parametrize("error", [KafkaConnectionError(), LOST, RequestTimedOutError(), CorrelationIdError()])
async def test_a_commit_without_an_answer_is_not_asked_for_again(
    cluster: Cluster, write: Write, error: KafkaError
) -> None:
    cluster.faults[EndTransaction] = [error]
    with pytest.raises(type(error)):
        await write([event()], [entry(b"e")])
    with pytest.raises(IllegalStateError):
        await write([event()], [entry(b"e")])
    assert cluster.told == ["AddPartitions", "Produce", "EndTransaction"]


@pytest.mark.parametrize("request_type", [InitProducerId, AddPartitions, EndTransaction])
@pytest.mark.parametrize("error", [NotCoordinatorError, CoordinatorNotAvailableError])
@pytest.mark.usefixtures("slept")
async def test_a_coordinator_that_moved_is_looked_up_again(
    cluster: Cluster, producer: TransactionalProducer, request_type: type[Request], error: type[KafkaError]
) -> None:
    cluster.coordinators = [1, 2]
    cluster.refused_lookups = [CoordinatorNotAvailableError()]
    cluster.faults[request_type] = [error.errno]
    await producer.start()
    await producer.write([event()], [entry(b"e")])
    assert [node for node, request in cluster.asked if type(request) is request_type] == [1, 2]
    assert cluster.committed == 1


@pytest.mark.parametrize("request_type", [InitProducerId, AddPartitions, EndTransaction])
async def test_a_coordinator_still_ending_the_last_transaction_is_asked_again_soon_and_ever_later(
    cluster: Cluster, producer: TransactionalProducer, slept: list[float], request_type: type[Request]
) -> None:
    cluster.faults[request_type] = [ConcurrentTransactions.errno] * 7
    await producer.start()
    await producer.write([event()], [entry(b"e")])
    assert slept == [0.001, 0.002, 0.004, 0.008, 0.016, 0.02, 0.02]
    assert slept[0] <= A_COMMIT / 2
    assert cluster.refreshed == 0


@pytest.mark.usefixtures("slept")
async def test_a_topic_just_made_is_waited_for(cluster: Cluster, write: Write) -> None:
    del cluster.topics["outcomes"]

    async def made() -> None:
        cluster.topics["outcomes"] = 3

    cluster.force_metadata_update = made  # type: ignore[method-assign]
    cluster.faults[AddPartitions] = [UnknownTopicOrPartitionError.errno]
    await write([event()], [entry(b"e")])
    assert cluster.committed == 1


@pytest.mark.usefixtures("slept")
async def test_a_trouble_is_told_once_for_each_write(
    cluster: Cluster, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        cluster.faults[Produce] = [NotEnoughReplicasError.errno] * 5
        await write([event()], [entry(b"e")])
    assert caplog.text.count("kafka_asked_again") == 2
