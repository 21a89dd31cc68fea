"""Requests as they come in, well formed and otherwise."""

import base64
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import PlainRequest, names
from tests.unit.wire import (
    BINARY,
    DATA,
    ENVELOPE,
    ID,
    READER,
    STRUCTURED,
    TRACEPARENT,
    Headers,
    accepted,
    binary,
    record,
    refused,
)
from worker.domain import identity
from worker.domain.request import Invalid, Record, Request
from worker.kafka.reader import Reader


def test_the_three_shapes_say_the_same() -> None:
    from_binary = accepted(record())
    from_structured = accepted(record({**ENVELOPE, "data": DATA}, STRUCTURED))
    from_header = accepted(record(DATA, [("message-id", ID.encode())]))
    from_member = accepted(record({**DATA, "message_id": ID}, []))

    assert from_binary == from_structured == from_header == from_member
    assert from_binary.message_id == from_binary.correlation_id == ID
    assert from_binary.key == ID.lower()
    assert (from_binary.terminal_id, from_binary.operation) == ("P11223351-T0013", "end_of_day")
    assert (from_binary.offset, from_binary.requested_at) == (7, 1_000)


def test_a_structured_event_may_carry_its_data_in_base64() -> None:
    encoded = base64.b64encode(orjson.dumps(DATA)).decode()
    assert accepted(record({**ENVELOPE, "data_base64": encoded}, STRUCTURED)) == accepted(record())


def test_an_id_that_is_no_uuid_belongs_to_its_source() -> None:
    one = accepted(record(headers=binary(ce_id=b"17")))
    other = accepted(record(headers=binary(ce_id=b"17", ce_source=b"/elsewhere")))
    assert one.key == identity.idempotency_key("17", "/upstream")
    assert one.key != other.key


def test_the_header_of_the_message_id_can_be_renamed() -> None:
    reader = Reader(message_id_header="x-request", operations=names.OPERATIONS)
    request = reader.read(record(DATA, [("x-request", b"17"), ("message-id", b"18")]))
    assert isinstance(request, Request)
    assert request.message_id == "17"


def test_parameters_expiry_and_correlation_are_read() -> None:
    data = {**DATA, "parameters": {"operator_id": "x"}, "expires_at": "2026-01-02T03:04:05.678901+01:00"}
    request = accepted(record(data, [*binary(), ("ce_correlationid", b"night-7")]))
    assert request.parameters == b'{"operator_id":"x"}'
    assert request.expires_at == 1_767_319_445_678
    assert request.correlation_id == "night-7"
    assert request.fingerprint == identity.fingerprint(
        "P11223351-T0013", "end_of_day", {"operator_id": "x"}, "2026-01-02T03:04:05.678901+01:00"
    )


def test_null_means_absent_and_unknown_members_are_ignored() -> None:
    data = {**DATA, "parameters": None, "expires_at": None, "comment": [1]}
    assert accepted(record(data)) == accepted(record())


def test_a_request_without_a_message_id_has_no_identity() -> None:
    assert refused(record(DATA, [])).identity is None
    assert refused(record(headers=binary(ce_id=None))).identity is None
    assert refused(record({**ENVELOPE, "id": None, "data": DATA}, STRUCTURED)).identity is None


@pytest.mark.parametrize("message_id", [b"", b"x" * 257, b"a\nb", b"\xff", "\x85".encode()])
def test_a_message_id_that_cannot_be_kept_is_no_identity(message_id: bytes) -> None:
    assert refused(record(headers=[*binary(ce_id=None), ("ce_id", message_id)])).identity is None
    assert refused(record(DATA, [("message-id", message_id)])).identity is None


def test_the_longest_message_id_counts_characters_not_bytes() -> None:
    assert accepted(record(headers=binary(ce_id=("é" * 256).encode()))).message_id == "é" * 256


def test_a_message_id_sent_twice_is_refused_since_either_could_be_meant() -> None:
    assert refused(record(headers=[*binary(), ("ce_id", b"other")])).identity is None
    assert refused(record(DATA, [("message-id", b"1"), ("message-id", b"2")])).identity is None


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"ce_specversion": b"0.3"}, "ce_specversion"),
        ({"ce_specversion": None}, "ce_specversion"),
        ({"ce_type": b"terminal.operation.created.v1"}, "ce_type"),
        ({"ce_source": None}, "ce_source"),
        ({"ce_source": b"\xc3\x28"}, "ce_source"),
        ({"ce_source": b"x" * 1025}, "ce_source"),
        ({"ce_correlationid": b"x" * 257}, "ce_correlationid"),
    ],
)
def test_an_event_that_is_not_ours_keeps_its_identity(changes: dict[str, bytes | None], member: str) -> None:
    invalid = refused(record(headers=binary(**changes)))
    assert invalid.message.startswith(f"{member}: expected")
    assert invalid.identity is not None
    assert (invalid.identity.message_id, invalid.identity.key) == (ID, ID.lower())


