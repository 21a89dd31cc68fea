"""What a lifecycle costs our own Python: the worker's engines and API client, with Kafka and HTTP left out.

    python -m tests.benchmarks.stubbed [lifecycles] [partitions]    # 10,000 and 1 unless said otherwise
    python -m cProfile -s tottime -m tests.benchmarks.stubbed       # where it goes

2,000 records a second are handed to the engines, commits are encoded and dropped after 3 ms, calls are answered in the
next step of the event loop. CPU is the process's, for a full lifecycle: create, one poll, two outcomes.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence

import orjson
import uvloop
from opentelemetry.sdk.resources import Resource
from pydantic import SecretStr

from tests.benchmarks.pure import ACCOUNT, OWNER, READER, SOURCE, operation, records
from worker.cli.run import spare_the_collector
from worker.clock import Clock
from worker.dintero.api import Api
from worker.dintero.call import Credentials
from worker.dintero.http1 import Received
from worker.dintero.pool import Door, DoorClosedError
from worker.dintero.route import Headers
from worker.dintero.transport import Transport, always
from worker.domain.commit import Position
from worker.domain.partition import Partition
from worker.domain.policy import Policy
from worker.domain.request import Record
from worker.engine import Engine
from worker.kafka.commit import LedgerCommitter
from worker.kafka.connection import Topics
from worker.kafka.producer import Message, Producer
from worker.telemetry import logs
from worker.telemetry.metrics import Metrics
from worker.telemetry.recent import Recent
from worker.telemetry.tracing import Tracing

_AT_ONCE = 200
_PAUSE = 0.1
_WRITE = 0.003
_TIMEOUT = 300.0
_TOPICS = Topics(OWNER["topic"], "outcomes", "state", "dead-letters")
_POLICY = Policy(backlog_limit=1_000_000, poll_initial_delay=1_000, poll_max_delay=2_000)
_TOKEN = orjson.dumps({"access_token": "stub", "token_type": "Bearer", "expires_in": 86_400})


class StubTransport(Transport):
    """Every operation is PENDING when it is created and COMPLETED when it is polled."""

    def __init__(self) -> None:
        self._created: dict[str, tuple[str, str]] = {}

    async def send(self, method: str, url: str, headers: Headers, body: bytes, door: Door = always) -> Received:
        if not door():
            raise DoorClosedError
        await asyncio.sleep(0)
        return Received(200, {}, self._answer(method, url, headers, body))

    def _answer(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
        if url.endswith("/auth/token"):
            return _TOKEN
        if method == "POST":
            asked, name = orjson.loads(body), dict(headers)["Idempotency-Key"]
            self._created[name] = asked["terminal_id"], asked["operation"]
            return orjson.dumps(operation(name, *self._created[name], "PENDING"))
        name = url.rpartition("=")[2]
        return orjson.dumps([operation(name, *self._created.pop(name), "COMPLETED")])


class StubProducer(Producer):
    atomic = True

    def __init__(self) -> None:
        self.writes = 0

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, events: Sequence[Message], ledger: Sequence[Message]) -> None:
        self.writes += 1
        await asyncio.sleep(_WRITE)


class Stubbed:
    """Engines of so many partitions on one API, as `worker.runtime` builds them."""

    def __init__(self, partitions: int, each: int) -> None:
        self._metrics = Metrics(
            Resource.create(),
            requests_topic=_TOPICS.requests,
            outcomes_topic=_TOPICS.outcomes,
            dead_letters_topic=_TOPICS.dead_letters,
            group_id=OWNER["group"],
            api_url="http://127.0.0.1",
        )
        self._tracing = Tracing()
        self.producer = StubProducer()
        self._clock = Clock()
        self._api = Api(
            {ACCOUNT: Credentials("stub", SecretStr("stub"))},
            base_url="http://127.0.0.1",
            transport=StubTransport(),
            request_timeout=30.0,
            max_in_flight=64,
            max_requests_per_second=None,
            tracing=self._tracing,
            metrics=self._metrics,
        )
        self.engines = [self._engine(number, Position(number * each)) for number in range(partitions)]

    def _engine(self, number: int, position: Position) -> Engine:
        committer = LedgerCommitter(
            number,
            producer=self.producer,
            topics=_TOPICS,
            group=OWNER["group"],
            source=SOURCE,
            tracing=self._tracing,
            metrics=self._metrics,
        )
        return Engine(
            number,
            Partition(_POLICY, random.random, position),
            committer=committer,
            api=self._api,
            reader=READER,
            clock=self._clock,
            proof_age=5.0,
            tracing=self._tracing,
            metrics=self._metrics,
            recent=Recent(),
        )

    async def run(self, incoming: list[list[Record]]) -> None:
        """Take in what each engine gets, a part at a time, and finish it all. Raises what ended an engine."""
        size = max(1, _AT_ONCE // len(self.engines))
        async with asyncio.timeout(_TIMEOUT), asyncio.TaskGroup() as group:
            for engine in self.engines:
                group.create_task(engine.run())
            for first in range(0, len(incoming[0]), size):
                for engine, records_of_one in zip(self.engines, incoming, strict=True):
                    engine.accept(records_of_one[first : first + size])
                await asyncio.sleep(_PAUSE)
            while any(engine.partition.backlog for engine in self.engines):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_PAUSE)
            for engine in self.engines:
                await engine.settle(_TIMEOUT)
                engine.close()


async def main() -> None:
    given = [int(argument) for argument in sys.argv[1:]]
    count, partitions = given + [10_000, 1][len(given) :]
    os.environ["OTEL_SDK_DISABLED"] = "true"
    logs.configure("WARNING", "json")
    each = count // partitions
    stubbed = Stubbed(partitions, each)
    incoming = [records(each, each, number * each) for number in range(partitions)]
    spare_the_collector()
    began = time.process_time()
    await stubbed.run(incoming)
    cpu, finished = time.process_time() - began, each * partitions
    print(f"worker CPU each   {cpu / finished * 1e6:.0f} us")
    print(f"commits each      {stubbed.producer.writes / finished:.3f}")


if __name__ == "__main__":
    uvloop.run(main())
