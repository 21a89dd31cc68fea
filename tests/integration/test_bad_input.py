"""Whatever comes, the worker goes on, and nothing of it is lost."""

from uuid import uuid4

import pytest

from tests.support.records import Message
from tests.support.requests import assert_promises_kept, finals, message_ids, request, terminals
from tests.support.system import System
from tests.support.waiting import until
from worker.demo.broker import KafkaBroker
from worker.kafka import producer as producers

pytestmark = pytest.mark.kafka

_TERMINAL = b"P11223351-T0001"
_GOOD = b'{"terminal_id": "P11223351-T0001", "operation": "end_of_day"}'
_VALUES = {
    "not JSON": b"{",
    "a value of no bytes": b"",
    "no value": None,
    "no object": b"[1, 2]",
    "wrong types": b'{"terminal_id": 7, "operation": ["end_of_day"], "parameters": "x"}',
    "an unknown operation": b'{"terminal_id": "P11223351-T0001", "operation": "explode"}',
    "deeply nested lists": b"[" * 400_000 + b"]" * 400_000,
    "no UTF-8": b'{"terminal_id": "\xff\xfe", "operation": "end_of_day"}',
}
_NAMELESS = {
    "no message ID": Message(_TERMINAL, _GOOD),
    "an empty message ID": Message(_TERMINAL, _GOOD, (("message-id", b""),)),
    "headers that are no text": Message(_TERMINAL, _GOOD, (("message-id", b"\xff\xfe"), ("ce_id", b"\x80"))),
    "headers without values": Message(_TERMINAL, _GOOD, (("message-id", None), ("ce_type", None))),
    "nothing at all": Message(None, None),
}
_ADDED = "dead-letter-"


def test_invalid_requests_come_back_byte_for_byte_and_stop_nothing(system: System) -> None:
    named = {what: Message(_TERMINAL, value, (("message-id", what.encode()),)) for what, value in _VALUES.items()}
    before, after = request(_TERMINAL.decode()), request(_TERMINAL.decode())
    bad = [*named.values(), *_NAMELESS.values()]
    worker = system.start_ready_worker()
    system.send([before, *bad, after])
    outcomes = system.outcomes_of([before, after])
    letters = system.dead_letters(len(bad))
    assert worker.running
    assert {_as_it_came(letter) for letter in letters} == set(bad)
    assert all(letter.header("dead-letter-reason") == "invalid_request" for letter in letters)
    assert all(letter.header("dead-letter-topic") == system.topics.requests for letter in letters)
    assert not any(letter.header("dead-letter-truncated") for letter in letters)
    ends = finals(outcomes)
    assert set(ends) == {*named, *message_ids([before, after])}
    assert {ends[what]["error"]["reason"] for what in named} == {"invalid_request"}
    assert set(system.executions()) == set(message_ids([before, after]))


def test_a_record_as_large_as_brokers_take_comes_back_cut_and_says_so(system: System) -> None:
    large = Message(_TERMINAL, b"[" * 500_000 + b"]" * 500_000, (("message-id", b"large"),))
    system.start_ready_worker()
    system.send([large])
    (letter,) = system.dead_letters(1)
    assert letter.header("dead-letter-truncated") == "value"
    assert large.value is not None
    assert letter.value is not None
    assert large.value.startswith(letter.value)
    assert len(letter.value) > 800_000
    assert letter.key == large.key


def test_a_batch_that_rotted_on_its_disk_halts_its_partition_and_the_others_work(
    system: System, kafka: KafkaBroker
) -> None:
    requests = [request(terminal) for terminal in terminals(24)]
    rotten = next(sent for sent in requests if _partition(sent) == 2)
    others = [sent for sent in requests if _partition(sent) != 2]
    assert {_partition(sent) for sent in others} == {0, 1, 3}
    system.send([rotten])
    segment = kafka.folder / "data" / f"{system.topics.requests}-2" / f"{0:020}.log"
    stored = segment.read_bytes()
    segment.write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
    worker = system.start_worker()
    system.send(others)
    assert_promises_kept(others, system.outcomes_of(others))

    def halted() -> str | None:
        status = worker.get("/status")
        shown = {partition["partition"]: partition for partition in status["partitions"]} if status else {}
        return shown[2]["error"] if shown and shown[2]["state"] == "halted" else None

    assert "offset 0 cannot be read" in until(halted, 60.0, lambda: str(worker.get("/status")))


def test_an_invalid_request_sent_twice_fails_once(system: System) -> None:
    bad = Message(_TERMINAL, b"{", (("message-id", str(uuid4()).encode()),))
    last = request(_TERMINAL.decode())
    system.start_ready_worker()
    system.send([bad, bad, last])
    outcomes = system.outcomes_of([last])
    assert sum(outcome.json()["status"] == "failed" for outcome in outcomes) == 1
    assert len(system.dead_letters(1)) == 1


def _partition(sent: Message) -> int:
    return producers._partition(sent.key, 4)


def _as_it_came(letter: Message) -> Message:
    headers = tuple((name, value) for name, value in letter.headers if not name.startswith(_ADDED))
    return Message(letter.key, letter.value, headers)
