"""The story: requests flow, the worker is killed and comes back, and what was sent is checked against what was seen."""

import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from worker.demo import cluster
from worker.demo.broker import BrokerUnavailableError
from worker.demo.load import ACCOUNT, PATTERNS, Kind, Sender, Sent, kinds, load
from worker.demo.process import ProcessFailedError, SimulatorProcess, WorkerProcess
from worker.demo.view import Check, Numbers, View
from worker.demo.watch import Watch
from worker.settings import SettingsError

_RECORDS = 600
_TERMINALS = 60
_SENDING = 25.0
_KILLED_AT = 9.0
_BACK_AT = 10.5
# It is over once all has been seen, half a minute after the kill at most; on a machine under load, later.
_OVER_AT = 150.0
# What should not come gets this long to come all the same.
_AFTERMATH = 1.0
_TICK = 0.05

# An operation that overlaps another is counted, not refused: a refusal would hide the mistake.
_API = {
    "latency": 0.02,
    "jitter": 0.05,
    "completion_min": 0.1,
    "completion_max": 0.9,
    "busy": False,
    "reject": PATTERNS[Kind.REJECTED],
    "fail": PATTERNS[Kind.FAILING],
    "timeout": PATTERNS[Kind.TIMING_OUT],
}


def run() -> bool:
    """Runs the demo, in about a minute, and returns whether every promise held. Everything it starts, it ends."""
    # Else a SIGTERM leaves behind what was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="terminal-worker-demo-"))
    view = View()
    try:
        with ExitStack() as owned:
            held = _story(view, folder, owned)
    except (BrokerUnavailableError, ProcessFailedError, KafkaException, SettingsError) as error:
        view.say(f"The demo cannot go on. {error}")
        held = False
    if held:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        view.say(f"The logs of worker and simulator are in {folder}")
    return held


def _story(view: View, folder: Path, owned: ExitStack) -> bool:
    # The simulator and the broker get ready at the same time.
    simulator = owned.enter_context(SimulatorProcess(folder / "simulator.log"))
    kafka = cluster.find(view, owned)
    topics = cluster.create_topics(kafka, owned)
    simulator.wait_until_ready()
    simulator.change(_API)
    watch = Watch(kafka.client, topics["KAFKA_OUTCOMES_TOPIC"], topics["KAFKA_DEAD_LETTERS_TOPIC"])
    owned.callback(watch.stop)
    worker = _Victim(view, folder / "worker.log", {**kafka.environment, **topics, **_api(simulator.url)})
    owned.callback(worker.stop)
    worker.wait_until_ready()
    sender = Sender(kafka.client, topics["KAFKA_REQUESTS_TOPIC"])
    owned.callback(sender.close)
    records = load(_RECORDS, _TERMINALS)
    with view:
        _send_and_watch(view, records, sender, watch, worker)
    checks = _checks(records, watch, simulator)
    if kafka.environment.get("WORKER_DELIVERY") != "at_least_once":
        checks.append(Check("outcomes and dead letters that came twice", 0, watch.repeats))
    elif watch.repeats:
        view.say(f"{watch.repeats} outcomes and dead letters came twice, and count once: at_least_once allows it.")
    view.result(checks)
    held = all(check.holds for check in checks)
    view.say("Every promise was kept." if held else "[bold red]A promise was broken.[/]")
    return held


def _api(url: str) -> dict[str, str]:
    return {
        "DINTERO_BASE_URL": url,
        "DINTERO_ACCOUNT_ID": ACCOUNT,
        "DINTERO_CLIENT_ID": "demo",
        "DINTERO_CLIENT_SECRET": "demo",
        "WORKER_POLL_INITIAL_DELAY": "200ms",
        "WORKER_POLL_MAX_DELAY": "500ms",
    }


class _Victim:
    """The worker of the story: killed once, and started again."""

    def __init__(self, view: View, log: Path, environment: dict[str, str]) -> None:
        self._view = view
        self._log = log
        self._environment = environment
        self._events = [(_KILLED_AT, self._kill), (_BACK_AT, self._come_back)]
        self._process = self._start()

    def wait_until_ready(self) -> None:
        self._process.wait_until_ready()
        self._view.say("The worker is ready.")

    def follow(self, seconds: float) -> None:
        """Lets happen what the story has for this time, in seconds since the first request."""
        while self._events and seconds >= self._events[0][0]:
            self._events.pop(0)[1]()

    def status(self) -> Any:
        """The worker's `/status`, or None while it cannot tell."""
        return self._process.get("/status") if self._process.running else None

    def stop(self) -> None:
        self._process.stop()

    def _start(self) -> WorkerProcess:
        return WorkerProcess("the worker", self._log, self._environment)

    def _kill(self) -> None:
        self._process.kill()
        self._view.say("[bold red]kill -9[/]: the worker is gone, in the middle of everything.")

    def _come_back(self) -> None:
        self._process = self._start()
        self._view.say("[bold green]started again[/]: it waits for the partitions of the dead one.")


