"""What a request means where producers, specifications and parsers differ; and that hostile records cost little."""

import gc
import math
import time
import tracemalloc
from collections.abc import Callable

import orjson
import pytest

from schemas import names
from tests.unit.wire import (
    BINARY,
    DATA,
    ENVELOPE,
    ID,
    STRUCTURED,
    TRACEPARENT,
    Headers,
    accepted,
    binary,
    record,
    refused,
)
from worker.domain.request import Record
from worker.kafka.reader import Reader

LARGE = Reader(operations=names.OPERATIONS, max_bytes=900_000)


# -- which shape it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"APPLICATION/CLOUDEVENTS+JSON",
        b"application/cloudevents+json ; charset=utf-8",
        b'application/cloudevents+json;charset="latin-1";x=\xff',
    ],
)
def test_a_structured_event_is_known_by_its_media_type_whatever_its_case_and_parameters(content_type: bytes) -> None:
    event = record({**ENVELOPE, "data": DATA}, [("content-type", content_type)])
    assert accepted(event) == accepted(record())


@pytest.mark.parametrize("content_type", [b"application/json; charset=utf-8", b"text/plain", b"", b"\xff", None])
def test_any_other_media_type_leaves_an_event_binary_and_its_value_json(content_type: bytes | None) -> None:
    assert accepted(record(headers=[("content-type", content_type), *binary()])) == accepted(record())


def test_attributes_in_headers_beside_a_structured_event_are_a_copy_that_is_not_read() -> None:
    copy = binary(ce_id=b"other", ce_source=b"\xff", ce_specversion=b"0.3")
    event = record({**ENVELOPE, "data": DATA}, [*STRUCTURED, *copy, ("message-id", b"another")])
    assert accepted(event) == accepted(record())


def test_the_id_of_an_event_wins_over_the_header_of_plain_json() -> None:
    assert accepted(record({**DATA, "message_id": "member"}, [("message-id", b"plain"), *binary()])).message_id == ID


def test_the_header_of_plain_json_wins_over_the_member() -> None:
    assert accepted(record({**DATA, "message_id": "member"}, [("message-id", b"header")])).message_id == "header"


def test_one_attribute_of_an_event_makes_it_an_event_so_that_half_of_one_is_refused() -> None:
    invalid = refused(record(DATA, [("message-id", b"1"), ("ce_type", names.REQUESTED.encode())]))
    assert (invalid.message[:6], invalid.identity) == ("ce_id:", None)


def test_header_names_are_exact_as_kafka_has_them() -> None:
    assert refused(record(DATA, [("Message-ID", b"1")])).identity is None


# -- headers --------------------------------------------------------------------------------------------------------


def test_header_values_are_utf8_and_never_percent_encoded() -> None:
    """The Kafka binding of CloudEvents says so, in 1.0.2 and after; percent-encoding is that of the HTTP binding."""
    assert accepted(record(headers=binary(ce_id=b"caf%C3%A9 %41"))).message_id == "caf%C3%A9 %41"
    assert accepted(record(headers=binary(ce_id="café".encode()))).message_id == "café"


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "ce_specversion", "ce_correlationid"])
def test_what_identifies_an_event_may_stand_once_even_when_both_say_the_same(name: str) -> None:
    headers: Headers = [*BINARY.items(), ("ce_correlationid", b"c")]
    again = next(header for header in headers if header[0] == name)
    assert refused(record(headers=[*headers, again])).message == f"{name}: expected one header of this name"


