"""One history: the worker's own runtimes on simulated machines, with simulated brokers, API, network and time.

Real are the domain, engine, supervisor, group, commit, ledger, restore, producer, the API's client and its rules.
Replaced, by name, are only the libraries below them, the clock and the telemetry.
"""

import asyncio
import random as global_random
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random
from typing import Any, ClassVar
from unittest.mock import patch

import orjson
import structlog
from pydantic import SecretStr

from tests.simulation.api import ApiServer
from tests.simulation.broker import Broker, Clock, Stored
from tests.simulation.check import Evidence, Outcome
from tests.simulation.clients import SimulatedAdmin, SimulatedConsumer, SimulatedProducer
from tests.simulation.loop import OUTSIDE, PROCESS, SimulatedLoop
from tests.simulation.machine import Machine
from tests.simulation.script import PARTITIONS, Script, Sent, encoded
from worker.clock import Clock as WorkerClock
from worker.dintero.api import Api
from worker.settings import Settings
from worker.telemetry.tracing import Tracing

_LONGEST = 900.0
"""Virtual seconds after which a history that is not through has lost something."""
_AFTER = 20.0
"""Virtual seconds to watch after everything is final: what comes late must change nothing."""


_UNSAID = ("event", "idempotency_key", "seconds")
"""Of the worker's log: what the history says otherwise, or what is measured in real time."""


class Silent:
    """Stands in for the metrics: takes everything, keeps nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: Any, **__: Any) -> None: ...


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
        self.machines = [Machine(number, self) for number in range(script.machines)]

    def kafka_fails(self) -> bool:
        """Whether a request to Kafka ends in an error now."""
        return self.loop.time() < self.script.quiet_at and self.random.random() < self.script.trouble

    def note(self, who: str, what: str) -> None:
        self.history.append((self.loop.time(), who, what))

    def run(self) -> None:
        try:
            with self._replacements():
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
        self.broker.append(place, [Stored(sent.terminal.encode(), encoded(sent), sent.headers, Clock(self.loop)())])

    def _through(self) -> bool:
        """Each message ID has a final outcome that readers see."""
        wanted = {sent.message_id for sent in self.script.sent if sent.message_id}
        final = 0
        for _, _, stored in self.broker.committed(self.settings.kafka_outcomes_topic):
            kind = dict(stored.headers)["ce_type"]
            final += kind != b"terminal.operation.created.v1"
        return final >= len(wanted)

    def evidence(self) -> Evidence:
        """What is left, as anybody outside could have it."""
        topics, committed = self.settings.topics, self.broker.committed
        ledger = {key: value for place in range(PARTITIONS) for key, value in self._ledger(place).items()}
        return Evidence(
            sent=self._sent,
            outcomes=[
                Outcome(orjson.loads(stored.value or b""), dict(stored.headers), stored.key, stored.decided_at)
                for _, _, stored in committed(topics.outcomes)
            ],
            dead_letters=[stored for _, _, stored in committed(topics.dead_letters)],
            executions=self.api.executions,
            creates=self.api.sent,
            unfinished=[key for key, state in ledger.items() if state != "finished"],
            create_timeout=self.settings.worker_create_timeout,
            idempotency_window=self.settings.dintero_idempotency_window,
        )

    def _ledger(self, partition: int) -> dict[str, str]:
        log = self.broker.logs[self.settings.kafka_state_topic, partition]
        latest = {stored.key: stored.value for _, stored in log.committed() if stored.key != b"position"}
        return {(key or b"").decode(): orjson.loads(value)["state"] for key, value in latest.items() if value}

    # -- replacements -------------------------------------------------------------------------------------------

    @contextmanager
    def _replacements(self) -> Iterator[None]:
        """For the time of a history, what the worker's modules know by these names is ours."""
        state, config = global_random.getstate(), structlog.get_config()
        global_random.seed(self.random.getrandbits(64))
        structlog.configure(processors=[self._log], cache_logger_on_first_use=False)
        names = {
            "worker.kafka.group.AIOKafkaConsumer": self._client(SimulatedConsumer),
            "worker.kafka.group._POLL_MS": 1_000,  # nobody waits for it, and an idle poll costs as much as a busy one
            "worker.kafka.restore.AIOKafkaConsumer": self._client(SimulatedConsumer),
            "worker.kafka.restore.AIOKafkaAdminClient": self._client(SimulatedAdmin),
            "worker.kafka.producer.AIOKafkaProducer": self._client(SimulatedProducer),
            "worker.runtime.build_transport": lambda *_, **__: self._machine().transport,
            "worker.runtime.build_tracing": lambda *_, **__: Tracing(),
            "worker.runtime.export.resource": _nothing,
            "worker.runtime.Metrics": Silent,
            "worker.runtime.Api": partial(Api, clock=self.loop.time),
            "worker.runtime.Clock": lambda: WorkerClock(self._machine().wall_clock, self.loop.time),
        }
        with ExitStack() as stack:
            for name, replacement in names.items():
                stack.enter_context(patch(name, replacement))
            try:
                yield
            finally:
                structlog.configure(**config)
                global_random.setstate(state)

    def _machine(self) -> Machine:
        process = PROCESS.get()
        return next(machine for machine in self.machines if process in machine.processes)

    def _client(self, kind: Any) -> Any:
        return lambda **options: kind(self._machine().link, **options)

    def _log(self, _: Any, __: str, event: MutableMapping[str, Any]) -> str:
        process = PROCESS.get(None)
        said = " ".join(f"{name}={value}" for name, value in event.items() if name not in _UNSAID)
        self.note(process.name if process else "?", f"{event['event']} {said}")
        raise structlog.DropEvent
