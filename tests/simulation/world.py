"""One history: the worker's own runtimes on simulated machines, with simulated brokers, API, network and time.

Real is the worker, from `Runtime` down; `replacements.py` names what is not.
"""

import asyncio
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, ClassVar

import orjson
import structlog
from aiokafka.errors import ConcurrentTransactions
from pydantic import SecretStr

from tests.simulation.api import ApiServer
from tests.simulation.broker import Broker, Clock
from tests.simulation.evidence import Change, Evidence, Life, Outcome
from tests.simulation.log import Stored
from tests.simulation.loop import OUTSIDE, PROCESS, SimulatedLoop
from tests.simulation.machine import Machine
from tests.simulation.replacements import replacements
from tests.simulation.script import PARTITIONS, SKEW, Cut, Kind, Script, Sent, Upgrade, encoded
from worker.settings import Settings

_LONGEST = 2_400.0
"""Virtual seconds after which a history that is not through has lost something."""
_AFTER = 20.0
"""Virtual seconds to watch after everything is final: what comes late must change nothing."""
_TOMBSTONES_KEPT = 60_000
"""Milliseconds: longer than any restore lasts, as a day is on real brokers."""

_UNSAID = ("event", "idempotency_key", "seconds")
"""Of the worker's log: what the history says otherwise, or what is measured in real time."""


