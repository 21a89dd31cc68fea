"""The example programs, with clients and frameworks of others, as a user runs them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.requests import terminals
from tests.support.system import System
from tests.support.waiting import until
from worker.demo.process import Process

pytestmark = pytest.mark.kafka

_TIMEOUT = 60.0


class Examples:
    """Starts the programs and ends them."""

    def __init__(self, system: System, folder: Path) -> None:
        self.owned = ExitStack()
        self._environment = {**system.environment(), "GROUP_ID": f"examples-{uuid4()}"}
        self._folder = folder

    def start(self, name: str) -> Path:
        """The file its output goes to."""
        log = self._folder / f"{name}.log"
        process = Process(name, [sys.executable, "-m", f"schemas.examples.{name}"], log, self._environment)
        self.owned.callback(process.stop)
        return log

    def request(self, terminal: str, operation: str) -> str:
        message_id = str(uuid4())
        command = [sys.executable, "-m", "schemas.examples.confluent_producer", terminal, operation, message_id]
        subprocess.run(command, env=self._environment, check=True, timeout=_TIMEOUT)
        return message_id


@pytest.fixture
def examples(system: System, tmp_path: Path) -> Iterator[Examples]:
    with ExitStack() as stack:
        programs = Examples(system, tmp_path)
        stack.enter_context(programs.owned)
        yield programs


def _until_told(log: Path, *lines: str) -> None:
    def all_there() -> bool:
        return set(lines) <= set(log.read_text().splitlines())

    until(all_there, _TIMEOUT, log.read_text)


def test_a_request_by_confluent_kafka_is_run_and_its_outcomes_are_read_by_it(
    system: System, examples: Examples
) -> None:
    consumer = examples.start("confluent_consumer")
    system.start_ready_worker()
    (terminal,) = terminals(1)
    first, second = (examples.request(terminal, operation) for operation in ("send_logs", "check_update"))
    _until_told(consumer, f"{first} completed", f"{second} completed")
    assert system.executions() == {first: 1, second: 1}


def test_an_end_of_day_reaches_a_confluent_consumer_with_its_totals(system: System, examples: Examples) -> None:
    consumer = examples.start("confluent_consumer")
    system.start_ready_worker()
    (terminal,) = terminals(1)
    message_id = examples.request(terminal, "end_of_day")
    until(lambda: f"{message_id} completed with sales of " in consumer.read_text(), _TIMEOUT, consumer.read_text)


def test_a_faststream_subscriber_tells_of_what_failed(system: System, examples: Examples) -> None:
    subscriber = examples.start("faststream_subscriber")
    system.start_ready_worker()
    system.simulator.change({"reject": "*-T0001"})
    good, refused = terminals(2)
    done = examples.request(good, "end_of_day")
    failed = examples.request(refused, "end_of_day")
    _until_told(subscriber, f"{failed} needs a person: rejected")
    assert done not in subscriber.read_text()
