"""Transactions as the worker needs them: one writer, a commit known whole before it begins, and no way back.

On aiokafka's client: its metadata, connections, TLS and SASL. Not on its producer, whose queue, tasks and states for
all that a program may want take as much CPU again. What fails for a moment is asked again, as a producer must: with
the same sequence numbers, by which brokers know what they have. Whatever else happens ends the producer (rule 6), and
so does an `EndTransaction` without an answer: asked again, the first one could still arrive, and would then commit a
part of the next transaction. The successor's epoch keeps it out.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    CorrelationIdError,
    DuplicateSequenceNumber,
    IllegalStateError,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    NoError,
    OperationNotAttempted,
    ProducerFenced,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownError,
    for_code,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from worker.kafka.connection import Connection, stop_client
from worker.kafka.wire import AddPartitions, Begun, Codes, EndTransaction, Identity, InitProducerId, Produce, Request

if TYPE_CHECKING:
    from worker.kafka.producer import Message

# How soon the coordinator is asked again while it ends the last transaction, in seconds: at first, each time twice as
# late, and at last. A broker on the same machine is through in less than one millisecond, and a commit takes three.
BEGIN_AGAIN_AFTER = 0.001
_ASK_AGAIN_AFTER = 0.02
_SEQUENCES = 2**31
_UNANSWERED = (KafkaConnectionError, RequestTimedOutError, CorrelationIdError)

log = structlog.wrap_logger(logging.getLogger(__name__))


class Transactions:
    """Those of one transactional id, one at a time. Nothing here has a time limit, nor may anything follow an error."""

    def __init__(
        self,
        connection: Connection,
        transactional_id: str,
        *,
        batch_size: int,
        request_timeout_ms: int,
        transaction_timeout_ms: int,
    ) -> None:
        self._client = AIOKafkaClient(**connection.options(), request_timeout_ms=request_timeout_ms)
        self._batch_size = batch_size
        self._request_timeout_ms = request_timeout_ms
        self._init = InitProducerId(transactional_id, transaction_timeout_ms)
        self._identity = Identity(transactional_id, -1, -1)
        self._coordinator: int | None = None
        self._sequences: dict[TopicPartition, int] = {}
        self._ready = False
        self._said: str | None = None

    async def start(self) -> None:
        """Fences every earlier producer of the id."""
        await self._client.bootstrap()
        begun = await self._ask_coordinator(self._init)
        self._identity = Identity(self._init.transactional_id, begun.producer_id, begun.epoch)
        self._ready = True

    async def close(self) -> None:
        """Leaves a transaction that failed as it is: the next producer of the id ends it, or its timeout does."""
        self._ready = False
        await stop_client(self._client)

    async def partitions_for(self, topic: str) -> int:
        """How many the topic has."""
        cluster = self._client.cluster
        while (partitions := cluster.partitions_for_topic(topic)) is None:
            if topic in cluster.unauthorized_topics:
                raise TopicAuthorizationFailedError(topic)
            self._client.add_topic(topic)
            await self._refresh()
        return len(partitions)

    async def write(self, messages: Mapping[TopicPartition, Sequence["Message"]]) -> None:
        """All of them, in one transaction. When it raises, they may be committed whole, and else will not be."""
        if not self._ready:
            raise IllegalStateError("This producer was not started, has failed, or is writing.")
        self._ready, self._said = False, None
        if messages:
            await self._ask_coordinator(AddPartitions(self._identity, messages))
            await self._deliver({place: self._batches(place, of_place) for place, of_place in messages.items()})
            await self._ask_coordinator(EndTransaction(self._identity))
        self._ready = True

    # -- records ------------------------------------------------------------------------------------------------

    def _batches(self, place: TopicPartition, messages: Iterable["Message"]) -> list[bytes]:
        """The last first."""
        batches: list[bytes] = []
        batch, count = self._batch(place), 0
        for message in messages:
            if not _append(batch, count, message):
                batches.append(self._built(batch, place, count))
                batch, count = self._batch(place), 0
                _append(batch, count, message)
            count += 1
        batches.append(self._built(batch, place, count))
        return batches[::-1]

    def _batch(self, place: TopicPartition) -> Any:
        _, producer_id, epoch = self._identity
        return DefaultRecordBatchBuilder(
            magic=2,
            compression_type=0,
            is_transactional=True,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=self._sequences.get(place, 0),
            batch_size=self._batch_size,
        )

    def _built(self, batch: Any, place: TopicPartition, count: int) -> bytes:
        self._sequences[place] = (self._sequences.get(place, 0) + count) % _SEQUENCES
        built: bytes = batch.build()
        return built

    async def _deliver(self, batches: dict[TopicPartition, list[bytes]]) -> None:
        """One batch of each partition at a time, and those of one broker in one request."""
        while batches:
            leaders: dict[int, dict[TopicPartition, bytes]] = {}
            for place, left in batches.items():
                leader = self._client.cluster.leader_for_partition(place)
                if leader is not None and leader != -1:
                    leaders.setdefault(leader, {})[place] = left[-1]
            asked = [self._produce(leader, next_ones) for leader, next_ones in leaders.items()]
            written = [place for places in await _all(asked) for place in places]
            for place in written:
                batches[place].pop()
                if not batches[place]:
                    del batches[place]
            if not asked:
                await self._refresh()

    async def _produce(self, leader: int, batches: dict[TopicPartition, bytes]) -> list[TopicPartition]:
        """Those of them that are written; of the rest, another time may be better."""
        try:
            codes: Codes = await self._client.send(leader, Produce(self._identity, batches, self._request_timeout_ms))
        except KafkaError as error:
            await self._wait(Produce, error)
            return []
        found = {place: for_code(codes.get(place, UnknownError.errno)) for place in batches}
        failed = {place: kind for place, kind in found.items() if kind not in (NoError, DuplicateSequenceNumber)}
        for place, kind in failed.items():
            if kind is TopicAuthorizationFailedError:
                raise kind(place.topic)
            if not kind.retriable:
                raise ProducerFenced if kind is InvalidProducerEpoch else kind
        if failed:
            await self._wait(Produce, next(iter(failed.values()))())
        return [place for place in found if place not in failed]

    # -- the coordinator ----------------------------------------------------------------------------------------

    async def _ask_coordinator(self, request: Request) -> Any:
        """The answer, once the coordinator is there, and has ended what was before."""
        pause = BEGIN_AGAIN_AFTER
        while True:
            try:
                if self._coordinator is None:
                    self._coordinator = await self._client.coordinator_lookup(
                        CoordinationType.TRANSACTION, self._identity.transactional_id
                    )
                answer = await self._client.send(self._coordinator, request, group=ConnectionGroup.COORDINATION)
                self._check(answer)
                return answer
            except ConcurrentTransactions:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _ASK_AGAIN_AFTER)
            except InvalidProducerEpoch:
                raise ProducerFenced from None
            except TransactionalIdAuthorizationFailed:
                raise TransactionalIdAuthorizationFailed(self._identity.transactional_id) from None
            except KafkaError as error:
                if isinstance(request, EndTransaction) and isinstance(error, _UNANSWERED):
                    raise
                await self._wait(type(request), error)
                self._coordinator = None

    def _check(self, answer: Codes | Begun | int) -> None:
        code = answer.code if isinstance(answer, Begun) else answer
        codes = code.values() if isinstance(code, dict) else [code]
        errors = [for_code(each) for each in codes if each]
        if isinstance(code, dict) and TopicAuthorizationFailedError in errors:
            refused = TopicAuthorizationFailedError.errno
            raise TopicAuthorizationFailedError({place.topic for place, each in code.items() if each == refused})
        if errors:  # of those that were tried, if there is one
            raise next((error for error in errors if error is not OperationNotAttempted), OperationNotAttempted)

    # -- what passes --------------------------------------------------------------------------------------------

    async def _wait(self, request: type[Request], error: KafkaError) -> None:
        """Before it is asked again, if that may help: else raises the error."""
        if not error.retriable:
            raise error
        why = str(error) or type(error).__name__
        if why != self._said:
            self._said = why
            log.warning("kafka_asked_again", request=request.__name__, why=why)
        await self._refresh()

    async def _refresh(self) -> None:
        await asyncio.sleep(_ASK_AGAIN_AFTER)
        await self._client.force_metadata_update()


def _append(batch: Any, number: int, message: "Message") -> bool:
    """False: the batch is full. Whatever its size, the first one fits."""
    appended = batch.append(number, None, message.key, message.value, list(message.headers))
    return appended is not None


async def _all(calls: Sequence[Awaitable[list[TopicPartition]]]) -> Sequence[list[TopicPartition]]:
    """What each gives; when one raises, the others are cancelled."""
    if len(calls) == 1:
        return [await calls[0]]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