@pytest.mark.parametrize(
    ("value", "member"),
    [
        (None, "value"),
        (b"", "value"),
        (b"{", "value"),
        (b"\xef\xbb\xbf{}", "value"),
        (b'{"terminal_id": "\\ud800"}', "value"),
        (b'{"terminal_id": NaN}', "value"),
        (b"[]", "value"),
        (b"[" * 60_000, "value"),
        ({"operation": "end_of_day"}, "terminal_id"),
        ({**DATA, "terminal_id": ""}, "terminal_id"),
        ({**DATA, "terminal_id": "x" * 129}, "terminal_id"),
        ({**DATA, "terminal_id": "a\x00b"}, "terminal_id"),
        ({**DATA, "terminal_id": 7}, "terminal_id"),
        ({**DATA, "operation": "reboot"}, "operation"),
        ({**DATA, "operation": ["end_of_day"]}, "operation"),
        ({**DATA, "parameters": []}, "parameters"),
        ({**DATA, "parameters": "x"}, "parameters"),
        (orjson.dumps(DATA)[:-1] + b',"parameters":{"a":18446744073709551616}}', "parameters"),
        (orjson.dumps(DATA)[:-1] + b',"parameters":' + b'{"a":' * 33 + b"1" + b"}" * 34, "parameters"),
        ({**DATA, "expires_at": "2026-01-01T00:00:00"}, "expires_at"),
        ({**DATA, "expires_at": "2026-W01-1T00:00:00Z"}, "expires_at"),
        ({**DATA, "expires_at": "2026-02-30T00:00:00Z"}, "expires_at"),
        ({**DATA, "expires_at": "2026-01-01T00:00:00.123\n"}, "expires_at"),
        ({**DATA, "expires_at": 1_767_225_600}, "expires_at"),
        ({**DATA, "expires_at": "9999-12-31T23:59:59-00:01"}, "expires_at"),
        ({**DATA, "expires_at": "0001-01-01T00:00:00+00:01"}, "expires_at"),
    ],
)
def test_a_value_that_is_no_request_is_refused_by_the_member_at_fault(value: Any, member: str) -> None:
    invalid = refused(record(value))
    assert invalid.message.startswith(f"{member}: expected")
    assert invalid.identity is not None
    assert invalid.identity.fingerprint == identity.raw_fingerprint(record(value).value)
    assert len(invalid.message) < 200


def test_a_value_over_the_bound_is_refused_unread_though_it_would_be_a_request() -> None:
    value = orjson.dumps(DATA)
    assert isinstance(READER.read(record(value.ljust(65_536))), Request)
    assert refused(record(value.ljust(65_537))).message == "value: expected at most 65536 bytes"


def test_an_invalid_request_tells_what_could_be_read_of_it() -> None:
    invalid = refused(record({**DATA, "operation": "reboot"}, [*binary(), ("traceparent", TRACEPARENT)]))
    assert invalid.identity is not None
    assert (invalid.identity.terminal_id, invalid.identity.operation) == ("P11223351-T0013", "reboot")
    assert invalid.identity.traceparent == TRACEPARENT.decode()


def test_what_is_said_of_an_invalid_request_quotes_none_of_it() -> None:
    secret = "hunter2"
    for value in ({**DATA, "operation": secret}, {**DATA, "expires_at": secret}, secret.encode()):
        assert secret not in refused(record(value)).message


def test_parameters_may_be_32_levels_deep() -> None:
    deep = orjson.dumps(DATA)[:-1] + b',"parameters":' + b'{"a":' * 32 + b"1" + b"}" * 33
    assert accepted(record(deep)).parameters


@pytest.mark.parametrize("content_type", [b"application/cloudevents-batch+json", b"application/cloudevents+avro"])
def test_other_formats_of_cloudevents_are_refused(content_type: bytes) -> None:
    assert refused(record([], [("content-type", content_type)])).message.startswith("content-type: expected")


