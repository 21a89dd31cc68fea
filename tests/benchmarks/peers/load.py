"""Requests in, outcomes out: sent all at once or at a steady rate, read under `read_committed`, and timed."""

import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from tests.benchmarks.load import cpu
from tests.benchmarks.peers.programs import Running
from tests.support.requests import request
from tests.support.topics import Topics, create_topics, named_topics

_TIMEOUT = 120.0
_TICK = 0.002
_WARMING, _TRANSACTIONS = 4, 1_000
"""Producers, and transactions of each."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process has used until now."""

    cpu: float
    peak_mib: float


def cost(pid: int) -> Cost:
    """Of this process alone: its CPU in seconds, user and system."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return Cost(cpu(pid), int(peak.split()[1]) / 1024)


class Read(NamedTuple):
    at: float
    key: bytes
    value: bytes

    @property
    def status(self) -> str:
        return "created" if b'"status":"created"' in self.value else "final"


@dataclass(frozen=True, slots=True)
class Timed:
    """One load: what was asked, and when all that was asked for had come. Latencies in seconds."""

    requests: int
    a_second: float
    to_created: list[float]
    to_completed: list[float]


class Load:
    """Sends to one program and reads what it tells, on a thread of its own, from the first outcome on."""

    def __init__(self, bootstrap: str, topics: Topics, process: Running, *, lifecycle: bool) -> None:
        self._topics = topics
        self._outcomes = 2 if lifecycle else 1
        self._process = process
        self._terminals = count()
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 0, "log_level": 0}
        )
        self._consumer = _reader(bootstrap, topics.outcomes)
        self._read: list[Read] = []
        self._expected = 0
        self._ended = threading.Event()
        self._reading = threading.Thread(target=self._collect, daemon=True)

    def run(self, requests: int, rate: float | None = None) -> Timed:
        """Returns when every request has its outcomes. Raises ProcessFailedError after two minutes."""
        first, began = len(self._read), time.monotonic()
        sent: dict[bytes, float] = {}
        for number in range(requests):
            due = began + number / rate if rate else began
            while (early := due - time.monotonic()) > 0:
                self._producer.poll(0)
                time.sleep(min(early, _TICK))
            asked = request(f"P11223351-B{next(self._terminals)}")
            assert asked.key is not None
            sent[asked.key] = time.time()
            self._producer.produce(self._topics.requests, key=asked.key, value=asked.value, headers=list(asked.headers))
        assert self._producer.flush(_TIMEOUT) == 0, "requests were not sent"
        self._expected += requests * self._outcomes
        self._wait()
        return timed(sent, self._read[first : self._expected], self._outcomes)

    def _wait(self) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while len(self._read) < self._expected:
            self._process.assert_running()
            if time.monotonic() > deadline:
                raise self._process.failure(f"told {len(self._read)} of {self._expected} outcomes in {_TIMEOUT:.0f} s")
            time.sleep(0.01)

    def _collect(self) -> None:
        while not self._ended.is_set():
            message = self._consumer.poll(0.2)
            if message is not None and message.error() is None:
                self._read.append(Read(time.time(), message.key() or b"", message.value() or b""))
        self._consumer.close()

    def __enter__(self) -> Self:
        self._reading.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._reading.join(_TIMEOUT)


def warm(bootstrap: str) -> None:
    """A broker's first thousands of transactions take three times as long as later ones: its JVM compiles them yet."""
    topics = named_topics()
    create_topics(bootstrap, topics)
    with ThreadPoolExecutor(_WARMING) as pool:
        list(pool.map(lambda number: _transactions(bootstrap, topics.outcomes, f"warm-{number}"), range(_WARMING)))


def _transactions(bootstrap: str, topic: str, transactional_id: str) -> None:
    options = {"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "linger.ms": 0, "log_level": 0}
    producer = Producer(options)
    producer.init_transactions(_TIMEOUT)
    for _ in range(_TRANSACTIONS):
        producer.begin_transaction()
        producer.produce(topic, transactional_id)
        producer.commit_transaction(_TIMEOUT)


def timed(sent: dict[bytes, float], read: Sequence[Read], outcomes: int) -> Timed:
    """Fails when a request has other outcomes than its one `created` and, if there are two, its one `completed`."""
    created = {each.key: each for each in read if each.status == "created"}
    final = {each.key: each for each in read if each.status == "final"}
    assert len(read) == len(created) + len(final), "an outcome came twice"
    assert created.keys() == sent.keys(), "a request has no `created`, or one came unasked"
    assert final.keys() == (sent.keys() if outcomes == 2 else set()), "a request has no final outcome"
    last = sorted(each.at for each in (final or created).values())
    # Without the first and the last tenth: how a program starts and how the last batch ends are no part of its speed.
    early, late = last[len(last) // 10], last[-1 - len(last) // 10]
    return Timed(
        requests=len(sent),
        a_second=(len(last) - 2 * (len(last) // 10)) / max(late - early, _TICK),
        to_created=[created[key].at - at for key, at in sent.items()],
        to_completed=[each.at - _told_at(each) for each in final.values()],
    )


def _told_at(final: Read) -> float:
    """When the API first answered that the operation had ended."""
    value = orjson.loads(final.value)
    assert value["status"] == "completed", value
    return datetime.fromisoformat(value["terminal_operation"]["updated_at"]).timestamp()


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _reader(bootstrap: str, topic: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
            "log_level": 0,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    return consumer
