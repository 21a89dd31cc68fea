"""`pending`, `explain` and `state` on a real Kafka: what they show, and the way out of a halted partition."""

import re
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from tests.support.command import Done, terminal_worker
from tests.support.records import Message
from tests.support.requests import assert_promises_kept, request, terminals
from tests.support.system import System
from tests.support.waiting import until
from worker.kafka import producer as producers

pytestmark = pytest.mark.kafka

_TIMEOUT = 30.0
_PARTITIONS = 4
_TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_what_is_unfinished_is_shown_without_a_worker_and_its_story_is_told(system: System) -> None:
    worker = system.start_ready_worker()
    done = request("P11223351-T0001", message_id="order-1")
    system.send([done])
    system.outcomes_of([done])
    system.simulator.change({"completion_min": 600.0, "completion_max": 600.0})
    first = request("P11223351-T0001", message_id="order-2", traceparent=f"00-{_TRACE_ID}-b7ad6b7169203331-01")
    second = request("P11223351-T0001", message_id="order-3")
    system.send([first, second])
    rows = until(lambda: _unfinished(system, {"order-2": "pending", "order-3": "queued"}), _TIMEOUT)
    worker.kill()

    assert {row["account_id"] for row in rows} == {"P11223351"}
    assert [row["message_id"] for row in rows] == ["order-2", "order-3"]  # oldest first
    assert _cli(system, "pending", "--older-than", "1h").out == "nothing is unfinished\n"
    table = _cli(system, "pending").out
    assert "order-3" in table
    assert re.search(r"^P11223351 +1 +0 +1 +2$", table, re.MULTILINE), table
    assert max(map(len, table.splitlines())) <= 80

    told = _cli(system, "explain", "order-2")
    assert told.code == 0
    assert re.search(r"^now +pending$", told.out, re.MULTILINE), told.out
    assert _TRACE_ID in told.out
    assert _order(told.out) == ["requested", "creating", "pending", "created"] or _order(told.out) == [
        *("requested", "creating", "created", "pending")
    ]
    finished = _cli(system, "explain", _key_of(system, "order-1"))
    assert re.search(r"^now +completed$", finished.out, re.MULTILINE), finished.out
    assert "order-1" in finished.out
    assert _cli(system, "explain", "order-2", "--since", "2099-01-01T00:00:00Z").code == 0  # from the state
    unknown = _cli(system, "explain", "nobody's")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.count("\n") == 1


def test_a_halted_partition_is_reset_and_worked_on_again(system: System) -> None:
    given_up = _leave_unfinished(system)
    partition = _partition(given_up)
    _write(system, partition, b"position", {"v": 1, "group": "another", "topic": "t", "offset": 7, **_NO_RECORD})
    worker = system.start_worker()
    until(lambda: _state_of(worker.get("/status"), partition) == "halted", _TIMEOUT)

    halted = _cli(system, "state", "show")
    assert re.search(rf"^partition {partition}: halts: .*'another'", halted.out, re.MULTILINE), halted.out
    owned = _cli(system, "state", "reset", str(partition), "--from", "latest", "--yes")
    assert owned.code == 1
    assert "stop the workers" in owned.err
    worker.terminate()
    assert worker.wait() == 0

    asked = _cli(system, "state", "reset", str(partition), "--from", "latest", typed="n\n")
    assert asked.code == 1
    assert "group 'another'" in asked.out
    assert "order-2 P11223351-T0001 end_of_day: pending" in asked.out
    assert "not read again" in asked.out
    assert "halts" in _cli(system, "state", "show").out
    assert _cli(system, "state", "reset", str(partition), "--from", "99999", "--yes").code == 2
    assert _cli(system, "state", "reset", "99", "--from", "latest", "--yes").code == 2

    reset = _cli(system, "state", "reset", str(partition), "--from", "latest", "--yes")
    assert reset.code == 0, reset.err
    assert "halts" not in _cli(system, "state", "show").out
    assert _cli(system, "pending").out == "nothing is unfinished\n"
    again = system.start_worker()
    again.wait_until_ready()
    system.simulator.change({"completion_min": 0.05, "completion_max": 0.2})
    requests = [request(terminal) for terminal in terminals(24)]
    assert partition in {_partition(sent) for sent in requests}
    system.send(requests)
    before = ("order-1", "order-2")
    outcomes = [each for each in system.outcomes_of(requests) if each.json()["message_id"] not in before]
    assert_promises_kept(requests, outcomes)


