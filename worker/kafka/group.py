"""Group membership: which input partitions are ours, and feeding their engines.

aiokafka rebalances eagerly: every partition is revoked and assigned anew, losing its position and pause flag, also
those that stay. So what a partition needs from the consumer is derived, never remembered: `_steer` compares what the
consumer does with what the engine can take, and is called whenever either may have changed.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from worker.domain.request import Record
from worker.engine import Engine
from worker.kafka.connection import Connection, naming, rotated, stop_client, unless, within
from worker.kafka.records import UnreadableError, tolerate_bad_records
from worker.supervisor import Supervisor
from worker.telemetry.metrics import Metrics

log = structlog.wrap_logger(logging.getLogger(__name__))

SESSION_TIMEOUT = 10.0
_REBALANCE_TIMEOUT_MS = 10_000
# The longest answer waited for is a rebalance's. A connection that died without a word is noticed only after it.
_REQUEST_TIMEOUT_MS = _REBALANCE_TIMEOUT_MS + 5_000
_POLL_MS = 200
_POLL_RECORDS = 500
# A thousand requests. A fetch is in memory three times over while it comes in, and that memory does not come back.
_FETCH_BYTES = 262_144
_OFFSETS_EVERY = 1.0
# How long a rebalance waits for answers in flight, so that the next owner of a partition asks nothing twice.
_SETTLE = 2.0
# A rebalance that takes longer waits for a member that is gone, and gives our partitions to nobody meanwhile: work on.
_PATIENCE = 3.0

SuperviseFn = Callable[[int, Callable[[], None]], Supervisor]


class Group(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of the consumer group, for as long as `run` runs."""

    def __init__(
        self,
        connection: Connection,
        *,
        topic: str,
        group_id: str,
        supervise: SuperviseFn,
        drain_timeout: float,
        metrics: Metrics,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._group_id = group_id
        self._supervise = supervise
        self._drain_timeout = drain_timeout
        self._metrics = metrics
        self._consumer: Any = None
        self._sought: dict[int, Engine] = {}
        self._offsets: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._parked: BaseException | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._leaving = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None
        self.supervisors: dict[int, Supervisor] = {}
        self.joined = False
        self.error: str | None = None

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Be a member until `stop`. A consumer that fails is replaced; the worker never ends for it."""
        failures = 0
        said: str | None = None
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                with naming("Read"):
                    await self._member()
                continue  # stopped, or with other credentials from now on
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task and task.cancelling():
                    raise
                self.error = "the consumer was cancelled from within"  # trap T7
            except Exception as error:  # noqa: BLE001 - whatever ended this consumer, the next one starts afresh
                self.error = f"{type(error).__name__}: {str(error)[:200]}"
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began > 60 else failures + 1
            delay = min(30.0, 0.5 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0)
            if failures == 1 or self.error != said:  # one line for each change, however long brokers stay away
                log.warning("consumer_ended", why=self.error, joining_again_in_s=round(delay, 1))
            said = self.error
            await within(delay, self._stopping.wait())

    def stop(self) -> None:
        """Ask `run` to return: it takes no more records in, drains, and leaves the group."""
        self._stopping.set()
        self._leaving.set()

    async def settle(self, timeout: float) -> None:
        """No new creates; wait for the answers in flight and commit them, and the group offsets."""
        for supervisor in self.supervisors.values():
            supervisor.suspend()
        engines = [supervisor.engine for supervisor in self.supervisors.values() if supervisor.engine]
        await asyncio.gather(*(engine.settle(timeout) for engine in engines))
        await self._commit_offsets()

    async def _member(self) -> None:
        self._parked = None
        self._leaving = leaving = asyncio.Event()
        credentials = self._connection.credentials()
        self._consumer = consumer = self._new_consumer()
        offsets = asyncio.create_task(self._commit_offsets_regularly())
        # aiokafka's clients keep what they were built with: all are built anew, also the producers of the engines.
        rotation = asyncio.create_task(rotated(self._connection, credentials))
        rotation.add_done_callback(lambda _: leaving.set())
        try:
            consumer.subscribe([self._topic], listener=self)
            # It waits for an assignment without limit; and a rebalance holds the fetch until it ends, which with the
            # brokers away is never (trap T9): a stop must not wait with it.
            await unless(leaving, self._poll_on(consumer))
            await self.settle(self._drain_timeout)
        finally:
            self.joined = False
            offsets.cancel()
            rotation.cancel()
            self._end_patience()
            try:
                await asyncio.gather(self._close_all(self.supervisors.values()), *self._closing)
            finally:  # also when cut off: a consumer left behind would stay a member, and keep its partitions from all
                self.supervisors.clear()
                self._sought.clear()
                self._offsets.clear()
                await stop_client(consumer)

    def _new_consumer(self) -> Any:
        tolerate_bad_records()
        return AIOKafkaConsumer(
            **self._connection.options(),
            group_id=self._group_id,
            # The ledger's position decides where to read, never the consumer (rule 4).
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=int(SESSION_TIMEOUT * 1000),
            heartbeat_interval_ms=1_000,  # how soon the others hear of a rebalance
            rebalance_timeout_ms=_REBALANCE_TIMEOUT_MS,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            fetch_max_wait_ms=100,  # resume() and seek() wait for the fetch in flight
            max_partition_fetch_bytes=_FETCH_BYTES,
            metadata_max_age_ms=30_000,  # how soon a topic that came back, or has more partitions, is noticed
        )

    async def _poll_on(self, consumer: Any) -> None:
        await consumer.start()
        self.error = None
        while True:
            await self._poll(consumer)

    async def _poll(self, consumer: Any) -> None:
        """Hand over what has come. There is no await between the fetch and the engines, so no rebalance either."""
        if self._parked:
            raise self._parked
        began = time.monotonic()
        failure: str | None = None
        try:
            # With a timeout; cancelled only to leave: a cancelled fetch disables max.poll.interval for good (trap T14).
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError, UnreadableError) as error:
            failure = type(error).__name__
            self._reread(error)
            return
        finally:
            self._metrics.client_operation("poll", failure, time.monotonic() - began)
        for tp, records in batches.items():
            self._hand_over(tp.partition, records)
        self._steer_all()

    def _hand_over(self, number: int, records: Any) -> None:
        supervisor = self.supervisors.get(number)
        engine = supervisor.engine if supervisor else None
        if engine is None or self._sought.get(number) is not engine:
            return  # read before this engine said where to begin: it will be read again
        self._metrics.consumed(len(records))
        engine.accept([Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records])

    def _reread(self, error: Exception) -> None:
        """A partition's offset is not there, or what it holds unreadable. One that we sought for must restore."""
        why = str(error) if isinstance(error, UnreadableError) else "the offset to read from is not in the topic"
        named = error.args[0] if error.args else ()
        for tp in [named] if isinstance(named, TopicPartition) else list(named):
            if tp.partition in self._sought:
                self.supervisors[tp.partition].reopen(why)
        self._sought.clear()  # records drained from other partitions are lost with the error (trap T8)
        self._steer_all()

    # -- rebalances: called by aiokafka's coordination task. Nothing may leak from here (trap T7) ---------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            if self.supervisors:
                await within(_SETTLE + 1.0, self.settle(_SETTLE))
            self._sought.clear()  # what may come before the next assignment is read from wherever it pleases
            self._end_patience()  # a rebalance may begin again before it has ended
            self._patience = asyncio.get_running_loop().call_later(_PATIENCE, self._resume)
        except BaseException as error:  # noqa: BLE001
            self._parked = error

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        # First, in one step: the fetcher has begun already, from wherever it pleases (trap T3).
        assigned = list(assigned)
        try:
            self._end_patience()
            self._consumer.pause(*assigned)
            for tp in assigned:
                self._consumer.seek(tp, 0)
            self._sought.clear()
            self._assign({tp.partition for tp in assigned})
        except BaseException as error:  # noqa: BLE001
            self._parked = error

    def _assign(self, numbers: set[int]) -> None:
        lost = [self.supervisors.pop(number) for number in set(self.supervisors) - numbers]
        if lost:
            for supervisor in lost:
                supervisor.cancel()
            closing = asyncio.create_task(self._close_all(lost))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._resume()
        if self._leaving.is_set():
            numbers = set(self.supervisors)  # what is new goes to the next owner, untouched
        for number in numbers - set(self.supervisors):
            self.supervisors[number] = self._supervise(number, self._steer_all)
        self._offsets.clear()
        self.joined = True
        log.info("partitions_assigned", partitions=sorted(numbers), lost=sorted(s.number for s in lost))
        self._steer_all()

    def _end_patience(self) -> None:
        if self._patience:
            self._patience.cancel()

    def _resume(self) -> None:
        if self._leaving.is_set():
            return  # draining: a rebalance meanwhile must not begin new creates
        for supervisor in self.supervisors.values():
            supervisor.resume()

    async def _close_all(self, supervisors: Iterable[Supervisor]) -> None:
        await asyncio.gather(*(supervisor.close() for supervisor in supervisors))

    # -- steering -----------------------------------------------------------------------------------------------

    def _steer_all(self) -> None:
        for number, supervisor in self.supervisors.items():
            with contextlib.suppress(IllegalStateError):  # not assigned just now: the next assignment steers again
                self._steer(TopicPartition(self._topic, number), supervisor.engine)

    def _steer(self, tp: TopicPartition, engine: Engine | None) -> None:
        """Read a partition exactly while its engine can take more, from where that engine stands."""
        paused = tp in self._consumer.paused()
        if engine is None or engine.partition.full or engine.partition.crowded:
            if not paused:
                self._consumer.pause(tp)
            return
        if self._sought.get(tp.partition) is not engine:
            self._consumer.seek(tp, engine.partition.position.offset)
            self._sought[tp.partition] = engine
        if paused:
            self._consumer.resume(tp)

    # -- group offsets: for lag and scaling only ----------------------------------------------------------------

    async def _commit_offsets_regularly(self) -> None:
        while True:
            await asyncio.sleep(_OFFSETS_EVERY)
            await within(10.0, self._commit_offsets())
            await within(5.0, self._look_at_full())

    async def _look_at_full(self) -> None:
        """A full partition is not fetched, and what the last fetch said of its end grows old while its lag grows."""
        engines = [(number, supervisor.engine) for number, supervisor in self.supervisors.items()]
        full = [TopicPartition(self._topic, number) for number, engine in engines if engine and engine.partition.full]
        self._ends = await self._consumer.end_offsets(full) if full else {}

    async def _commit_offsets(self) -> None:
        """Tell the group how far the ledgers are. A failure costs nothing: the next one tells again."""
        consumer = self._consumer
        offsets: dict[TopicPartition, int] = {}
        for number, engine in list(self._sought.items()):
            if not engine.in_ledger:
                continue  # a group offset without a position means a lost ledger, and halts the next owner (rule 4)
            tp = TopicPartition(self._topic, number)
            offset = engine.partition.committed_position.offset
            if not engine.partition.dirty:
                # Behind the control markers of a transactional producer, or lag would stay at 1 for ever.
                with contextlib.suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(1.0):
                        offset = max(offset, await consumer.position(tp))
            if self._offsets.get(tp) != offset:
                offsets[tp] = offset
        if offsets:
            began = time.monotonic()
            committed = await within(5.0, consumer.commit(offsets))
            failure = None if committed else "not_committed"
            self._metrics.client_operation("commit", failure, time.monotonic() - began)
            if committed:
                self._offsets.update(offsets)

    def lag(self, number: int) -> int | None:
        """Records not yet accepted, as of about a second ago at most; None while nothing was fetched."""
        supervisor = self.supervisors.get(number)
        if supervisor is None or supervisor.engine is None:
            return None
        with contextlib.suppress(IllegalStateError):
            tp = TopicPartition(self._topic, number)
            known = self._consumer.last_stable_offset(tp), self._ends.get(tp)
            end = max((end for end in known if end is not None), default=-1)
            if end >= 0:
                return int(max(0, end - supervisor.engine.partition.committed_position.offset))
        return None
