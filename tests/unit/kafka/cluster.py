"""A cluster that answers what transactions ask, in place of aiokafka's client. A test decides what goes wrong."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.record.memory_records import MemoryRecords

from worker.kafka.wire import AddPartitions, Begun, Codes, EndTransaction, Identity, InitProducerId, Produce, Request

Fault: TypeAlias = int | Codes | Exception | asyncio.Event
"""A code for all or for some partitions, an error, or that the answer waits."""

LOST: Exception = KafkaConnectionError("the answer was lost")
"""It comes after what was asked is done; other errors come before."""


class Cluster:
    """Two brokers. `told` are the requests, `written` each batch once: its place, values and sequence number."""

    unauthorized_topics: set[str]

    def __init__(self) -> None:
        self.cluster = self
        self.told: list[str] = []
        self.asked: list[tuple[int, Request]] = []
        self.written: list[tuple[TopicPartition, list[bytes | None], int]] = []
        self.committed = 0
        self.faults: dict[type[Request], list[Fault]] = defaultdict(list)
        self.leaders: dict[TopicPartition, int] = {}
        self.coordinators = [1]
        self.refused_lookups: list[Exception] = []
        self.topics: dict[str, int] = {"state": 4, "outcomes": 3, "dead": 1}
        self.unauthorized_topics = set()
        self.refreshed = 0
        self._sequences: dict[TopicPartition, int] = defaultdict(int)

    # -- aiokafka's client --------------------------------------------------------------------------------------

    async def bootstrap(self) -> None: ...

    async def close(self) -> None: ...

    def add_topic(self, topic: str) -> None: ...

    async def force_metadata_update(self) -> None:
        self.refreshed += 1
        await asyncio.sleep(0)

    async def coordinator_lookup(self, kind: int, name: str) -> int:
        if self.refused_lookups:
            raise self.refused_lookups.pop(0)
        return self.coordinators.pop(0) if len(self.coordinators) > 1 else self.coordinators[0]

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.topics[topic])) if topic in self.topics else None

    def leader_for_partition(self, place: TopicPartition) -> int:
        return self.leaders.get(place, 1)

    async def send(self, node: int, request: Request, *, group: int = 0) -> Any:
        self.told.append(type(request).__name__)
        self.asked.append((node, request))
        faults = self.faults[type(request)]
        fault = faults.pop(0) if faults else None
        await asyncio.sleep(0)
        if isinstance(fault, asyncio.Event):
            await fault.wait()
        if isinstance(fault, Exception) and fault is not LOST:
            raise fault
        answer = self._answer(request, fault if isinstance(fault, int | dict) else 0)
        if fault is LOST:
            raise LOST
        return answer

    # -- what brokers do ----------------------------------------------------------------------------------------

    def _answer(self, request: Request, fault: int | Codes) -> Any:
        match request:
            case InitProducerId():
                return Begun(fault, -1, -1) if isinstance(fault, int) and fault else Begun(0, 4711, 3)
            case AddPartitions():
                return _codes(dict.fromkeys(request.places), fault)
            case Produce():
                codes = _codes(request.batches, fault)
                for place, batch in request.batches.items():
                    if codes.get(place) == 0:
                        self._append(place, bytes(batch), request.identity)
                return codes
            case EndTransaction():
                self.committed += not fault
                return fault

    def _append(self, place: TopicPartition, content: bytes, identity: Identity) -> None:
        batch = MemoryRecords(content).next_batch()
        assert batch is not None
        assert batch.validate_crc()
        assert batch.is_transactional
        assert (batch.producer_id, batch.producer_epoch) == identity[1:]
        values = [record.value for record in batch]
        if batch.base_sequence == self._sequences[place] - len(values) and self.written:
            return  # it is there
        assert batch.base_sequence == self._sequences[place]
        self._sequences[place] += len(values)
        self.written.append((place, values, batch.base_sequence))


def _codes(places: Mapping[TopicPartition, Any], fault: int | Codes) -> Codes:
    return {**dict.fromkeys(places, 0), **fault} if isinstance(fault, dict) else dict.fromkeys(places, fault)