def test_a_partition_of_a_newer_version_is_reset_and_its_finished_ids_stay_known(system: System) -> None:
    given_up = _leave_unfinished(system, seconds=20.0)
    partition = _partition(given_up)
    _write(system, partition, b"0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44", {"v": 2, "of": "a later worker"})
    shown = _cli(system, "state", "show", str(partition)).out
    assert re.search(r"^problem +halts: .*version 2", shown, re.MULTILINE), shown
    assert re.search(r"^versions +version 1, version 2$", shown, re.MULTILINE), shown

    reset = _cli(system, "state", "reset", str(partition), "--from", "earliest", "--yes")
    assert reset.code == 0, reset.err
    assert "1 finished message IDs stay known" in reset.out
    assert "are read again" in reset.out
    system.start_worker().wait_until_ready()
    outcomes = system.outcomes_of([given_up])
    assert [each.json()["status"] for each in outcomes if each.json()["message_id"] == "order-1"] == [
        *("created", "completed")
    ]
    assert set(system.executions().values()) <= {1}


def test_hostile_records_are_shown_and_break_no_command(system: System) -> None:
    partition = _partition(request("P11223351-T0001"))
    producer = Producer({"bootstrap.servers": system.bootstrap})
    for key, value in ((b"\x1b[31m", b"\xff"), (b"position", b"[1]"), (b"k", b"{" * 900), (b"n", b'{"v":"\\u001b"}')):
        producer.produce(system.topics.state, key=key, value=value, partition=partition)
    producer.produce(system.topics.outcomes, value=b"\xff" * 100, headers=[("ce_type", b"\xff")])
    producer.produce(system.topics.requests, value=b"[" * 900, headers=[("ce_id", b"order-1"), ("\x1b", None)])
    producer.produce(system.topics.dead_letters, value=None, headers=[("dead-letter-offset", b"\x1b[2J")])
    assert producer.flush(_TIMEOUT) == 0
    for arguments in (
        *(("pending",), ("pending", "--jsonl"), ("state", "show"), ("state", "show", str(partition))),
        *(("explain", "order-1"), ("dead-letters", "list"), ("dead-letters", "show", "0:0"), ("unconfirmed", "list")),
    ):
        done = _cli(system, *arguments)
        assert done.code == 0, (arguments, done.err)
        assert "\x1b" not in done.out + done.err


def test_a_missing_topic_is_one_line_with_the_fix(bare_system: System) -> None:
    for arguments in (
        ("pending",),
        ("explain", "x"),
        ("state", "show"),
        ("dead-letters", "list"),
        ("unconfirmed", "list"),
    ):
        done = _cli(bare_system, *arguments)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: topic ")
        assert "topics create" in done.err
        assert done.err.count("\n") == 1


_NO_RECORD = {"last_offset": None, "last_timestamp": None, "time": 0}


def _cli(system: System, *arguments: str, typed: str = "") -> Done:
    return terminal_worker(system.environment(), *arguments, typed=typed)


def _unfinished(system: System, wanted: dict[str, str]) -> list[dict[str, Any]] | None:
    rows = _cli(system, "pending", "--jsonl").rows()
    return rows if {row["message_id"]: row["state"] for row in rows} == wanted else None


def _leave_unfinished(system: System, seconds: float = 600.0) -> Message:
    """One request finished, and the next one of its terminal at the API, with no worker left."""
    worker = system.start_ready_worker()
    done = request("P11223351-T0001", message_id="order-1")
    system.send([done])
    system.outcomes_of([done])
    system.simulator.change({"completion_min": seconds, "completion_max": seconds})
    left = request("P11223351-T0001", message_id="order-2")
    system.send([left])
    until(lambda: _unfinished(system, {"order-2": "pending"}), _TIMEOUT)
    worker.terminate()
    assert worker.wait() == 0
    return left


def _key_of(system: System, message_id: str) -> str:
    told = _cli(system, "explain", message_id).out
    found = re.search(r"^idempotency key +(\S+)$", told, re.MULTILINE)
    assert found, told
    return found[1]


def _order(told: str) -> list[str]:
    return re.findall(r"^20\S+Z +(\w+)", told, re.MULTILINE)


def _state_of(status: Any, partition: int) -> str | None:
    shown = {each["partition"]: each["state"] for each in status["partitions"]} if status else {}
    return shown.get(partition)


def _partition(sent: Message) -> int:
    return producers._partition(sent.key, _PARTITIONS)


def _write(system: System, partition: int, key: bytes, value: dict[str, Any]) -> None:
    producer = Producer({"bootstrap.servers": system.bootstrap})
    producer.produce(system.topics.state, key=key, value=orjson.dumps(value), partition=partition)
    assert producer.flush(_TIMEOUT) == 0
