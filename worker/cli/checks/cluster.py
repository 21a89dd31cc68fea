"""A session with the cluster that shows each error as it is; aiokafka's own clients would retry or hide it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import BrokerResponseError, KafkaError, NoError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
)

from worker.kafka.connection import Connection, stop_client

_TIMEOUT = 15.0
_PAUSE = 0.2
_READ_UNCOMMITTED = 0


class Cluster:
    """Each call gives the broker's own error, as aiokafka's class for it, or None. Raises KafkaError, TimeoutError."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def addresses(self) -> list[tuple[str, int]]:
        """Of every broker, as the cluster tells clients."""
        return [(broker.host, broker.port) for broker in self._client.cluster.brokers()]

    async def read(self, topic: str) -> type[KafkaError] | None:
        """Fetches at the start of a partition. Needs Read; an offset that is gone is no refusal."""
        request = FetchRequest(0, 0, 1, _READ_UNCOMMITTED, [(topic, [(0, 0, 1)])])
        async with asyncio.timeout(_TIMEOUT):
            await self._client.set_topics([topic])
            leader = self._client.cluster.leader_for_partition(TopicPartition(topic, 0))
            response = await self._client.send(leader, request)
        return _error(response.topics[0][1][0][1])

    async def join(self, group: str) -> type[KafkaError] | None:
        """A heartbeat of a member that does not exist. Needs Read on the group, and changes nothing there."""
        try:
            node = await self._coordinator(CoordinationType.GROUP, group)
        except BrokerResponseError as error:
            return type(error)
        response = await self._client.send(node, HeartbeatRequest(group, -1, "nobody"))
        return _error(response.error_code)

    async def write(
        self, transactional_id: str, topics: list[str]
    ) -> tuple[type[KafkaError] | None, dict[str, type[KafkaError] | None]]:
        """The errors of a transaction, and of each topic in it: a partition of each is added, then it is aborted.

        No record is written. What stays: the id, until the brokers forget it (seven days by default), and an abort
        marker, which no reader sees, in the first partition of each topic that was added.
        """
        try:
            node = await self._coordinator(CoordinationType.TRANSACTION, transactional_id)
        except BrokerResponseError as error:
            return type(error), {}
        timeout_ms = int(_TIMEOUT * 1000)
        begun = await self._settled(
            node, InitProducerIdRequest(transactional_id, timeout_ms), lambda got: got.error_code
        )
        if begun.error_code:
            return _error(begun.error_code), {}
        identity = (transactional_id, begun.producer_id, begun.producer_epoch)
        added: dict[str, type[KafkaError] | None] = {}
        for topic in topics:  # apart, since one that is refused makes the brokers refuse all that are with it
            request = AddPartitionsToTxnRequest(*identity, [(topic, [0])])
            answer = await self._settled(node, request, lambda got: got.errors[0][1][0][1])
            added[topic] = _error(answer.errors[0][1][0][1])
        if None not in added.values():
            return None, added
        # Were it not reached, the brokers would abort by themselves when the transaction's time is over.
        ended = await self._settled(node, EndTxnRequest(*identity, False), lambda got: got.error_code)
        return _error(ended.error_code), added

    async def _coordinator(self, kind: CoordinationType, name: str) -> int:
        async with asyncio.timeout(_TIMEOUT):
            while True:
                try:
                    node: int = await self._client.coordinator_lookup(kind, name)
                    return node
                except BrokerResponseError as error:
                    if not error.retriable:
                        raise
                await asyncio.sleep(_PAUSE)

    async def _settled(self, node: int, request: Any, code: Callable[[Any], int]) -> Any:
        """The answer, once it is none that passes by itself, such as a coordinator that is still loading."""
        async with asyncio.timeout(_TIMEOUT):
            while True:
                response = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
                if not for_code(code(response)).retriable:
                    return response
                await asyncio.sleep(_PAUSE)


def _error(code: int) -> type[KafkaError] | None:
    error: type[KafkaError] = for_code(code)
    return None if error is NoError else error


@asynccontextmanager
async def open_cluster(connection: Connection) -> AsyncIterator[Cluster]:
    client = AIOKafkaClient(**connection.options(), request_timeout_ms=int(_TIMEOUT * 1000))
    try:
        async with asyncio.timeout(_TIMEOUT):
            await client.bootstrap()
        yield Cluster(client)
    finally:
        await stop_client(client)