def test_of_repeated_headers_that_identify_nothing_the_first_counts() -> None:
    other = TRACEPARENT.replace(b"-01", b"-00")
    twice: Headers = [("traceparent", TRACEPARENT), ("traceparent", other), ("x", b"1"), ("x", b"2")]
    assert accepted(record(headers=[*twice, *binary()])).traceparent == TRACEPARENT.decode()
    types: Headers = [("content-type", b"application/json"), ("content-type", b"application/cloudevents+json")]
    assert accepted(record(headers=[*types, *binary()])) == accepted(record())


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "ce_specversion"])
def test_a_header_of_null_is_an_absent_one(name: str) -> None:
    nulled = refused(record(headers=[*binary(**{name: None}), (name, None)]))
    assert nulled.message == refused(record(headers=binary(**{name: None}))).message
    assert accepted(record({**DATA, "message_id": "1"}, [("message-id", None)])).message_id == "1"


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "ce_specversion", "ce_correlationid"])
@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xed\xa0\x80", b"x" * 1_000_000])
def test_a_header_that_is_no_utf8_or_oversized_is_refused_by_name_and_not_quoted(name: str, value: bytes) -> None:
    headers = [header for header in BINARY.items() if header[0] != name]
    message = refused(record(headers=[*headers, (name, value)])).message
    assert message.startswith(f"{name}: expected")
    assert len(message) < 100


def test_ten_thousand_headers_are_no_reason_to_refuse_a_request() -> None:
    many: Headers = [(f"x-{number}", b"x") for number in range(10_000)]
    assert accepted(record(headers=[*many, *binary()])) == accepted(record())
    assert accepted(record(headers=[*binary(), *[("x", None)] * 10_000])) == accepted(record())


# -- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le", "latin-1"])
def test_json_is_utf8_without_a_byte_order_mark(encoding: str) -> None:
    value = orjson.dumps({**DATA, "x": "é"}).decode().encode(encoding)
    assert refused(record(value)).message == "value: expected JSON in UTF-8"


def parameters(text: bytes) -> Record:
    return record(orjson.dumps(DATA)[:-1] + b',"parameters":{"a":' + text + b"}}")


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"01", b".5", b"'x'", b"1,", b"tru"])
def test_what_json_does_not_know_is_refused(text: bytes) -> None:
    assert refused(parameters(text)).message == "value: expected JSON in UTF-8"


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 0])
def test_integers_of_64_bits_come_out_as_they_went_in(number: int) -> None:
    assert accepted(parameters(b"%d" % number)).parameters == b'{"a":%d}' % number


@pytest.mark.parametrize("text", [b"%d" % 2**64, b"-%d" % (2**63 + 1), b"9" * 300, b"1e19", b"-1e300"])
def test_numbers_beyond_64_bits_are_refused_since_they_would_come_out_changed(text: bytes) -> None:
    assert refused(parameters(text)).message == "parameters: expected numbers of at most 64 bits"


def test_of_duplicate_members_the_last_counts_as_most_parsers_have_it() -> None:
    value = b'{"terminal_id":"first","operation":"send_logs","terminal_id":"last","operation":"end_of_day"}'
    assert (accepted(record(value)).terminal_id, accepted(record(value)).operation) == ("last", "end_of_day")


def test_parameters_that_would_outgrow_the_bound_when_written_again_are_refused() -> None:
    """`1e15` becomes `1000000000000000.0`: the ledger's record must stay one that a broker takes."""
    fits, grows = b"[" + b"1e15," * 3_000 + b"1]", b"[" + b"1e15," * 4_000 + b"1]"
    assert accepted(parameters(fits))
    assert refused(parameters(grows)).message == "parameters: expected at most 65536 bytes when written in full"


def test_data_and_its_base64_must_not_both_be_given() -> None:
    encoded = "eyJ0ZXJtaW5hbF9pZCI6Im90aGVyIiwib3BlcmF0aW9uIjoic2VuZF9sb2dzIn0="
    both = record({**ENVELOPE, "data": DATA, "data_base64": encoded}, STRUCTURED)
    assert refused(both).message == "data: expected either data or data_base64"
    assert accepted(record({**ENVELOPE, "data": None, "data_base64": encoded}, STRUCTURED)).terminal_id == "other"


# -- what is kept of it, and what it costs --------------------------------------------------------------------------


@pytest.mark.parametrize("malformed", [b"x" * 1_000_000, b"", b"\xff", TRACEPARENT + b"-more", b"ff" + TRACEPARENT[2:]])
def test_a_malformed_trace_context_is_dropped_and_costs_no_request(malformed: bytes) -> None:
    request = accepted(record(headers=[*binary(), ("traceparent", malformed), ("tracestate", b"a=b")]))
    assert (request.traceparent, request.tracestate) == (None, None)


