from datetime import UTC, datetime

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dintero.support import entry, operation
from worker.dintero.answers import (
    MAX_LISTED,
    MAX_MESSAGE,
    MAX_OPERATION,
    MAX_RETRY_AFTER,
    read_create,
    read_poll,
    retry_after,
)
from worker.domain.answer import Verdict
from worker.domain.outcome import OutcomeType, about
from worker.kafka.outcomes import encode_outcome

NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("status", "headers", "verdict"),
    [
        (302, {"location": "/elsewhere"}, Verdict.UNKNOWN),
        (400, {}, Verdict.REFUSED),
        (401, {}, Verdict.NOT_RUN),
        (403, {}, Verdict.REFUSED),
        (404, {}, Verdict.REFUSED),
        (408, {}, Verdict.UNKNOWN),
        (409, {}, Verdict.BUSY),
        (418, {}, Verdict.REFUSED),
        (422, {}, Verdict.REFUSED),
        (425, {}, Verdict.UNKNOWN),
        (429, {}, Verdict.NOT_RUN),
        (500, {}, Verdict.UNKNOWN),
        (503, {}, Verdict.UNKNOWN),
        (503, {"retry-after": "soon"}, Verdict.UNKNOWN),
        (503, {"retry-after": "1"}, Verdict.NOT_RUN),
        (504, {"retry-after": "1"}, Verdict.UNKNOWN),
    ],
)
def test_a_create_answered_by_a_status(status: int, headers: dict[str, str], verdict: Verdict) -> None:
    answer = read_create(entry(), status, headers, b"")
    assert (answer.verdict, answer.http_status, answer.cause) == (verdict, status, f"http_{status}")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (302, Verdict.UNKNOWN),
        (400, Verdict.NOTHING),
        (401, Verdict.NOT_RUN),
        (404, Verdict.NOTHING),
        (408, Verdict.UNKNOWN),
        (409, Verdict.NOTHING),
        (429, Verdict.NOT_RUN),
        (500, Verdict.UNKNOWN),
        (503, Verdict.UNKNOWN),
    ],
)
def test_a_poll_answered_by_a_status(status: int, verdict: Verdict) -> None:
    assert read_poll(entry(operation_id="op-1"), status, {}, b"").verdict is verdict


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_create_answered_by_its_operation(status: int) -> None:
    ours = entry()
    answer = read_create(ours, status, {}, orjson.dumps(operation(ours, status="NEW_STATUS", new_member=[1])))
    assert answer.verdict is Verdict.OPERATION
    assert answer.operation is not None
    assert answer.operation.status == "NEW_STATUS"
    assert answer.operation.body["new_member"] == [1]


@pytest.mark.parametrize("changes", [{"terminal_id": "P11223351-T0014"}, {"operation": "send_logs"}])
def test_anothers_operation_is_unknown_to_a_create_and_nothing_to_a_poll(changes: dict[str, object]) -> None:
    ours = entry(operation_id="op-1")
    create = read_create(ours, 200, {}, orjson.dumps(operation(ours, **changes)))
    poll = read_poll(ours, 200, {}, orjson.dumps([operation(ours, **changes)]))
    assert (create.verdict, create.cause) == (Verdict.UNKNOWN, "foreign_operation")
    assert (poll.verdict, poll.cause) == (Verdict.NOTHING, "foreign_operation")


def test_an_operation_with_another_id_is_not_ours() -> None:
    ours = entry(operation_id="op-1")
    assert read_create(ours, 200, {}, orjson.dumps(operation(ours, id="op-2"))).verdict is Verdict.UNKNOWN
    assert read_poll(ours, 200, {}, orjson.dumps([operation(ours, id="op-2")])).verdict is Verdict.NOTHING


def test_a_poll_finds_its_operation_among_others() -> None:
    ours = entry(operation_id="op-1")
    body = orjson.dumps([None, operation(ours, id="op-2"), operation(ours, status="COMPLETED")])
    answer = read_poll(ours, 200, {}, body)
    assert answer.operation is not None
    assert (answer.operation.id, answer.operation.status) == ("op-1", "COMPLETED")


