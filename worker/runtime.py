"""Builds the parts, runs them, and stops them in order."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiokafka.errors import KafkaError

from worker import __version__
from worker.clock import Clock
from worker.dintero.api import Api
from worker.dintero.transport import build_transport
from worker.domain.partition import Partition
from worker.engine import Engine
from worker.kafka import topics as kafka_topics
from worker.kafka.commit import LedgerCommitter
from worker.kafka.connection import naming, unless, within
from worker.kafka.group import SESSION_TIMEOUT, Group
from worker.kafka.producer import partition_producer
from worker.kafka.restore import restore
from worker.settings import Settings, SettingsError, accounts
from worker.supervisor import Supervisor
from worker.telemetry import export
from worker.telemetry.metrics import Metrics
from worker.telemetry.recent import Recent
from worker.telemetry.tracing import build_tracing
from worker.view import WorkerView

log = structlog.wrap_logger(logging.getLogger(__name__))

# Restores at once: each fills a fetch buffer.
_RESTORES = 4
# Entries taken up in one step of the loop: about 1 ms.
_TAKE_UP_AT_ONCE = 250
# Seconds by which clocks may differ before it is worth a line.
_AHEAD = 60.0
# Of the shutdown timeout, the part that answers in flight get; the rest is for closing what may hang.
_DRAIN_SHARE = 0.6
# What closing the Kafka clients may take after that.
_CUT_OFF = 10.0
# What stopping has left for the API's connections and for telemetry, each, once the partitions are settled.
_CLOSE = 2.0


class Runtime:
    """One worker, as a guest of its event loop: signals, logging and the HTTP server belong to whoever runs it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # First what may be refused: metrics and tracing start threads, which would be left behind.
        credentials = accounts(settings)
        try:
            self._transport = build_transport(
                settings.dintero_transport,
                request_timeout=settings.dintero_request_timeout,
                ca_file=settings.dintero_ssl_cafile,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from None
        self._stopping = asyncio.Event()
        self.verified = asyncio.Event()
        self._partitions = 0
        self._restores = asyncio.Semaphore(_RESTORES)
        # To decode or take up a ledger: all at once they would hold the loop four times as long in each of its rounds.
        self._turn = asyncio.Lock()
        self._recent = Recent()
        topics, group = settings.topics, settings.kafka_group_id
        resource = export.resource(__version__)
        self._metrics = Metrics(
            resource,
            requests_topic=topics.requests,
            outcomes_topic=topics.outcomes,
            dead_letters_topic=topics.dead_letters,
            group_id=group,
            api_url=settings.dintero_base_url,
        )
        self._tracing = build_tracing(
            resource,
            requests_topic=topics.requests,
            outcomes_topic=topics.outcomes,
            group_id=group,
            event_source=settings.worker_event_source,
        )
        self._api = Api(
            credentials,
            base_url=settings.dintero_base_url,
            transport=self._transport,
            request_timeout=settings.dintero_request_timeout,
            max_in_flight=settings.dintero_max_in_flight,
            max_requests_per_second=settings.dintero_max_requests_per_second,
            tracing=self._tracing,
            metrics=self._metrics,
        )
        self._reader = settings.reader
        self._group = Group(
            settings.connection,
            topic=topics.requests,
            group_id=group,
            supervise=self._supervise,
            drain_timeout=settings.worker_shutdown_timeout * _DRAIN_SHARE,
            metrics=self._metrics,
        )
        self.view = WorkerView(settings, group=self._group, api=self._api, metrics=self._metrics, recent=self._recent)

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `stop`, and until what is in flight is settled. Waits for brokers that are away as long as it takes.

        `verified` is set once the topics are fit to run on; TopicsError is raised when they are not.
        """
        if await self._verify_topics():
            self.verified.set()
            await self._run_group()

    def stop(self) -> None:
        """Ask `run` to take nothing more in, settle and return. Harmless before `run`, or twice."""
        self._stopping.set()
        self._group.stop()

    async def _run_group(self) -> None:
        """Until it has drained after a stop, or the time for that is over."""
        group = asyncio.create_task(self._group.run(), name="group")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        try:
            await asyncio.wait([group, stopping], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([group], timeout=self._settings.worker_shutdown_timeout)
            if not group.done():
                log.warning("shutdown_cut_off", after_s=self._settings.worker_shutdown_timeout)
        finally:
            stopping.cancel()
            if not group.done():
                group.cancel()
                await asyncio.wait([group], timeout=_CUT_OFF)
        if group.done() and not group.cancelled():
            group.result()

    async def _verify_topics(self) -> bool:
        """Wait for brokers as long as it takes; False when asked to stop meanwhile."""
        began = time.monotonic()
        said = False
        while not self._stopping.is_set():
            try:
                verifying = kafka_topics.verify(self._settings.connection, self._settings.topics)
                verified = await unless(self._stopping, verifying)
                if said and verified:
                    log.info("brokers_reachable", seconds=round(time.monotonic() - began, 1))
                self._partitions = verified or 0
                self._group.error = None
                return verified is not None
            except (KafkaError, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                self._group.error = f"no answer from {self._settings.kafka_bootstrap_servers}: {why}"
                if not said:
                    log.warning("brokers_unreachable", why=why, retrying="every second")
                said = True
                await within(1.0, self._stopping.wait())
        return False

    async def aclose(self) -> None:
        """Closes what was opened when it was made. After `run`, also when that never ran."""
        await self._api.aclose(_CLOSE)
        await within(_CLOSE, self._transport.aclose())
        await self._tracing.stop(_CLOSE)
        await self._metrics.stop(_CLOSE)

    # -- partitions ---------------------------------------------------------------------------------------------

    def _supervise(self, number: int, changed: Callable[[], None]) -> Supervisor:
        def changed_here() -> None:
            self._api.share(max(1, len(self._group.supervisors)) / max(1, self._partitions))
            changed()

        return Supervisor(number, opener=self._open, changed=changed_here, failed=self._metrics.engine_failure)

    @asynccontextmanager
    async def _open(self, number: int) -> AsyncIterator[Engine]:
        """Fence, restore, build; in this order (rule 5). Leaving throws the producer away."""
        settings = self._settings
        producer = partition_producer(
            settings.connection,
            settings.worker_delivery,
            group=settings.kafka_group_id,
            topic=settings.kafka_requests_topic,
            partition=number,
        )
        try:
            async with self._restores:
                began = time.monotonic()
                await producer.start()
                partition, clock = await self._restore(number, began)
            yield Engine(
                number,
                partition,
                committer=LedgerCommitter(
                    number,
                    producer=producer,
                    topics=settings.topics,
                    group=settings.kafka_group_id,
                    source=settings.worker_event_source,
                    tracing=self._tracing,
                    metrics=self._metrics,
                ),
                api=self._api,
                reader=self._reader,
                clock=clock,
                proof_age=SESSION_TIMEOUT / 2,
                tracing=self._tracing,
                metrics=self._metrics,
                recent=self._recent,
            )
        finally:
            await producer.close()

    async def _restore(self, number: int, began: float) -> tuple[Partition, Clock]:
        """A partition as its ledger has it, and a clock that is not behind that. Timed from `began` on."""
        settings = self._settings
        with naming("Read"):
            restored = await restore(
                settings.connection,
                settings.topics,
                number,
                group=settings.kafka_group_id,
                start_at_end=settings.kafka_auto_offset_reset == "latest",
                turn=self._turn,
            )
        clock = Clock()
        clock.not_before(restored.position.time)
        partition = Partition(settings.policy, random.random, restored.position)
        async with self._turn:
            taking_up = partition.restore(restored.entries, restored.finished, clock.now())
            for taken_up, _ in enumerate(taking_up, 1):
                if taken_up % _TAKE_UP_AT_ONCE == 0:
                    await asyncio.sleep(0)
        ahead = restored.position.time / 1000 - time.time()
        if ahead > _AHEAD:
            # Time never goes back, so what a wrong clock wrote counts here too: requests expire so much too early.
            log.warning("ledger_ahead_of_clock", partition=number, seconds=round(ahead))
        if restored.lost:
            log.error("requests_lost_to_retention", partition=number, records=restored.lost)
        seconds = time.monotonic() - began
        self._metrics.restored(seconds, restored.records)
        log.info(
            "partition_restored",
            partition=number,
            position=restored.position.offset,
            unfinished=partition.backlog,
            records=restored.records,
            seconds=round(seconds, 3),
        )
        return partition, clock