@pytest.mark.parametrize("data", [{"data": "text"}, {"data_base64": "%"}, {"data_base64": 7}, {}])
def test_a_structured_event_without_readable_data_is_refused(data: dict[str, Any]) -> None:
    assert refused(record({**ENVELOPE, **data}, STRUCTURED)).identity is not None


def test_the_trace_context_is_read_from_headers_first() -> None:
    other = TRACEPARENT.replace(b"-01", b"-00")
    headers = [*binary(ce_traceparent=other), ("traceparent", TRACEPARENT), ("tracestate", b"a=b")]
    request = accepted(record(headers=headers))
    assert (request.traceparent, request.tracestate) == (TRACEPARENT.decode(), "a=b")


@pytest.mark.parametrize(
    "malformed",
    [b"", None, b"\xff", TRACEPARENT + b"\n", TRACEPARENT.upper(), b"00-" + b"0" * 32 + TRACEPARENT[35:]],
)
def test_a_malformed_trace_context_gives_way_to_the_extension_of_the_event(malformed: bytes | None) -> None:
    headers: Headers = [("traceparent", malformed), ("tracestate", b"lost=1"), *binary(ce_traceparent=TRACEPARENT)]
    request = accepted(record(headers=headers))
    assert (request.traceparent, request.tracestate) == (TRACEPARENT.decode(), None)


def test_a_structured_event_may_carry_its_trace_context() -> None:
    envelope = {**ENVELOPE, "data": DATA, "traceparent": TRACEPARENT.decode(), "tracestate": "a=b"}
    request = accepted(record(envelope, STRUCTURED))
    assert (request.traceparent, request.tracestate) == (TRACEPARENT.decode(), "a=b")


@pytest.mark.parametrize("state", [b"x" * 513, b"a=b\r\nhost: evil", "ä=1".encode()])
def test_a_trace_state_unfit_for_an_http_header_is_dropped(state: bytes) -> None:
    request = accepted(record(headers=[*binary(), ("traceparent", TRACEPARENT), ("tracestate", state)]))
    assert (request.traceparent, request.tracestate) == (TRACEPARENT.decode(), None)


@pytest.mark.parametrize(("timestamp", "expected"), [(-1, 0), (2**63 - 1, 253_402_300_799_999)])
def test_a_time_of_record_that_nobody_could_write_is_brought_within_reach(timestamp: int, expected: int) -> None:
    assert accepted(record(timestamp=timestamp)).requested_at == expected


def test_a_megabyte_of_nested_lists_is_refused_at_once() -> None:
    reader = Reader(operations=names.OPERATIONS, max_bytes=2**21)
    started = time.process_time()
    for hostile in (b"[" * 2**20, b'{"a":' * 2**18, b'{"parameters":' + b"[" * 2**20):
        assert isinstance(reader.read(record(hostile)), Invalid)
    assert time.process_time() - started < 0.5


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "message_id": st.text(max_size=5) | json,
        "terminal_id": st.text(max_size=5) | json,
        "operation": st.sampled_from(sorted(names.OPERATIONS)) | json,
        "parameters": st.dictionaries(st.text(max_size=5), json, max_size=3) | json,
        "expires_at": st.datetimes().map(lambda moment: moment.isoformat() + "Z") | json,
        "data": json,
    },
)
header = st.tuples(
    st.sampled_from([*BINARY, "content-type", "message-id", "traceparent", "tracestate", "ce_correlationid"]),
    st.none() | st.binary(max_size=8) | st.sampled_from([b"1.0", names.REQUESTED.encode(), b"application/cloudevents"]),
)


def dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # integers over 64 bits, lone surrogates
        return repr(value).encode(errors="replace")


@settings(deadline=None)
@given(st.none() | st.binary() | likely.map(dumped), st.lists(header, max_size=6))
def test_whatever_the_record_it_is_read(value: bytes | None, headers: Headers) -> None:
    assert isinstance(READER.read(Record(0, 0, None, value, headers)), Request | Invalid)


@settings(deadline=None)
@given(likely.map(dumped))
def test_what_is_accepted_fits_the_schema_and_can_be_written_again(value: bytes) -> None:
    request = READER.read(Record(0, 0, None, value, [("message-id", b"1")]))
    if isinstance(request, Request):
        document = orjson.loads(value)
        document.pop("message_id", None)
        model = PlainRequest.model_validate_json(orjson.dumps(document))
        assert model.terminal_id == request.terminal_id
        assert orjson.loads(request.parameters or b"null") == document.get("parameters")
