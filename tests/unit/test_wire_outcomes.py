"""Outcomes as they go out, held against the schemas."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import OUTCOME, EndOfDayOperation, OutcomeHeaders, names
from worker.domain.answer import Operation
from worker.domain.outcome import Failure, Outcome, OutcomeType, Reason
from worker.kafka.outcomes import encode_outcome

KEY = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RESULT = {
    "batch_id": "42",
    "start_of_day_at": "2026-01-01T00:00:00Z",
    "purchases_count": 3,
    "purchases_amount": 29900,
    "reversals_count": 0,
    "reversals_amount": 0,
    "sale_amount": 29900,
    "tip_amount": 0,
    "new_member": 1,
}
BODY: dict[str, Any] = {
    "id": "op-1",
    "terminal_id": "P11223351-T0013",
    "operation": "end_of_day",
    "status": "COMPLETED",
    "result": RESULT,
    "unknown": {"kept": True},
}


def operation(body: dict[str, Any]) -> Operation:
    return Operation(body["id"], body["terminal_id"], body["operation"], body["status"], body)


def outcome(type_: OutcomeType, **changes: Any) -> Outcome:
    usual: dict[str, Any] = {
        "key": KEY,
        "message_id": "17",
        "correlation_id": "night",
        "terminal_id": "P11223351-T0013",
        "operation": "end_of_day",
        "requested_at": 1_767_225_600_000,
        "occurred_at": 1_767_225_661_007,
    }
    return Outcome(type_, **{**usual, **changes})


def encoded(outcome: Outcome) -> tuple[bytes | None, dict[str, Any], dict[str, str]]:
    key, value, headers = encode_outcome(outcome, source="/worker", traceparent=None, tracestate=None)
    assert len(dict(headers)) == len(headers)
    return key, orjson.loads(value), {name: text.decode() for name, text in headers}


def test_a_completed_outcome_says_all_the_contract_names() -> None:
    key, value, headers = encoded(outcome(OutcomeType.COMPLETED, operation_id="op-1", api=operation(BODY)))
    assert key == b"P11223351-T0013"
    assert value == {
        "message_id": "17",
        "idempotency_key": KEY,
        "status": "completed",
        "terminal_id": "P11223351-T0013",
        "operation": "end_of_day",
        "operation_id": "op-1",
        "requested_at": "2026-01-01T00:00:00.000Z",
        "occurred_at": "2026-01-01T00:01:01.007Z",
        "result": RESULT,
        "terminal_operation": BODY,
    }
    event_id = headers.pop("ce_id")
    assert headers == {
        "ce_specversion": "1.0",
        "ce_type": "terminal.operation.completed.v1",
        "ce_source": "/worker",
        "ce_subject": "P11223351-T0013",
        "ce_time": "2026-01-01T00:01:01.007Z",
        "ce_dataschema": "urn:terminal-operations:schema:terminal.operation.completed.v1",
        "ce_causationid": "17",
        "ce_correlationid": "night",
        "content-type": "application/json",
    }
    again = encoded(outcome(OutcomeType.COMPLETED, occurred_at=1_767_225_999_999))
    assert again[2]["ce_id"] == event_id
    assert encoded(outcome(OutcomeType.CREATED))[2]["ce_id"] != event_id


def test_the_trace_context_goes_along() -> None:
    given = outcome(OutcomeType.CREATED, operation_id="op-1")
    _, _, headers = encode_outcome(given, source="/w", traceparent=TRACEPARENT, tracestate="a=b")
    assert dict(headers)["traceparent"] == TRACEPARENT.encode()
    assert dict(headers)["tracestate"] == b"a=b"


def test_a_request_that_could_not_be_read_fails_under_its_own_record_key() -> None:
    failure = Failure(Reason.INVALID_REQUEST, "value: expected JSON in UTF-8")
    key, value, headers = encoded(
        outcome(OutcomeType.FAILED, terminal_id=None, operation=None, failure=failure, record_key=b"\xff")
    )
    assert key == b"\xff"
    assert value["terminal_id"] is None
    assert value["error"] == {"reason": "invalid_request", "message": "value: expected JSON in UTF-8"}
    assert "ce_subject" not in headers
    assert OUTCOME.validate_python(value).status == "failed"


def test_a_record_key_of_any_size_makes_an_outcome_that_brokers_take() -> None:
    """The key goes to the same partition each time, cut or not; uncut, its partition would stand still."""
    failure = Failure(Reason.INVALID_REQUEST, "value: expected JSON in UTF-8")
    given = outcome(OutcomeType.FAILED, terminal_id=None, failure=failure, record_key=b"k" * 1_048_000)
    assert encoded(given)[0] == b"k" * 1_024
    assert encoded(given._replace(record_key=None))[0] is None


def test_a_refusal_tells_the_status_and_the_code_of_the_api() -> None:
    failure = Failure(Reason.REJECTED, "No such terminal", 404, "NOT_FOUND")
    _, value, _ = encoded(outcome(OutcomeType.FAILED, failure=failure))
    assert value["error"] == {
        "reason": "rejected",
        "message": "No such terminal",
        "http_status": 404,
        "code": "NOT_FOUND",
    }


@pytest.mark.parametrize("body", [BODY, {**BODY, "result": {"batch_id": None}}, {**BODY, "operation": "send_logs"}])
def test_a_result_of_any_form_is_passed_on_and_read_as_given(body: dict[str, Any]) -> None:
    _, value, _ = encoded(outcome(OutcomeType.COMPLETED, operation_id="op-1", api=operation(body)))
    model = OUTCOME.validate_python(orjson.loads(orjson.dumps(value)))
    assert orjson.loads(OUTCOME.dump_json(model, exclude_unset=True)) == value


def test_a_documented_end_of_day_is_typed() -> None:
    _, value, _ = encoded(outcome(OutcomeType.COMPLETED, operation_id="op-1", api=operation(BODY)))
    model = OUTCOME.validate_json(orjson.dumps(value))
    assert isinstance(model.terminal_operation, EndOfDayOperation)
    assert model.terminal_operation.result is not None
    assert model.terminal_operation.result.sale_amount == 29900


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
body = st.dictionaries(text, st.none() | st.booleans() | st.integers(0, 2**53) | text, max_size=4).map(
    lambda more: {**more, **{k: BODY[k] for k in ("id", "terminal_id", "operation", "status")}}
)
failures = st.builds(Failure, st.sampled_from(Reason), st.text(max_size=20), st.none() | st.integers(400, 599), text)
outcomes = st.builds(
    outcome,
    st.sampled_from(OutcomeType),
    message_id=text,
    correlation_id=text,
    terminal_id=text,
    operation=text,
    operation_id=text,
    requested_at=st.integers(0, 253_402_300_799_999),
    occurred_at=st.integers(0, 253_402_300_799_999),
    api=st.none() | body.map(operation),
    failure=failures,
)


@settings(deadline=None)
@given(outcomes)
def test_every_outcome_validates_and_comes_back_as_it_was(given: Outcome) -> None:
    if given.type is not OutcomeType.FAILED:
        given = given._replace(failure=None)
    key, value, headers = encode_outcome(given, source="/w", traceparent=TRACEPARENT, tracestate=None)
    document = orjson.loads(value)
    model = OUTCOME.validate_json(value)
    assert orjson.loads(OUTCOME.dump_json(model, exclude_unset=True)) == document
    read = OutcomeHeaders.model_validate({name: raw.decode() for name, raw in headers})
    assert (read.ce_type, read.ce_time) == (names.OUTCOME_TYPES[model.status], model.occurred_at)
    assert key == (given.terminal_id or "").encode()