class World:
    """Runs a script to its end. Afterwards `broker`, `api` and `sent_at` hold what happened, `history` tells it."""

    current: ClassVar["World"]
    """The one that runs."""

    def __init__(self, seed: int, script: Script) -> None:
        World.current = self
        self.script = script
        self.history: list[tuple[float, str, str]] = []
        self.loop = SimulatedLoop()
        self.random = Random(seed ^ 0x5EED)
        self.broker = Broker(self.loop, self.random, Clock(self.loop))
        self.api = ApiServer(self.loop, self.random, script.temper, script.quiet_at, self.note)
        self.api.refused |= script.refused
        self.settings = Settings(
            kafka_bootstrap_servers="simulated:9092",
            dintero_account_id="P1",
            dintero_client_id="client",
            dintero_client_secret=SecretStr("secret"),
            dintero_base_url="https://simulated",
            dintero_request_timeout=4.0,
            dintero_max_in_flight=8,
            worker_poll_initial_delay=0.5,
            worker_poll_max_delay=4.0,
            worker_shutdown_timeout=5.0,
            **script.settings,
        )
        topics = self.settings.topics
        for topic, partitions in ((topics.requests, PARTITIONS), (topics.state, PARTITIONS)):
            self.broker.create_topic(topic, partitions)
        self.broker.create_topic(topics.outcomes, 2)
        self.broker.create_topic(topics.dead_letters, 1)
        self.broker.group.partitions = PARTITIONS
        self._sent: list[tuple[int, Sent]] = []
        self._repeated: set[str] = set()
        self._said_lost: list[tuple[int, int, int]] = []
        self._reported: dict[tuple[str, int], int] = {}
        self._unowned: dict[int, int] = {}
        self._upgraded: dict[int, float] = {}
        self._halted: set[int] = set()
        self.machines = [Machine(number, self) for number in range(script.machines)]

    def kafka_fails(self) -> bool:
        """Whether a request to Kafka ends in an error now."""
        return self.loop.time() < self.script.quiet_at and self.random.random() < self.script.trouble

    def note(self, who: str, what: str) -> None:
        self.history.append((self.loop.time(), who, what))

    def run(self) -> None:
        try:
            with replacements(self):
                self.loop.run(self._live())
                self.note("world", "the end")
                self.loop.unwind([process for machine in self.machines for process in machine.processes])
        finally:
            self.loop.close()

    async def _live(self) -> None:
        for machine in self.machines:
            self.at(self.random.uniform(0, 2), machine.start)
        for sent in self.script.sent:
            self.at(sent.at, partial(self._send, sent))
        for fault in self.script.faults:
            self.at(fault.at, partial(self.machines[fault.machine].suffer, fault))
        for at, terminal, seconds in self.script.occupied:
            self.at(at, partial(self.api.occupy, terminal, seconds))
        for at in self.script.compactions:
            self.at(at, self._compact)
        for cut in self.script.cuts:
            self.at(cut.at, partial(self._cut, cut))
        if self.script.upgrade:
            self.at(self.script.upgrade.at, partial(self._upgrade, self.script.upgrade))
        await asyncio.sleep(max(self.script.quiet_at, self.script.sent[-1].at))
        while not self._through() and self.loop.time() < _LONGEST:  # noqa: ASYNC110 - its time is virtual
            await asyncio.sleep(1.0)
        await asyncio.sleep(_AFTER)

    def at(self, at: float, act: Callable[[], None]) -> None:
        """Do something from outside, whatever the processes do."""
        self.loop.call_at(at, act, context=OUTSIDE)

    def _send(self, sent: Sent) -> None:
        place = self.settings.kafka_requests_topic, sent.partition
        self._sent.append((len(self.broker.logs[place].records), sent))
        self.note("producer", f"sends {sent.kind.value} {sent.message_id} {sent.data}")
        self.broker.append(place, [Stored(sent.terminal.encode(), encoded(sent), sent.headers, 0)])

    def _compact(self) -> None:
        """The cleaner leaves the youngest records alone, so it may end anywhere."""
        for number in range(PARTITIONS):
            log = self.broker.logs[self.settings.kafka_state_topic, number]
            log.compact(self.random.randint(0, log.stable_end), Clock(self.loop)() - _TOMBSTONES_KEPT)

    def _cut(self, cut: Cut) -> None:
        log = self.broker.logs[self.settings.kafka_requests_topic, cut.partition]
        log.truncate(log.start + int((log.stable_end - log.start) * cut.part))
        self.note("broker", f"has deleted the requests of partition {cut.partition} below {log.start}")
        if not self.broker.logs[self.settings.kafka_state_topic, cut.partition].committed():
            self._unowned[cut.partition] = log.start

    def _upgrade(self, upgrade: Upgrade) -> None:
        """As any owner begins: it fences the last one, which may take more than one try."""
        settings, partition = self.settings, upgrade.partition
        try:
            self.broker.init(f"{settings.kafka_group_id}-{settings.kafka_requests_topic}-{partition}", "newer")
        except ConcurrentTransactions:
            self.at(self.loop.time() + 0.02, partial(self._upgrade, upgrade))
            return
        self._upgraded[partition] = self.loop.time()
        self.note("newer", f"takes partition {partition}")
        newer = Stored(upgrade.key, orjson.dumps({"v": 2, "state": {"a": "new kind"}}), (), 0)
        self.broker.append((settings.kafka_state_topic, partition), [newer])

    def _through(self) -> bool:
        """Each request has its end, also those that come again when their window is over, and what has no message ID
        its dead letter: the one worker may have been cut off from Kafka since before it came.
        """
        evidence = self.evidence()
        lives = [life for of_id in evidence.lives().values() for life in of_id]
        waiting = [life for life in lives if not life.end and life.sent.partition not in self._halted]
        dead, gone = evidence.dead, self._halted | self._upgraded.keys()
        if any(
            sent.kind is Kind.ANONYMOUS and (sent.partition, offset) not in dead and sent.partition not in gone
            for offset, sent in evidence.read
        ):
            return False
        if not waiting:
            waiting = [life for life in lives if self._comes_again(life)]
        return not waiting and len(self._upgraded) == (self.script.upgrade is not None)

    def _comes_again(self, life: Life) -> bool:
        """Whether a request of this ID is still to come. It comes as soon as no clock holds it for known any more."""
        id_, window = life.sent.message_id or "", self.settings.worker_dedupe_window
        if id_ in self._repeated or len(self._repeated) >= self.script.late or not life.end:
            return False
        if self.loop.time() > life.end.decided_at + window + 3 * SKEW:
            self._repeated.add(id_)
            self._send(replace(life.sent, at=self.loop.time(), kind=Kind.LATE))
        return True

    def evidence(self) -> Evidence:
        topics, committed = self.settings.topics, self.broker.committed
        outcomes = [
            Outcome(orjson.loads(stored.value or b""), dict(stored.headers), stored.key, stored.decided_at)
            for _, _, stored in committed(topics.outcomes)
        ]
        if not self.script.transactions:  # a reader drops the repeats by their id
            outcomes = list({outcome.headers["ce_id"]: outcome for outcome in reversed(outcomes)}.values())[::-1]
        requests = {number: self.broker.logs[topics.requests, number] for number in range(PARTITIONS)}
        return Evidence(
            script=self.script,
            sent=self._sent,
            outcomes=outcomes,
            dead_letters=[stored for _, _, stored in committed(topics.dead_letters)],
            executions=self.api.executions,
            creates=self.api.sent,
            polled=self.api.polled,
            ledger=list(self._ledger()),
            said_lost=self._said_lost,
            deleted={number: log.start for number, log in requests.items() if log.start},
            unowned=self._unowned,
            upgraded=self._upgraded,
            halted=frozenset(self._halted),
            stops=[stop for machine in self.machines for stop in machine.stops.values()],
            ended_at=self.loop.time(),
        )

    def _ledger(self) -> Iterator[Change]:
        for partition, _, stored in self.broker.committed(self.settings.kafka_state_topic):
            key, value = (stored.key or b"").decode(), orjson.loads(stored.value) if stored.value else {}
            if key != "position" and value.get("v") != 2:
                yield Change(partition, key, value.get("state"), value.get("offset"), stored.decided_at)

    def log(self, _: Any, __: str, event: MutableMapping[str, Any]) -> str:
        """What a worker logs goes into the history; and what it says it has lost or given up is evidence."""
        process = PROCESS.get(None)
        who, partition = process.name if process else "?", event.get("partition", -1)
        if event["event"] == "requests_lost_to_retention":
            self._reported[who, partition] = event["records"]
        elif event["event"] == "partition_restored" and (records := self._reported.pop((who, partition), 0)):
            self._said_lost.append((partition, event["position"] - records, event["position"]))
        elif event["event"] == "partition_halted":
            self._halted.add(partition)
        said = " ".join(f"{name}={value}" for name, value in event.items() if name not in _UNSAID)
        self.note(who, f"{event['event']} {said}")
        raise structlog.DropEvent
