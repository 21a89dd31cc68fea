"""What of the worker is not real in a history: the libraries below it, the clock, the metrics, the probes.

Replaced by name, for as long as the history lasts.
"""

import random as global_random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import structlog
from pydantic import SecretStr

from tests.simulation.check import POLL_RECORDS
from tests.simulation.clients import SimulatedAdmin, SimulatedConsumer
from tests.simulation.loop import PROCESS
from tests.simulation.machine import Machine
from tests.simulation.producers import PlainProducer, ProducerClient
from tests.simulation.script import PARTITIONS
from worker.clock import Clock
from worker.dintero.api import Api
from worker.dintero.call import Credentials
from worker.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from tests.simulation.world import World


class Silent:
    """Stands in for the metrics and the HTTP server: takes everything, keeps nothing."""

    port = 0

    def __init__(self, *_: Any, **__: Any) -> None: ...

    async def start(self) -> None: ...

    async def stop(self, _: float) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: Any, **__: Any) -> None: ...


async def _partitions(*_: Any, **__: Any) -> int:
    return PARTITIONS


@contextmanager
def replacements(world: "World") -> Iterator[None]:
    state, config = global_random.getstate(), structlog.get_config()
    global_random.seed(world.random.getrandbits(64))
    structlog.configure(processors=[world.log], cache_logger_on_first_use=False)

    def machine() -> Machine:
        process = PROCESS.get()
        return next(machine for machine in world.machines if process in machine.processes)

    def client(kind: Any) -> Any:
        return lambda **options: kind(machine().link, **options)

    credentials = Credentials("client", SecretStr("secret"))
    names = {
        "worker.kafka.group.AIOKafkaConsumer": client(SimulatedConsumer),
        "worker.kafka.group._POLL_MS": 1_000,  # nobody waits for it, and an idle poll costs as much as a busy one
        "worker.kafka.group._POLL_RECORDS": POLL_RECORDS,
        "worker.kafka.restore.AIOKafkaConsumer": client(SimulatedConsumer),
        "worker.kafka.restore.AIOKafkaAdminClient": client(SimulatedAdmin),
        "worker.kafka.producer.AIOKafkaProducer": client(PlainProducer),
        "worker.kafka.transactions.AIOKafkaClient": client(ProducerClient),
        "worker.runtime.build_transport": lambda *_, **__: machine().transport,
        "worker.runtime.build_tracing": lambda *_, **__: Tracing(),
        "worker.runtime.export.resource": _nothing,
        "worker.runtime.Metrics": Silent,
        "worker.runtime.kafka_topics.verify": _partitions,
        "worker.runtime.accounts": lambda _: {"P1": credentials, "P2": credentials},
        "worker.runtime.Api": partial(Api, clock=world.loop.time),
        "worker.runtime.Clock": lambda: Clock(machine().wall_clock, world.loop.time),
    }
    with ExitStack() as stack:
        for name, replacement in names.items():
            stack.enter_context(patch(name, replacement))
        try:
            yield
        finally:
            structlog.configure(**config)
            global_random.setstate(state)
