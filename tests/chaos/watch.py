"""Looking on while it happens: outcomes as they come, the gaps between them, and what the workers use."""

import time
from collections import Counter, defaultdict
from pathlib import Path

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.support.requests import FINAL
from worker.demo.process import WorkerProcess

_LOOK_EVERY = 5.0


class Progress:
    """Reads outcomes under read_committed, and knows for what each input partition still waits."""

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
        self._partition_of: dict[str, int] = {}
        self._waiting: dict[int, set[str]] = defaultdict(set)
        self._since: dict[int, float] = {}
        self._healed: list[tuple[str, float]] = []
        self._last = time.monotonic()
        self.final: set[str] = set()
        self.gaps: dict[int, float] = defaultdict(float)
        """The longest time that each partition waited for any outcome while it was asked for one."""
        self.recoveries: dict[str, list[float]] = defaultdict(list)
        """Seconds from the end of each fault to the next outcome, by kind."""

    @property
    def unfinished(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def silence(self) -> float:
        """Seconds since the last outcome."""
        return time.monotonic() - self._last

    def asked(self, message_id: str, partition: int) -> None:
        """A request is on its topic."""
        if message_id in self.final or message_id in self._partition_of:
            return
        self._partition_of[message_id] = partition
        if not self._waiting[partition]:
            self._since[partition] = time.monotonic()
        self._waiting[partition].add(message_id)

    def healed(self, kind: str) -> None:
        """A fault is over."""
        self._healed.append((kind, time.monotonic()))

    def step(self) -> None:
        """Take in what has come; waits a moment when nothing has."""
        for record in self._consumer.consume(500, timeout=0.05):
            if record.error() is None:  # else a broker is away
                self._take(orjson.loads(record.value() or b"{}"), time.monotonic())

    def close(self) -> None:
        self._consumer.close()

    def _take(self, value: dict[str, str], now: float) -> None:
        for kind, healed_at in self._healed:
            self.recoveries[kind].append(now - healed_at)
        self._healed.clear()
        self._last = now
        message_id = value["message_id"]
        partition = self._partition_of.get(message_id)
        if partition is not None and self._waiting[partition]:
            self.gaps[partition] = max(self.gaps[partition], now - self._since[partition])
            self._since[partition] = now
        if value["status"] in FINAL:
            self.final.add(message_id)
            if partition is not None:
                self._waiting[partition].discard(message_id)


class Usage:
    """What the workers use of memory, files and threads, looked at every few seconds."""

    def __init__(self) -> None:
        self._pids: dict[WorkerProcess, int] = {}
        self._samples: dict[WorkerProcess, list[tuple[float, Counter[str]]]] = defaultdict(list)
        self._next = 0.0

    def step(self, awake: list[WorkerProcess]) -> None:
        """`awake` are those that can be asked; a frozen one could not answer."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_EVERY
        for worker in awake:
            if worker not in self._pids and (status := worker.get("/status")):
                self._pids[worker] = status["worker"]["pid"]
            used = _used(self._pids.get(worker, 0))
            if used:
                self._samples[worker].append((now, used))

    def figures(self) -> dict[str, object]:
        """The most that any used; and of the worker that lived longest, what it used early and at the end."""
        everything = [used for samples in self._samples.values() for _, used in samples]
        if not everything:
            return {}
        longest = max(self._samples.values(), key=lambda samples: samples[-1][0] - samples[0][0])
        # Half a minute: everything is imported, connected and restored by then.
        early = next((used for at, used in longest if at > longest[0][0] + 30), longest[-1][1])
        return {
            "most used by a worker": {what: max(used[what] for used in everything) for what in everything[0]},
            "longest life of a worker": f"{longest[-1][0] - longest[0][0]:.0f} s",
            "it used, early": dict(early),
            "it used, at the end": dict(longest[-1][1]),
        }


def _used(pid: int) -> Counter[str]:
    process = Path(f"/proc/{pid}")
    try:
        lines = (line.split() for line in (process / "status").read_text().splitlines())
        of = {words[0]: words[1] for words in lines if len(words) > 1}
        files = sum(1 for _ in (process / "fd").iterdir())
        return Counter({"MiB": int(of["VmRSS:"]) // 1024, "files": files, "threads": int(of["Threads:"])})
    except (OSError, KeyError):
        return Counter()  # it has just ended
