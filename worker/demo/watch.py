"""What the outside sees: the outcome and dead-letter topics, read by another client than the worker's."""

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from datetime import datetime

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

# What may be published for a request, after what was published last for it.
_MAY_FOLLOW = {None: {"created", "failed"}, "created": {"completed", "failed"}, "completed": set(), "failed": set()}
# Latencies of this many newest requests: the percentiles follow what happens now.
_LATENCIES = 500


class Counts:
    """Each outcome and dead letter once, however often it came."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        """Of failed requests."""
        self.dead_letters: Counter[str] = Counter()
        self.repeats = 0
        """Outcomes with a known `ce_id`, and dead letters of a known record: only `at_least_once` gives any."""
        self.broken_orders = 0
        """Events that may not follow the earlier ones of their request."""
        self._last: dict[str, str] = {}
        self._known: set[tuple[bytes, ...]] = set()
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)

    @property
    def finals(self) -> int:
        return self.statuses["completed"] + self.statuses["failed"]

    def latencies(self) -> tuple[float, float] | None:
        """Median and 99th percentile, in seconds, from a request's record to `created` being counted here."""
        latest = list(self._latencies)
        if len(latest) < 2:
            return None
        cuts = statistics.quantiles(latest, n=100)
        return cuts[49], cuts[98]

    def dead_letter(self, headers: Mapping[str, bytes]) -> None:
        if self._new(headers["dead-letter-topic"], headers["dead-letter-partition"], headers["dead-letter-offset"]):
            self.dead_letters[headers["dead-letter-reason"].decode()] += 1

    def outcome(self, headers: Mapping[str, bytes], value: bytes) -> None:
        if not self._new(headers["ce_id"]):
            return
        outcome = orjson.loads(value)
        status = outcome["status"]
        message_id = outcome["message_id"]
        if status not in _MAY_FOLLOW[self._last.get(message_id)]:
            self.broken_orders += 1
        self._last[message_id] = status
        self.statuses[status] += 1
        if status == "failed":
            self.reasons[outcome["error"]["reason"]] += 1
        if status == "created":
            self._latencies.append(time.time() - datetime.fromisoformat(outcome["requested_at"]).timestamp())

    def _new(self, *id_: bytes) -> bool:
        known = id_ in self._known
        self._known.add(id_)
        self.repeats += known
        return not known


class Watch(Counts):
    """Reads committed records in a thread of its own until `stop`. Its counts may be read at any time."""

    def __init__(self, client: Mapping[str, str], outcomes: str, dead_letters: str) -> None:
        super().__init__()
        self._outcomes = outcomes
        self._consumer = Consumer(
            {
                **client,
                "group.id": "demo-reads-without-a-group",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            }
        )
        topics = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in (outcomes, dead_letters)
                for partition in topics[topic].partitions
            ]
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="watch")
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        try:
            while not self._stopped.is_set():
                record = self._consumer.poll(0.1)
                if record is not None and record.error() is None:
                    self._count(record)
        finally:
            self._consumer.close()

    def _count(self, record: Message) -> None:
        headers: dict[str, bytes] = dict(record.headers() or [])  # type: ignore[arg-type]
        if record.topic() == self._outcomes:
            self.outcome(headers, record.value() or b"{}")
        else:
            self.dead_letter(headers)
