"""The same calls and outcomes with FastStream and httpx, as their users would write it.

At least once: FastStream has no transactions, and commits a batch's offsets once its handler has returned. With
`max_workers` it would run one request a partition at a time, or lose those at work in a crash; so a batch runs at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvloop
from faststream import AckPolicy, Context, ContextRepo, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from pydantic import BaseModel

from schemas import names
from tests.benchmarks.peers import outcome as peer
from tests.benchmarks.peers.outcome import Request, outcome

_MOST = 500
_BATCH_TIMEOUT_MS = 10

broker = KafkaBroker(peer.BROKERS, acks="all")
_calls = asyncio.Semaphore(peer.IN_FLIGHT)  # httpx slows down with what waits in its pool


class Asked(BaseModel):
    terminal_id: str
    operation: str
    parameters: dict[str, Any] | None = None


@asynccontextmanager
async def lifespan(context: ContextRepo) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=peer.IN_FLIGHT, max_keepalive_connections=peer.IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits) as client:
        answer = await client.post(peer.TOKEN, json=peer.TOKEN_REQUEST, auth=peer.CREDENTIALS)
        client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
        context.set_global("client", client)
        yield


@broker.subscriber(
    peer.REQUESTS,
    group_id=peer.GROUP,
    auto_offset_reset="earliest",
    isolation_level="read_committed",
    batch=True,
    max_records=_MOST,
    batch_timeout_ms=_BATCH_TIMEOUT_MS,
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def on_requests(batch: list[Asked], message: KafkaMessage, client: httpx.AsyncClient = Context()) -> None:  # noqa: B008
    raw = zip(batch, message.batch_headers, message.raw_message, strict=True)
    requests = [
        Request(headers[names.CE_ID], record.timestamp, asked.model_dump(exclude_none=True))
        for asked, headers, record in raw
    ]
    await asyncio.gather(*(_run(client, request) for request in requests))


async def _run(client: httpx.AsyncClient, request: Request) -> None:
    async with _calls:
        headers = {"Idempotency-Key": request.message_id}
        answer = await client.post(peer.OPERATIONS, json=request.data, headers=headers)
    operation = answer.raise_for_status().json()
    await _publish("created", request, operation)
    if peer.POLL_DELAY:
        await asyncio.sleep(peer.POLL_DELAY)
        async with _calls:
            answer = await client.get(peer.OPERATIONS, params={"operation_id": operation["id"]})
        await _publish("completed", request, answer.raise_for_status().json()[0])


async def _publish(status: str, request: Request, operation: dict[str, Any]) -> None:
    value, headers = outcome(status, request, operation)
    await broker.publish(value, peer.OUTCOMES, key=value["terminal_id"].encode(), headers=headers)


if __name__ == "__main__":
    uvloop.run(FastStream(broker, lifespan=lifespan).run())
