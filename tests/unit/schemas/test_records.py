"""Building requests and reading outcomes, held against the worker's own reading and writing."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from pydantic import ValidationError

import schemas
from schemas import example_messages, names
from worker.domain.answer import Operation
from worker.domain.outcome import Failure, Outcome, OutcomeType, Reason
from worker.domain.request import Record, Request
from worker.kafka.outcomes import encode_outcome
from worker.kafka.reader import Reader

DATA = schemas.RequestData(
    terminal_id="P11223351-T0013",
    operation="end_of_day",
    parameters={"operator_id": "night"},
    expires_at=datetime.fromisoformat("2026-01-01T23:00:00+01:00"),
)
COMPLETED = example_messages.COMPLETED
VALUE = orjson.dumps(COMPLETED.value)
HEADERS = [(name, text.encode()) for name, text in COMPLETED.headers.items()]


def without(name: str) -> list[tuple[str, bytes]]:
    return [header for header in HEADERS if header[0] != name]


def changed(name: str, value: bytes) -> list[tuple[str, bytes]]:
    return [*without(name), (name, value)]


def test_a_built_request_is_what_the_worker_reads() -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    built = schemas.build_request(
        DATA, message_id="17", source="/shop", correlation_id="night", traceparent=traceparent, tracestate="a=1"
    )
    record = Record(0, 0, built["key"], built["value"], built["headers"])
    read = Reader(operations=names.OPERATIONS).read(record)
    assert isinstance(read, Request), read
    assert built["key"] == b"P11223351-T0013"
    assert (read.message_id, read.correlation_id, read.terminal_id) == ("17", "night", "P11223351-T0013")
    assert (read.operation, read.expires_at) == ("end_of_day", 1_767_304_800_000)
    assert orjson.loads(read.parameters or b"") == DATA.parameters
    assert (read.traceparent, read.tracestate) == (traceparent, "a=1")


def test_the_same_request_built_again_is_the_same_record() -> None:
    first, again = (schemas.build_request(DATA, message_id="17", source="/shop") for _ in range(2))
    assert first == again


def test_a_request_built_as_in_the_example_is_the_example() -> None:
    example = example_messages.REQUEST_BINARY
    data = schemas.RequestData.model_validate(example.value)
    built = schemas.build_request(data, message_id=example.headers[names.CE_ID], source="/shop")
    assert built["key"] == example.key.encode()
    assert orjson.loads(built["value"]) == example.value
    assert {name: text.decode() for name, text in built["headers"]} == example.headers


@pytest.mark.parametrize("message_id", ["", "a\nb", "x" * 257])
def test_a_message_id_that_the_worker_would_refuse_is_refused_at_once(message_id: str) -> None:
    with pytest.raises(ValidationError):
        schemas.build_request(DATA, message_id=message_id, source="/shop")


_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_ZONE = timezone(timedelta(hours=-9, minutes=-30))
_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.fixed_dictionaries(
        {"terminal_id": _text, "operation": st.sampled_from(sorted(names.OPERATIONS))},
        optional={
            "parameters": st.dictionaries(st.text(), _json),
            "expires_at": st.integers(0, 253_402_300_000_000).map(lambda past: (_EPOCH + past * _MS).astimezone(_ZONE)),
        },
    ),
    _text,
)
def test_whatever_the_model_takes_the_worker_takes_and_keeps(data: dict[str, Any], message_id: str) -> None:
    try:
        asked = schemas.RequestData.model_validate(data)
    except ValidationError:
        reject()
    built = schemas.build_request(asked, message_id=message_id, source="/shop")
    read = Reader(operations=names.OPERATIONS).read(Record(0, 0, built["key"], built["value"], built["headers"]))
    assert isinstance(read, Request), read
    assert (read.message_id, read.terminal_id) == (message_id, asked.terminal_id)
    assert orjson.loads(read.parameters or b"null") == asked.parameters
    assert read.expires_at == (asked.expires_at and (asked.expires_at - _EPOCH) // _MS)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 1e19, float("inf"), float("nan")])
def test_a_number_that_the_worker_would_refuse_or_json_cannot_say_is_refused_at_once(number: float) -> None:
    with pytest.raises(ValidationError, match="64 bits"):
        schemas.RequestData(terminal_id="x", operation="end_of_day", parameters={"a": [number]})


def test_parameters_deeper_than_the_worker_takes_are_refused_at_once() -> None:
    deep: Any = "x"
    for _ in range(names.MAX_DEPTH):
        deep = {"a": deep}
    assert schemas.RequestData(terminal_id="x", operation="end_of_day", parameters=deep)
    with pytest.raises(ValidationError, match="32 levels"):
        schemas.RequestData(terminal_id="x", operation="end_of_day", parameters={"a": deep})


@pytest.mark.parametrize("example", [example_messages.CREATED, COMPLETED, example_messages.FAILED])
def test_the_worker_writes_the_examples(example: example_messages.Example) -> None:
    api = example.value["terminal_operation"]
    outcome = Outcome(
        OutcomeType(example.value["status"]),
        example.value["idempotency_key"],
        example.value["message_id"],
        example.headers[names.CE_CORRELATIONID],
        example.value["terminal_id"],
        example.value["operation"],
        1_767_304_800_000,
        1_767_304_800_412 if example is example_messages.CREATED else 1_767_304_841_007,
        Operation(api["id"], api["terminal_id"], api["operation"], api["status"], api),
        api["id"],
        Failure(Reason.TERMINAL_FAILED, example.value["error"]["message"]) if "error" in example.value else None,
    )
    key, value, headers = encode_outcome(
        outcome, source="/terminal-operations-worker", traceparent=None, tracestate=None
    )
    assert key == example.key.encode()
    assert orjson.loads(value) == example.value
    assert {name: text.decode() for name, text in headers} == example.headers


@pytest.mark.parametrize(
    "headers",
    [
        HEADERS,
        tuple(HEADERS),
        dict(HEADERS),
        COMPLETED.headers,
        [*HEADERS, ("null", None), ("of-a-proxy", b"\xff")],
        [(name, text.decode()) for name, text in HEADERS],
    ],
)
def test_an_outcome_is_read_whatever_shape_a_client_gives_its_headers(headers: Any) -> None:
    received = schemas.read_outcome(VALUE, headers)
    assert received is not None
    assert isinstance(received.outcome, schemas.Completed)
    assert isinstance(received.outcome.result, schemas.EndOfDayResult)
    assert received.outcome.result.sale_amount == 29900
    assert str(received.headers.ce_id) == COMPLETED.headers[names.CE_ID]


@pytest.mark.parametrize("count", ["3", True, 3.0])
def test_a_result_that_is_not_as_documented_stays_as_the_api_gave_it(count: object) -> None:
    result = {**COMPLETED.value["result"], "purchases_count": count}
    operation = {**COMPLETED.value["terminal_operation"], "result": result}
    value = orjson.dumps({**COMPLETED.value, "result": result, "terminal_operation": operation})
    received = schemas.read_outcome(value, HEADERS)
    assert received is not None
    assert isinstance(received.outcome, schemas.Completed)
    assert received.outcome.model_dump_json(include={"result"}) == orjson.dumps({"result": result}).decode()
    assert isinstance(received.outcome.terminal_operation, schemas.OpenOperation)
    assert received.outcome.terminal_operation.result == result


def test_an_event_of_another_type_is_none_of_the_readers_business() -> None:
    assert schemas.read_outcome(b"anything", changed(names.CE_TYPE, b"terminal.operation.completed.v2")) is None


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, HEADERS),
        (b"{", HEADERS),
        (b"\xff", HEADERS),
        (b"[" * 100_000, HEADERS),
        (VALUE, None),
        (VALUE, without(names.CE_TYPE)),
        (VALUE, without(names.CE_ID)),
        (VALUE, changed(names.CE_ID, b"\xff")),
        (VALUE, changed(names.CE_TYPE, names.FAILED.encode())),
        (orjson.dumps({**COMPLETED.value, "status": "secret-payload"}), HEADERS),
        (orjson.dumps({**COMPLETED.value, "occurred_at": "secret-payload"}), HEADERS),
    ],
)
def test_what_is_no_outcome_is_one_error_of_one_line_that_quotes_nothing(value: bytes | None, headers: Any) -> None:
    with pytest.raises(schemas.UnreadableOutcomeError, match=r"\w+: ") as caught:
        schemas.read_outcome(value, headers)
    assert "\n" not in str(caught.value)
    assert "secret-payload" not in str(caught.value)
    assert len(str(caught.value)) < 1000