def test_an_empty_array_is_an_answer_and_a_page_is_none() -> None:
    ours = entry(operation_id="op-1")
    assert read_poll(ours, 200, {}, b"[]").verdict is Verdict.NOTHING
    assert read_poll(ours, 200, {}, b"<html>").verdict is Verdict.UNKNOWN


# The last is short as the API writes it, and four times as long as it would be written again.
@pytest.mark.parametrize(
    "too_much",
    [b"[" * 300 + b"]" * 300, b'"' + b"x" * MAX_OPERATION + b'"', b"[" + b"1e15," * (MAX_OPERATION // 6) + b"0]"],
)
def test_an_operation_that_could_not_be_published_is_not_taken(too_much: bytes) -> None:
    ours = entry(operation_id="op-1")
    body = orjson.dumps(operation(ours))[:-1] + b',"result":' + too_much + b"}"
    assert read_create(ours, 200, {}, body).verdict is Verdict.UNKNOWN
    assert read_poll(ours, 200, {}, b"[" + body + b"]").verdict is Verdict.NOTHING


def test_an_operation_that_is_taken_can_be_published_however_deep_it_is() -> None:
    ours, taken = entry(operation_id="op-1"), set()
    for levels in range(200, 300):
        result = b"[" * levels + b"]" * levels
        answer = read_create(ours, 200, {}, orjson.dumps(operation(ours))[:-1] + b',"result":' + result + b"}")
        if answer.operation:
            event = about(ours.request, OutcomeType.COMPLETED, 0, answer.operation, "op-1")
            encode_outcome(event, source="/s", traceparent=None, tracestate=None)
        taken.add(answer.verdict)
    assert taken == {Verdict.OPERATION, Verdict.UNKNOWN}


@pytest.mark.parametrize(("before", "verdict"), [(MAX_LISTED - 1, Verdict.OPERATION), (MAX_LISTED, Verdict.NOTHING)])
def test_of_a_list_without_end_only_the_beginning_is_looked_at(before: int, verdict: Verdict) -> None:
    ours = entry(operation_id="op-1")
    assert read_poll(ours, 200, {}, orjson.dumps([{}] * before + [operation(ours)])).verdict is verdict


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["id", "terminal_id", "operation", "status", "error", "code", "message"]),
                inner,
                max_size=7,
            )
        ),
    ).map(orjson.dumps),
    st.integers(200, 599),
)
def test_no_body_is_an_error_or_passes_for_our_operation(body: bytes, status: int) -> None:
    ours = entry(operation_id="op-1")
    for read in (read_create, read_poll):
        answer = read(ours, status, {}, body)
        assert answer.operation is None
        assert len(answer.cause) <= 32


def test_the_apis_own_words_are_kept_and_bounded() -> None:
    body = orjson.dumps({"error": {"code": "NOT_FOUND", "message": "m" * 10_000}})
    answer = read_create(entry(), 404, {}, body)
    assert answer.code == "NOT_FOUND"
    assert answer.message == "m" * MAX_MESSAGE


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":"no"}', b'{"error":{"code":1,"message":{}}}'])
def test_an_error_without_readable_words_still_has_a_message(body: bytes) -> None:
    answer = read_create(entry(), 404, {}, body)
    assert (answer.code, answer.message) == (None, "the API answered 404")


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("0", 0),
        ("2", 2000),
        ("99999999999999999999", MAX_RETRY_AFTER),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37_000),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37_000),
        ("Sun Nov  6 08:49:37 1994", 37_000),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        ("Sun, 06 Nov 2044 08:00:00 GMT", MAX_RETRY_AFTER),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, None),
        ("tomorrow", None),
        ("", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after_is_read_in_each_form_clamped_and_otherwise_ignored(value: str, milliseconds: int | None) -> None:
    assert retry_after({"retry-after": value}, lambda: NOW) == milliseconds


def test_a_date_counts_from_the_answers_own_date() -> None:
    headers = {"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT", "date": "Sun, 06 Nov 1994 08:49:30 GMT"}
    assert retry_after(headers, lambda: 0.0) == 7000


def test_header_names_are_read_whatever_their_case() -> None:
    assert read_create(entry(), 429, httpx.Headers({"Retry-After": "3"}), b"").retry_after == 3000
