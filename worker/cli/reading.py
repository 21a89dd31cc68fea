"""Topics, read as a person asks: committed records only, each partition up to where it ended when the reading began."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from worker.cli import common
from worker.cli.topic_reader import STALLED, open_consumer, partition_count, patience, starts
from worker.kafka.connection import Connection
from worker.kafka.topics import TopicsError
from worker.settings import Settings

_Result = TypeVar("_Result")


def run(settings: Settings, work: Coroutine[Any, Any, _Result]) -> _Result:
    """What the work gives; a failure of the brokers ends the command with its reason.

    The libraries' logs are not shown meanwhile: they repeat the reason, at length and more than once.
    """
    logging.disable(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except BrokenPipeError:
        raise  # whoever read our output has gone: not the brokers' doing
    except TopicsError as error:
        common.fail(str(error))
    except (KafkaError, OSError, TimeoutError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        common.fail(f"no answer from {settings.kafka_bootstrap_servers}: {why}; `terminal-worker check` finds out why")
    finally:
        logging.disable(logging.NOTSET)


class Topics:
    """Made by `opened`. A scan holds one fetch at a time, whatever the topic's size; one scan at a time."""

    def __init__(self, consumer: Any, connection: Connection) -> None:
        self._consumer = consumer
        self._connection = connection

    async def partitions(self, topic: str) -> range:
        """Raises TopicsError when the topic does not exist."""
        return range(await partition_count(self._connection, topic))

    async def scan(
        self, topic: str, partitions: Sequence[int] | None = None, *, since: int | None = None
    ) -> AsyncIterator[Any]:
        """The committed records of a topic, in the order of each partition; those from `since` (milliseconds) on."""
        numbers = await self.partitions(topic) if partitions is None else partitions
        tps = [TopicPartition(topic, number) for number in numbers]
        self._consumer.assign(tps)
        first, ends = await self.bounds(tps)
        if since is not None:
            async with patience():
                first = await starts(self._consumer, tps, since)
        async for record in self._read(first, ends):
            yield record

    async def at(self, topic: str, partition: int, offset: int) -> Any | None:
        """The record at an offset; None when there is none."""
        tp = TopicPartition(topic, partition)
        if partition not in await self.partitions(topic):
            return None
        self._consumer.assign([tp])
        first, ends = await self.bounds([tp])
        if first[tp] <= offset < ends[tp]:
            async for record in self._read({tp: offset}, {tp: offset + 1}):
                return record
        return None

    async def bounds(
        self, tps: Sequence[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """The first offset of each partition, and the end of what is committed."""
        async with patience():
            return await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)

    async def _read(
        self, first: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[Any]:
        at = {tp: offset for tp, offset in first.items() if offset < ends[tp]}
        for tp in first:
            self._consumer.seek(tp, first[tp])
            if tp not in at:
                self._consumer.pause(tp)
        loop = asyncio.get_running_loop()
        progressed = loop.time()
        # Until the position, not until "no more records": control markers and compacted gaps hold no records.
        while at:
            batches = await self._consumer.getmany(*at, timeout_ms=200, max_records=1_000)
            for tp, records in batches.items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
            for tp in list(at):
                reached = await self._consumer.position(tp)
                if reached > at[tp]:
                    at[tp], progressed = reached, loop.time()
                if reached >= ends[tp]:
                    del at[tp]
                    self._consumer.pause(tp)
            if loop.time() - progressed > STALLED:
                stuck = next(iter(at))
                raise TimeoutError(f"no answer for partition {stuck.partition} of {stuck.topic!r} at {at[stuck]}")


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Topics]:
    """The topics of these brokers, to be read without joining a group."""
    async with open_consumer(settings.connection) as consumer:
        yield Topics(consumer, settings.connection)