def _send_and_watch(view: View, records: Sequence[Sent], sender: Sender, watch: Watch, worker: _Victim) -> None:
    """Returns when everything expected was seen, and a little later; or when time is up."""
    expected = _expected(records)
    started = time.monotonic()
    sent = 0
    status: Any = None
    next_status = 0.0
    over_at = _OVER_AT
    while (seconds := time.monotonic() - started) < over_at:
        worker.follow(seconds)
        due = min(len(records), int(seconds / _SENDING * len(records)) + 1)
        for record in records[sent:due]:
            sender.send(record)
        sent = due
        if seconds >= next_status:
            status, next_status = worker.status(), seconds + 0.5
        view.show(_numbers(len(records), sent, expected.finals, watch, status))
        everything = watch.finals >= expected.finals and watch.dead_letters.total() >= expected.dead_letters
        if sent == len(records) and everything:
            over_at = min(over_at, seconds + _AFTERMATH)
        time.sleep(_TICK)


def _numbers(planned: int, sent: int, expected: int, watch: Watch, status: Any) -> Numbers:
    return Numbers(
        planned=planned,
        sent=sent,
        expected=expected,
        created=watch.statuses["created"],
        completed=watch.statuses["completed"],
        failed=watch.statuses["failed"],
        lanes=_total(status, "lanes"),
        pending=_total(status, "pending"),
        latencies=watch.latencies(),
    )


def _total(status: Any, name: str) -> int | None:
    """Over the partitions of a `/status`; one that is being restored cannot tell yet."""
    return None if status is None else sum(partition.get(name, 0) for partition in status["partitions"])


@dataclass(frozen=True, slots=True)
class _Expected:
    """What must come of the records sent, whatever happened on the way."""

    created: int
    finals: int
    dead_letters: int


def _expected(records: Sequence[Sent]) -> _Expected:
    sent = kinds(records)
    created = sent[Kind.GOOD] + sent[Kind.FAILING] + sent[Kind.TIMING_OUT]
    invalid = sent[Kind.INVALID] + sent[Kind.NAMELESS]
    return _Expected(created, created + sent[Kind.REJECTED] + sent[Kind.INVALID], invalid + sent[Kind.REUSED])


def _checks(records: Sequence[Sent], watch: Watch, simulator: SimulatorProcess) -> list[Check]:
    sent = kinds(records)
    expected = _expected(records)
    api: dict[str, Any] = simulator.get("/_simulator") or {}
    reasons = watch.reasons
    # A create in flight to a refusing API when the worker died may have run, for all the next one knows.
    refused = reasons["rejected"] + reasons["unconfirmed"]
    return [
        Check("requests with a final outcome", expected.finals, watch.finals),
        Check("created", expected.created, watch.statuses["created"]),
        Check("completed", sent[Kind.GOOD], watch.statuses["completed"]),
        Check("failed: rejected, or unconfirmed after the kill", sent[Kind.REJECTED], refused),
        Check("failed: the terminal failed", sent[Kind.FAILING], reasons["terminal_failed"]),
        Check("failed: the terminal did not answer", sent[Kind.TIMING_OUT], reasons["terminal_timeout"]),
        Check("failed: invalid request", sent[Kind.INVALID], reasons["invalid_request"]),
        Check("outcomes out of order, or a second final one", 0, watch.broken_orders),
        Check("dead letters: invalid", sent[Kind.INVALID] + sent[Kind.NAMELESS], watch.dead_letters["invalid_request"]),
        Check("dead letters: message ID reused", sent[Kind.REUSED], watch.dead_letters["message_id_reused"]),
        Check("operations run by the API", expected.created, api.get("executions", -1)),
        Check("keys run twice by the API", 0, len(api.get("executed_twice", [""]))),
        Check("operations overlapping on one terminal", 0, api.get("overlaps", -1)),
    ]
