"""A ledger and an input that do not belong together: the partition halts and says so, and loses nothing by going on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.records import read_until
from tests.support.requests import assert_promises_kept, message_ids, request, terminals
from tests.support.system import System
from tests.support.waiting import until
from worker.demo.process import WorkerProcess
from worker.kafka import producer as producers

pytestmark = pytest.mark.kafka

_TIMEOUT = 30.0
_PARTITIONS = 4


def test_the_ledger_of_another_group_halts_its_partition_and_the_others_work(system: System) -> None:
    position = {"v": 1, "group": "another", "topic": system.topics.requests, "offset": 0}
    _write(system, 2, {**position, "last_offset": None, "last_timestamp": None, "time": 0})
    worker = system.start_worker()
    error = _halted(worker, {2})[2]
    assert "another" in error
    assert "KAFKA_STATE_TOPIC" in error
    assert worker.get("/readyz") is None
    requests = [sent for sent in map(request, terminals(24)) if _partition(sent.key) != 2]
    assert requests
    system.send(requests)
    assert_promises_kept(requests, system.outcomes_of(requests))


def test_a_newer_ledger_is_refused_and_nothing_is_written_to_it(system: System) -> None:
    for partition in range(_PARTITIONS):
        _write(system, partition, {"v": 2, "of": "a later worker"})
    system.send([request(terminal) for terminal in terminals(8)])
    worker = system.start_worker()
    errors = _halted(worker, set(range(_PARTITIONS)))
    assert all("version 2" in error for error in errors.values())
    ends = _ends(system, system.topics.state)
    assert ends == dict.fromkeys(range(_PARTITIONS), 1)
    assert set(_ends(system, system.topics.outcomes).values()) == {0}
    assert system.executions() == {}


def test_a_requests_topic_made_anew_under_its_ledger_is_not_read(system: System) -> None:
    _finish_some(system)
    _make_anew(system, system.topics.requests)
    system.send([request(terminal) for _ in range(20) for terminal in terminals(24)])  # longer than the first one was
    before = system.executions()
    errors = _halted(system.start_worker(), set(range(_PARTITIONS)))
    assert all("recreated" in error and system.topics.requests in error for error in errors.values())
    assert system.executions() == before


def test_a_requests_topic_made_anew_and_still_empty_is_not_read(system: System) -> None:
    _finish_some(system)
    _make_anew(system, system.topics.requests)
    errors = _halted(system.start_worker(), set(range(_PARTITIONS)))
    assert all("ends at offset 0" in error for error in errors.values())


def test_a_state_topic_made_anew_is_no_new_beginning(system: System) -> None:
    _finish_some(system)
    _make_anew(system, system.topics.state, {"cleanup.policy": "compact"})
    before = system.executions()
    errors = _halted(system.start_worker(), set(range(_PARTITIONS)))
    assert all("no ledger" in error and system.topics.state in error for error in errors.values())
    assert system.executions() == before


def test_a_ledger_behind_a_strangers_open_transaction_is_waited_for_and_nothing_is_done_again(system: System) -> None:
    worker = system.start_ready_worker()
    options = {"transactional.id": f"stranger-{system.topics.state}", "transaction.timeout.ms": 600_000}
    stranger = Producer({"bootstrap.servers": system.bootstrap, **options})
    stranger.init_transactions(_TIMEOUT)
    stranger.begin_transaction()
    for partition in range(_PARTITIONS):
        stranger.produce(system.topics.state, key=b"key", value=b"value", partition=partition)
    assert stranger.flush(_TIMEOUT) == 0
    requests = [request(terminal) for terminal in terminals(24)]
    system.send(requests)
    system.outcomes_of(requests)
    worker.kill()
    heir = system.start_worker()
    until(lambda: _waits_for_a_transaction(heir), 2 * _TIMEOUT, lambda: str(heir.get("/status")))
    stranger.abort_transaction(_TIMEOUT)
    heir.wait_until_ready()
    requests += [request(terminal) for terminal in terminals(24)]
    system.send(requests[24:])
    assert_promises_kept(requests, system.outcomes_of(requests))


def test_a_ledger_that_lost_what_is_unfinished_is_not_taken_for_whole(system: System) -> None:
    worker = system.start_ready_worker()
    system.simulator.change({"completion_min": 600.0, "completion_max": 600.0})
    requests = [request(terminal) for terminal in terminals(24)]
    assert {_partition(sent.key) for sent in requests} == set(range(_PARTITIONS))
    system.send(requests)
    created = read_until(system.bootstrap, system.topics.outcomes, lambda outcomes: len(outcomes) == len(requests))
    assert len(created) == len(requests)
    worker.kill()
    positions = _last_of_the_ledger(system)
    # As a worker leaves it under which the topic is made anew, or whose topic is cleaned by time.
    _make_anew(system, system.topics.state, {"cleanup.policy": "compact"})
    for partition, position in positions.items():
        _write(system, partition, position)
    errors = _halted(system.start_worker(), set(range(_PARTITIONS)))
    assert all("has lost records" in error and "state reset" in error for error in errors.values())
    assert len(system.executions()) == len(requests)


def test_requests_that_retention_took_are_said_to_be_lost_and_work_goes_on(system: System) -> None:
    _finish_some(system)
    taken = [request(terminal) for terminal in terminals(24)]
    system.send(taken)
    ends = _ends(system, system.topics.requests)
    admin = AdminClient({"bootstrap.servers": system.bootstrap})
    until_end = [TopicPartition(system.topics.requests, partition, end) for partition, end in ends.items()]
    for deleted in admin.delete_records(until_end).values():
        deleted.result(_TIMEOUT)
    worker = system.start_ready_worker()
    after = [request(terminal) for terminal in terminals(24)]
    system.send(after)
    outcomes = system.outcomes_of(after)
    told = [orjson.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    lost = [line for line in told if line["event"] == "requests_lost_to_retention"]
    assert sum(line["records"] for line in lost) >= len(taken)
    assert {line["partition"] for line in lost} <= set(range(_PARTITIONS))
    assert not set(message_ids(taken)) & {outcome.json()["message_id"] for outcome in outcomes}
    assert not set(message_ids(taken)) & set(system.executions())


def test_the_workers_partitioner_is_that_of_java(system: System) -> None:
    chosen: dict[bytes | None, int | None] = {}
    producer = Producer({"bootstrap.servers": system.bootstrap, "partitioner": "murmur2_random"})
    for number in range(500):
        key = f"P1122335{number % 10}-T{number:04}".encode()
        producer.produce(
            system.topics.requests, key=key, on_delivery=lambda _, sent: chosen.update({sent.key(): sent.partition()})
        )
    assert producer.flush(_TIMEOUT) == 0
    assert len(chosen) == 500
    assert chosen == {key: _partition(key) for key in chosen}


def _finish_some(system: System) -> None:
    """Every partition has a ledger and a group offset, and no worker runs."""
    requests = [request(terminal) for terminal in terminals(24)]
    assert {_partition(sent.key) for sent in requests} == set(range(_PARTITIONS))
    worker = system.start_ready_worker()
    system.send(requests)
    system.outcomes_of(requests)
    worker.terminate()
    assert worker.wait() == 0


def _halted(worker: WorkerProcess, partitions: set[int]) -> dict[int, str]:
    """Why these partitions halted, once they and no others have, and all others run."""

    def halted() -> dict[int, str] | None:
        status = worker.get("/status")
        shown = {p["partition"]: p for p in status["partitions"]} if status else {}
        expected = {number: "halted" if number in partitions else "running" for number in range(_PARTITIONS)}
        if {number: partition["state"] for number, partition in shown.items()} != expected:
            return None
        return {number: shown[number]["error"] for number in partitions}

    return until(halted, _TIMEOUT, lambda: str(worker.get("/status")))


def _waits_for_a_transaction(worker: WorkerProcess) -> bool:
    status = worker.get("/status")
    shown = status["partitions"] if status else []
    return len(shown) == _PARTITIONS and all("transaction open" in (one["error"] or "") for one in shown)


def _partition(key: bytes | None) -> int:
    return producers._partition(key, _PARTITIONS)


def _write(system: System, partition: int, value: dict[str, Any]) -> None:
    """A record of the ledger that this worker did not write."""
    producer = Producer({"bootstrap.servers": system.bootstrap})
    producer.produce(system.topics.state, key=b"position", value=orjson.dumps(value), partition=partition)
    assert producer.flush(_TIMEOUT) == 0


def _make_anew(system: System, topic: str, config: dict[str, str] | None = None) -> None:
    """Delete a topic and create it again, empty and under the same name."""
    admin = AdminClient({"bootstrap.servers": system.bootstrap})
    admin.delete_topics([topic], operation_timeout=_TIMEOUT)[topic].result(_TIMEOUT)
    until(lambda: topic not in admin.list_topics(timeout=_TIMEOUT).topics, _TIMEOUT)
    new = NewTopic(topic, _PARTITIONS, 1, config=config or {})
    admin.create_topics([new], operation_timeout=_TIMEOUT)[topic].result(_TIMEOUT)


def _ends(system: System, topic: str) -> dict[int, int]:
    with _consumer(system) as consumer:
        partitions = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)[1]
            for number in partitions
        }


def _last_of_the_ledger(system: System) -> dict[int, Any]:
    """The position of each partition: the last record of a commit, and behind it is the marker of its transaction."""
    topic, found = system.topics.state, dict[int, Any]()
    for partition, end in _ends(system, topic).items():
        with _consumer(system) as consumer:
            consumer.assign([TopicPartition(topic, partition, end - 2)])
            last = until(lambda: consumer.poll(1), _TIMEOUT)
            assert last.key() == b"position"
            found[partition] = orjson.loads(last.value() or b"")
    return found


@contextmanager
def _consumer(system: System) -> Iterator[Consumer]:
    consumer = Consumer({"bootstrap.servers": system.bootstrap, "group.id": "looks"})
    try:
        yield consumer
    finally:
        consumer.close()