def test_a_correlation_id_is_as_bounded_as_a_message_id_in_every_shape() -> None:
    long = "x" * 257
    for hostile in (
        record(headers=[*binary(), ("ce_correlationid", long.encode())]),
        record({**ENVELOPE, "correlationid": long, "data": DATA}, STRUCTURED),
        record(DATA, [("message-id", b"1"), ("ce_correlationid", long.encode())]),
    ):
        invalid = refused(hostile)
        assert invalid.identity is not None
        assert invalid.identity.correlation_id == invalid.identity.message_id


def filled(start: bytes, unit: bytes, end: bytes) -> Callable[[int], Record]:
    return lambda size: record(start + unit * (size // len(unit)) + end)


_START = b'{"terminal_id":"x","operation":"end_of_day","parameters":{"a":'
HOSTILE: dict[str, Callable[[int], Record]] = {
    "lists": filled(_START + b"[", b"[],", b"1]}}"),
    "objects": filled(_START + b"[", b'{"b":1},', b"1]}}"),
    "numbers": filled(_START + b"[", b"1e15,", b"1]}}"),
    "escapes": filled(_START + b'"', b"\\u0001", b'"}}'),
    "an unclosed list": filled(b"", b"[", b""),
    "digits": filled(_START, b"1", b"}}"),
    "repeated members": filled(b"{", b'"terminal_id":"x",', b'"a":1}'),
    "new members": lambda size: record({f"member-{number}": 1 for number in range(size // 16)}),
    "white space": filled(b"{", b" ", b"}"),
    "a time": filled(b'{"terminal_id":"x","operation":"end_of_day","expires_at":"2026-01-01T00:00:00.', b"1", b'"}'),
    "base64": lambda size: record({**ENVELOPE, "data_base64": "A" * (size // 4 * 4)}, STRUCTURED),
    "headers": lambda size: record(headers=[(f"x-{number}", b"x") for number in range(size // 8)]),
    "one header again": lambda size: record(headers=[("ce_id", b"x")] * (size // 6)),
    "a header": lambda size: record(headers=[("ce_id", b"x" * size)]),
    "a media type": lambda size: record(headers=[("content-type", b"application/cloudevents" + b" " * size)]),
    "a trace state": lambda size: record(headers=[("traceparent", TRACEPARENT), ("tracestate", b"a" * size)]),
}


def cpu(hostile: Record) -> float:
    began = time.process_time()
    LARGE.read(hostile)
    return time.process_time() - began


@pytest.mark.parametrize("shape", HOSTILE)
def test_the_time_to_read_grows_no_faster_than_the_record(shape: str) -> None:
    """A record 64 times as large: anything quadratic takes 4,096 times as long, colder caches some 200 times.

    Both are read in turns, and the fastest of each counts: what else the machine does makes them slower, never faster.
    """
    hostile = HOSTILE[shape]
    small, large = hostile(12_500), hostile(800_000)
    short, long = math.inf, math.inf
    gc.disable()
    try:
        for _ in range(20):
            short = min(short, *(cpu(small) for _ in range(5)))
            long = min(long, cpu(large))
            if linear := long < 512 * short + 0.001:  # a millisecond hides what cannot be measured
                break
    finally:
        gc.enable()
    assert linear, f"{short * 1e6:.0f} us, then {long * 1e6:.0f} us"


@pytest.mark.parametrize("shape", HOSTILE)
def test_the_memory_to_read_is_bounded_by_the_record(shape: str) -> None:
    hostile = HOSTILE[shape](60_000)
    tracemalloc.start()
    try:
        kept = LARGE.read(hostile)
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Empty lists are the worst: 64 bytes for three characters, and for a moment the parser takes more.
    assert peak < 180 * 60_000
    assert size < 4 * 60_000
    assert kept.offset == hostile.offset
