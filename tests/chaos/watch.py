"""Looking on while it happens: outcomes as they come, and what the workers say."""

import re
import time
from collections import Counter
from pathlib import Path

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.support.requests import FINAL

_COMPLAINT = re.compile(r"Traceback|never retrieved|never awaited|Task exception|was destroyed|partition_halted")
# What aiokafka itself forgets when a commit of offsets or a connection is given up, or a producer is fenced.
_NOISE = re.compile(r"(never retrieved|destroyed).*(_do_commit_offsets|exception=ProducerFenced|AIOKafkaConnection)")
_EVENTS = ("partition_restored", "partition_in_doubt", "partition_halted", "consumer_ended", "partition_recovered")


class Progress:
    """Reads outcomes under read_committed and knows when the last one came."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "watches-without-a-group",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        self._last = self._began = time.monotonic()
        self.final: set[str] = set()
        self.longest_gap = 0.0
        self.longest_gap_ended = 0.0

    def step(self) -> None:
        """Take in what has come; waits a moment when nothing has."""
        for record in self._consumer.consume(500, timeout=0.05):
            if record.error() is not None:
                continue  # the broker is away
            value = orjson.loads(record.value() or b"{}")
            now = time.monotonic()
            if now - self._last > self.longest_gap:
                self.longest_gap, self.longest_gap_ended = now - self._last, now - self._began
            self._last = now
            if value["status"] in FINAL:
                self.final.add(value["message_id"])

    def close(self) -> None:
        self._consumer.close()


def complaints(logs: list[Path]) -> list[str]:
    """Lines no worker may write, whatever goes wrong around it: each with its file's name."""
    lines = [(log, line) for log in logs for line in _lines(log)]
    return [f"{log.name}: {line[:300]}" for log, line in lines if _COMPLAINT.search(line) and not _NOISE.search(line)]


def events(logs: list[Path]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for log in logs:
        for line in _lines(log):
            for event in _EVENTS:
                counted[event] += f'"{event}"' in line
    return counted


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()
