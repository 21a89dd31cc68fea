"""The whole system of one test: its topics, the simulated API, and any number of worker processes."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.documented import assert_dead_letters_documented, assert_outcomes_documented
from tests.support.records import Message, produce, read_until
from tests.support.requests import all_final
from tests.support.topics import Topics, named_topics
from worker.demo.process import Process, SimulatorProcess, WorkerProcess, clean_environment

_API = ("--completion-min", "0.05", "--completion-max", "0.2", "--no-busy")


class System:
    """Every process it starts, it ends. Made by the `system` fixture."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.topics: Topics = named_topics()
        self.processes: list[Process] = []
        self._folder = folder
        self._owned = ExitStack()
        self._simulator: SimulatorProcess | None = None

    @property
    def simulator(self) -> SimulatorProcess:
        """The API: fast, and it counts overlapping operations instead of refusing them. Started at its first use."""
        if self._simulator is None:
            self._simulator = SimulatorProcess(self._folder / "simulator.log", *_API)
            self._own(self._simulator)
        return self._simulator

    def environment(self, **settings: str) -> dict[str, str]:
        """The settings of a worker in this system; `settings` win."""
        return {
            **clean_environment(),
            **self.topics.environment(),
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA_GROUP_ID": self.topics.requests,
            "DINTERO_BASE_URL": self.simulator.url,
            "DINTERO_ACCOUNT_ID": "P11223351",
            "DINTERO_CLIENT_ID": "client",
            "DINTERO_CLIENT_SECRET": "secret",
            "WORKER_POLL_INITIAL_DELAY": "100ms",
            "WORKER_POLL_MAX_DELAY": "500ms",
            **settings,
        }

    def start_worker(self, **settings: str) -> WorkerProcess:
        """A worker process that may not be ready yet."""
        number = len(self.processes)
        log = self._folder / f"worker-{number}.log"
        worker = WorkerProcess(f"worker {number}", log, self.environment(**settings))
        self._own(worker)
        return worker

    def start_ready_worker(self, **settings: str) -> WorkerProcess:
        """And the simulator is ready too; both start at the same time."""
        worker = self.start_worker(**settings)
        self.simulator.wait_until_ready()
        worker.wait_until_ready()
        return worker

    def send(self, requests: Sequence[Message]) -> None:
        produce(self.bootstrap, self.topics.requests, requests)

    def outcomes_of(self, requests: Sequence[Message], timeout: float = 60.0) -> list[Message]:
        """All outcomes, once each of the requests has its final one. Fails after `timeout` seconds."""
        outcomes = read_until(self.bootstrap, self.topics.outcomes, all_final(requests), timeout)
        assert all_final(requests)(outcomes), f"{len(outcomes)} outcomes in {timeout:.0f} s, and some are missing"
        assert_outcomes_documented(outcomes)
        return outcomes

    def dead_letters(self, count: int, timeout: float = 30.0) -> list[Message]:
        """The first `count` dead letters. Fails when there are fewer after `timeout` seconds."""
        found = read_until(self.bootstrap, self.topics.dead_letters, lambda letters: len(letters) >= count, timeout)
        assert len(found) >= count, f"{len(found)} dead letters, not {count}"
        assert_dead_letters_documented(found)
        return found

    def executions(self) -> dict[str, int]:
        """How often the API ran each key."""
        executions: dict[str, int] = self.simulator.get("/_simulator/executions")
        return executions

    def counters(self) -> dict[str, Any]:
        counters: dict[str, Any] = self.simulator.get("/_simulator")
        return counters

    def close(self) -> None:
        self._owned.close()

    def _own(self, process: Process) -> None:
        self.processes.append(process)
        self._owned.callback(process.stop)
