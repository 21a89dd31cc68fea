"""Requests in numbers on a real Kafka, when their outcomes come, and what workers and broker use meanwhile."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition

from tests.support.requests import request
from tests.support.system import System
from tests.support.waiting import until
from worker.demo.process import WorkerProcess

TIMEOUT = 180.0


class Load:
    """Requests, each of a terminal of its own, and when their outcomes could be read (`read_committed`)."""

    def __init__(self, system: System) -> None:
        self.sent: dict[str, float] = {}
        self.created: dict[str, float] = {}
        self.final: dict[str, float] = {}
        self._topic = system.topics.requests
        self._producer = Producer({"bootstrap.servers": system.bootstrap, "partitioner": "murmur2_random"})
        self._reader = reader(system)

    def send(self, count: int) -> None:
        for number in range(len(self.sent), len(self.sent) + count):
            asked = request(f"P11223351-S{number}")
            self.sent[asked.header("ce_id") or ""] = time.monotonic()
            self._producer.produce(self._topic, key=asked.key, value=asked.value, headers=list(asked.headers))
        self._producer.poll(0)

    def read(self) -> None:
        """What comes within a hundredth of a second. Nothing fails here, and nothing comes twice."""
        for outcome in self._reader.consume(1_000, 0.01):
            value = orjson.loads(outcome.value() or b"")
            known = {"created": self.created, "completed": self.final}[value["status"]]
            assert value["message_id"] not in known, value
            known[value["message_id"]] = time.monotonic()

    def run(self, rate: float, enough: threading.Event) -> None:
        """Sends so many a second and reads, until it is enough and all are final."""
        began = time.monotonic()
        while not enough.is_set():
            self.send(int((time.monotonic() - began) * rate) - len(self.sent))
            self.read()
        self.finish()

    def finish(self) -> None:
        """Until every request is final."""
        deadline = time.monotonic() + TIMEOUT
        while len(self.final) < len(self.sent):
            assert time.monotonic() < deadline, f"{len(self.final)} of {len(self.sent)} are final"
            self.read()
        self._producer.flush(10)
        self._reader.close()

    def told(self, known: Mapping[str, float], since: float = 0.0, before: float = float("inf")) -> str:
        """p50, p99 and the longest time from sending to reading, of what was sent within that time."""
        took = sorted(at - self.sent[name] for name, at in known.items() if since <= self.sent[name] < before)
        return " ".join(f"{took[int((len(took) - 1) * part)] * 1e3:>6.0f} ms" for part in (0.5, 0.99, 1.0))


@contextmanager
def running(rate: float, *loads: Load) -> Iterator[None]:
    """Each of the loads runs meanwhile; at the end it waits until all are final."""
    enough = threading.Event()
    with ThreadPoolExecutor(len(loads)) as pool:
        ran = [pool.submit(load.run, rate, enough) for load in loads]
        try:
            yield
        finally:
            enough.set()
        for each in ran:
            each.result()


class Used:
    """What workers and broker have used since this was made."""

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._workers = workers
        self._pids: list[int] = [_told(worker, "/status")["worker"]["pid"] for worker in workers]
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        self._brokers = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "java"]
        self._before = (0.0, 0.0, 0.0)
        self._before = self()

    def __call__(self) -> tuple[float, float, float]:
        """CPU seconds of the workers, of the broker, and commits."""
        now = sum(map(cpu, self._pids)), sum(map(cpu, self._brokers)), sum(map(_commits, self._workers))
        return now[0] - self._before[0], now[1] - self._before[1], now[2] - self._before[2]


def reader(system: System) -> Consumer:
    """Reads outcomes from now on, as `read_committed` shows them."""
    consumer = Consumer(
        {
            "bootstrap.servers": system.bootstrap,
            "group.id": "benchmark",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
        }
    )
    topic = system.topics.outcomes
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_END) for partition in partitions])
    consumer.consume(1, 1.0)  # the assignment takes effect with the first read
    return consumer


def cpu(pid: int) -> float:
    """Seconds of user and system time of that process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _commits(worker: WorkerProcess) -> float:
    name = "terminal_operations_commit_duration_seconds_count"
    return sum(float(line.split()[-1]) for line in _told(worker, "/metrics").splitlines() if line.startswith(name))


def _told(worker: WorkerProcess, path: str) -> Any:
    """Asked again where the machine is too busy for an answer in time."""
    return until(lambda: worker.get(path), TIMEOUT)
