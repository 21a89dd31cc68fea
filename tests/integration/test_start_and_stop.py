"""When a worker starts, when it refuses to, and how it goes."""

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.requests import assert_promises_kept, message_ids, request, terminals
from tests.support.system import System
from tests.support.topics import create_topics

pytestmark = pytest.mark.kafka


def test_a_worker_refuses_to_start_without_its_topics(bare_system: System) -> None:
    told = _refusal(bare_system)
    assert all(topic in told for topic in bare_system.topics.environment().values())
    assert "topics create" in told


def test_a_worker_refuses_a_state_topic_that_forgets(bare_system: System) -> None:
    create_topics(bare_system.bootstrap, bare_system.topics, cleanup="compact,delete")
    told = _refusal(bare_system)
    assert bare_system.topics.state in told
    assert "cleanup.policy" in told


def test_a_worker_refuses_a_state_topic_with_other_partitions_than_the_requests(bare_system: System) -> None:
    create_topics(bare_system.bootstrap, bare_system.topics, partitions=4, state_partitions=3)
    assert bare_system.topics.state in _refusal(bare_system)


def test_sigterm_drains_and_the_next_worker_goes_on(system: System) -> None:
    requests = [request(terminal) for terminal in terminals(20) for _ in range(3)]
    first = system.start_ready_worker()
    system.send(requests)
    system.outcomes_of(requests[:1])
    first.terminate()
    assert first.wait() == 0
    system.start_worker()
    outcomes = system.outcomes_of(requests)
    assert_promises_kept(requests, outcomes)
    assert system.executions() == dict.fromkeys(message_ids(requests), 1)
    assert system.counters()["overlaps"] == 0


def test_a_worker_that_leaves_hands_its_partitions_over_at_once(system: System) -> None:
    requests = [request(terminal) for terminal in terminals(40) for _ in range(4)]
    leaving = system.start_ready_worker()
    system.start_ready_worker()
    system.send(requests[:80])
    system.outcomes_of(requests[:1])
    leaving.terminate()
    assert leaving.wait() == 0
    # It said that it goes: of one that did not, the group knows only after a session timeout.
    assert _members(system) == 1
    system.send(requests[80:])
    outcomes = system.outcomes_of(requests)
    assert_promises_kept(requests, outcomes)
    assert system.counters()["overlaps"] == 0


def _members(system: System) -> int:
    group = system.topics.requests
    admin = AdminClient({"bootstrap.servers": system.bootstrap})
    return len(admin.describe_consumer_groups([group])[group].result(30).members)


def _refusal(system: System) -> str:
    """What a worker says that must refuse to start: a line for each reason."""
    worker = system.start_worker(WORKER_LOG_LEVEL="ERROR")
    assert worker.wait() == 1
    told = worker.tail()
    assert all(line.startswith("error: ") for line in told.splitlines()), told
    return told
