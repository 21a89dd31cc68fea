"""`request` and `outcomes` as a user runs them, on a real Kafka."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.support.records import Message, produce, read_until
from tests.support.requests import message_ids, request, terminals
from tests.support.system import System
from tests.unit.cli.published import published
from worker.demo.process import free_ports

pytestmark = pytest.mark.kafka

_COMMAND = str(Path(__file__).parents[2] / ".venv" / "bin" / "terminal-worker")
_TIMEOUT = 120


def run(system: System, *arguments: str, given: str | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, and never with a traceback."""
    done = subprocess.run(
        [_COMMAND, *arguments],
        env=system.environment(**settings),
        input=given,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done


@contextmanager
def running(system: System, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; ended with the test."""
    process = subprocess.Popen(
        [_COMMAND, *arguments],
        env=system.environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=_TIMEOUT)


def csv(folder: Path, names: list[str]) -> str:
    file = folder / "requests.csv"
    file.write_text("terminal_id,operation\n" + "".join(f"{name},end_of_day\n" for name in names))
    return str(file)


def requested(system: System, count: int) -> list[Message]:
    return read_until(system.bootstrap, system.topics.requests, lambda found: len(found) >= count, timeout=15)


def test_one_request_is_sent_and_waited_for(system: System) -> None:
    system.start_ready_worker()
    done = run(system, "request", "--terminal", "P11223351-T0001", "--operation", "end_of_day", "--wait")
    assert done.returncode == 0, done.stderr
    message_id = done.stdout.strip()
    assert system.executions() == {message_id: 1}
    assert "1 of 1 sent" in done.stderr
    assert "1 completed" in done.stderr


def test_a_file_that_is_sent_again_runs_nothing_twice_and_finds_its_outcomes(system: System, tmp_path: Path) -> None:
    system.start_ready_worker()
    arguments = ("request", csv(tmp_path, terminals(30)), "--batch", "night", "--wait")
    first, second = run(system, *arguments), run(system, *arguments)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert "30 completed" in second.stderr
    ids = first.stdout.splitlines()
    assert second.stdout.splitlines() == ids
    assert system.executions() == dict.fromkeys(ids, 1)


def test_a_failed_one_is_told_with_its_reason_and_by_the_exit_code(system: System, tmp_path: Path) -> None:
    system.start_ready_worker()
    system.simulator.change({"reject": "*-T0001"})
    done = run(system, "request", csv(tmp_path, terminals(3)), "--batch", "night", "--wait")
    assert done.returncode == 1
    assert "rejected" in done.stderr
    assert "2 completed, 1 failed" in done.stderr


def test_one_bad_line_and_nothing_is_sent(system: System, tmp_path: Path) -> None:
    file = csv(tmp_path, ["P11223351-T0001", "", "P11223351-T0002"])
    done = run(system, "request", file, "--batch", "night")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: line 3: terminal_id")
    assert read_until(system.bootstrap, system.topics.requests, bool, timeout=1) == []


def test_lines_of_standard_input_go_where_javas_partitioner_sends_their_terminals(system: System) -> None:
    names = terminals(20)
    lines = "".join(f'{{"terminal_id":"{name}","operation":"send_logs","message_id":"{name}"}}\n' for name in names)
    done = run(system, "request", "-", "--rate", "40", given=lines)
    assert (done.returncode, done.stdout.split()) == (0, names)
    produce(system.bootstrap, system.topics.requests, [request(name) for name in names])
    assert message_ids(requested(system, 40)).count("P11223351-T0007") == 1
    assert len(set(_partitions(system, 40))) == len(names)


def test_a_dry_run_tells_the_same_ids_and_sends_nothing(system: System, tmp_path: Path) -> None:
    file = csv(tmp_path, terminals(3))
    dry = run(system, "request", file, "--batch", "night", "--dry-run")
    assert read_until(system.bootstrap, system.topics.requests, bool, timeout=1) == []
    sent = run(system, "request", file, "--batch", "night")
    assert dry.stdout == sent.stdout
    assert len(requested(system, 3)) == 3


def test_waiting_ends_at_its_timeout_and_tells_what_is_open(system: System) -> None:
    one = ("request", "--terminal", "P11223351-T0001", "--operation", "end_of_day", "--wait", "--timeout", "500ms")
    done = run(system, *one)
    assert done.returncode == 1
    assert "1 waiting" in done.stderr


def test_ctrl_c_while_waiting_is_clean(system: System) -> None:
    one = ("request", "--terminal", "P11223351-T0001", "--operation", "end_of_day", "--wait")
    with running(system, *one) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=_TIMEOUT)
    assert process.returncode == 130
    assert "Traceback" not in told


@pytest.mark.parametrize("command", [("request", "--terminal", "P1-T1", "--operation", "end_of_day"), ("outcomes",)])
def test_what_cannot_work_is_told_in_one_line(bare_system: System, command: tuple[str, ...]) -> None:
    missing = run(bare_system, *command)
    away = run(bare_system, *command, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_ports(1)[0]}")
    for done, hint in ((missing, "topics create"), (away, "terminal-worker check")):
        assert done.returncode == 1
        (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert hint in error


def test_outcomes_are_shown_up_to_the_end_or_followed(system: System) -> None:
    system.start_ready_worker()
    old, new = request("P11223351-T0001"), request("P11223351-T0002")
    system.send([old])
    system.outcomes_of([old])
    produce(system.bootstrap, system.topics.outcomes, [Message(b"x", b"no outcome", (("a", b"\xff"),))])
    shown = run(system, "outcomes")
    assert [line.split()[3:] for line in shown.stdout.splitlines()[1:]] == [
        ["created", *message_ids([old])],
        ["completed", *message_ids([old])],
    ]
    assert shown.stderr.count("no outcome: ") == len(shown.stderr.splitlines()) == 1
    with running(system, "outcomes", "--follow", "--jsonl", "--terminal", "P11223351-T0002") as process:
        assert process.stdout is not None
        system.send([new])
        followed = [orjson.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=_TIMEOUT)
    assert [(value["status"], value["message_id"]) for value in followed] == [
        ("created", *message_ids([new])),
        ("completed", *message_ids([new])),
    ]
    assert (process.returncode, told) == (130, "")


def test_outcomes_since_a_time_are_those_published_after_it(system: System) -> None:
    system.start_ready_worker()
    first, second = request("P11223351-T0001"), request("P11223351-T0001")
    system.send([first])
    system.outcomes_of([first])
    between = time.time()
    system.send([second])
    system.outcomes_of([first, second])
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(between)) + f".{int(between % 1 * 1000):03}Z"
    arguments = ("outcomes", "--since", since, "--status", "completed", "--jsonl")
    (only,) = [orjson.loads(line) for line in run(system, *arguments).stdout.splitlines()]
    assert only["message_id"] == message_ids([second])[0]
    assert len(run(system, "outcomes", "--since", "1h", "--jsonl").stdout.splitlines()) == 4


def test_a_reader_that_leaves_ends_the_command_quietly(system: System) -> None:
    records = [published("created", f"number {number}") for number in range(5_000)]
    messages = [Message(record.key, record.value, record.headers) for record in records]
    produce(system.bootstrap, system.topics.outcomes, messages)
    with running(system, "outcomes", "--jsonl") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(_TIMEOUT) in (0, 1)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def _partitions(system: System, count: int) -> list[tuple[bytes | None, int | None]]:
    consumer = Consumer({"bootstrap.servers": system.bootstrap, "group.id": "reads-without-a-group"})
    topic, deadline = system.topics.requests, time.monotonic() + 30
    found: list[tuple[bytes | None, int | None]] = []
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(4)])
        while len(found) < count and time.monotonic() < deadline:
            found += [(record.key(), record.partition()) for record in consumer.consume(100, timeout=0.1)]
    finally:
        consumer.close()
    return found
