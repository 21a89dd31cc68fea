"""What a request on Kafka becomes, told by the outcomes topic and by the API."""

from datetime import datetime
from uuid import UUID, uuid4

import pytest

from tests.support.requests import assert_promises_kept, finals, message_ids, request, statuses, terminals
from tests.support.system import System

pytestmark = pytest.mark.kafka

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_every_request_is_created_and_completed_once(system: System) -> None:
    requests = [request(terminal, operation=kind) for terminal in terminals(12) for kind in ("end_of_day", "send_logs")]
    system.start_ready_worker()
    system.send(requests)
    outcomes = system.outcomes_of(requests)
    assert_promises_kept(requests, outcomes)
    assert all(told == ["created", "completed"] for told in statuses(outcomes).values())
    assert system.executions() == dict.fromkeys(message_ids(requests), 1)
    assert system.counters()["overlaps"] == 0


def test_an_outcome_tells_whose_it_is(system: System) -> None:
    sent = request(
        "P11223351-T0001",
        ce_correlationid="order 7",
        traceparent=f"00-{_TRACE}-00f067aa0ba902b7-01",
    )
    system.start_ready_worker()
    system.send([sent])
    created, completed = system.outcomes_of([sent])
    (message_id,) = message_ids([sent])
    for outcome in (created, completed):
        value = outcome.json()
        assert outcome.key == b"P11223351-T0001"
        assert outcome.header("ce_specversion") == "1.0"
        assert outcome.header("ce_type") == f"terminal.operation.{value['status']}.v1"
        assert outcome.header("ce_source") == "/terminal-operations-worker"
        assert outcome.header("ce_subject") == "P11223351-T0001"
        assert outcome.header("ce_causationid") == message_id
        assert outcome.header("ce_correlationid") == "order 7"
        assert outcome.header("content-type") == "application/json"
        assert datetime.fromisoformat(outcome.header("ce_time") or "").utcoffset() is not None
        assert (outcome.header("traceparent") or "").split("-")[1] == _TRACE
        assert UUID(outcome.header("ce_id")).version == 5
        assert value["idempotency_key"] == message_id
        assert value["terminal_operation"]["id"] == value["operation_id"]
    assert created.header("ce_id") != completed.header("ce_id")


def test_the_correlation_id_is_the_message_id_unless_given(system: System) -> None:
    sent = request("P11223351-T0001", message_id="my own id, no UUID")
    system.start_ready_worker()
    system.send([sent])
    created, completed = system.outcomes_of([sent])
    assert created.header("ce_correlationid") == completed.header("ce_correlationid") == "my own id, no UUID"
    assert list(system.executions().values()) == [1]


def test_what_the_api_or_the_terminal_refuses_ends_as_failed(system: System) -> None:
    refused, failing, silent, good = (request(f"P11223351-T000{number}") for number in (1, 2, 3, 4))
    sent = [refused, failing, silent, good]
    system.start_ready_worker()
    system.simulator.change({"reject": "*-T0001", "fail": "*-T0002", "timeout": "*-T0003"})
    system.send(sent)
    outcomes = system.outcomes_of(sent)
    assert_promises_kept(sent, outcomes)
    ends = finals(outcomes)
    reasons = [ends[id_].get("error", {}).get("reason") for id_ in message_ids(sent)]
    assert reasons == ["rejected", "terminal_failed", "terminal_timeout", None]
    error = ends[message_ids([refused])[0]]["error"]
    assert (error["http_status"], error["code"]) == (404, "NOT_FOUND")
    assert statuses(outcomes)[message_ids([refused])[0]] == ["failed"]


def test_a_request_sent_again_is_not_run_again(system: System) -> None:
    sent = [request(terminal) for terminal in terminals(6)]
    last = request("P11223351-T0000")
    system.start_ready_worker()
    system.send([*sent, *sent])
    system.outcomes_of(sent)
    system.send([*sent, last])
    outcomes = system.outcomes_of([*sent, last])
    assert_promises_kept([*sent, last], outcomes)
    assert system.executions() == dict.fromkeys(message_ids([*sent, last]), 1)


def test_a_message_id_used_for_something_else_is_a_dead_letter_and_nothing_more(system: System) -> None:
    message_id = str(uuid4())
    first = request("P11223351-T0001", message_id=message_id)
    other = request("P11223351-T0001", message_id=message_id, operation="send_logs")
    system.start_ready_worker()
    system.send([first, other])
    outcomes = system.outcomes_of([first])
    (letter,) = system.dead_letters(1)
    assert letter.header("dead-letter-reason") == "message_id_reused"
    assert (letter.key, letter.value) == (other.key, other.value)
    assert finals(outcomes)[message_id]["operation"] == "end_of_day"
    assert system.executions() == {message_id: 1}
