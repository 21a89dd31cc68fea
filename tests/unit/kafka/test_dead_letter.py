"""Dead letters: the record given back whole, or cut and saying so."""

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from schemas import DeadLetterHeaders, names
from worker.domain.outcome import DeadLetterReason
from worker.domain.request import Record
from worker.kafka.dead_letter import encode_dead_letter

RECORD = Record(9, 0, b"key", b"value", [("a", b"1"), ("b", None)])


def dead_letter(record: Record, max_bytes: int = 10_000) -> tuple[bytes | None, bytes | None, list[Any]]:
    return encode_dead_letter(
        record,
        DeadLetterReason.INVALID_REQUEST,
        "value: expected JSON",
        topic="requests",
        partition=3,
        now=1_767_225_600_000,
        max_bytes=max_bytes,
    )


OURS = ("reason", "message", "topic", "partition", "offset", "time")


def size(key: bytes | None, value: bytes | None, headers: list[Any]) -> int:
    return len(key or b"") + len(value or b"") + sum(len(name) + len(raw or b"") for name, raw in headers)


def test_a_dead_letter_is_the_record_and_why_and_whence() -> None:
    key, value, headers = dead_letter(RECORD)
    assert (key, value) == (b"key", b"value")
    assert headers[:2] == RECORD.headers
    model = DeadLetterHeaders.model_validate({name: raw.decode() for name, raw in headers[2:]})
    assert model.model_dump(mode="json", exclude_unset=True) == {
        "dead_letter_reason": "invalid_request",
        "dead_letter_message": "value: expected JSON",
        "dead_letter_topic": "requests",
        "dead_letter_partition": 3,
        "dead_letter_offset": 9,
        "dead_letter_time": "2026-01-01T00:00:00.000Z",
    }


def test_nothing_at_all_can_be_a_dead_letter() -> None:
    assert dead_letter(Record(9, 0, None, None))[:2] == (None, None)


@pytest.mark.parametrize(
    ("hostile", "cut"),
    [
        (Record(9, 0, b"key", b"v" * 20_000, [("a", b"1")]), b"value"),
        (Record(9, 0, b"key", b"value", [("a", b"1"), ("b", b"x" * 20_000)]), b"value,headers"),
        (Record(9, 0, b"key", None, [("b", b"x")] * 5_000), b"headers"),
        (Record(9, 0, b"k" * 20_000, b"value", [("a", b"1")]), b"value,headers,key"),
        (Record(9, 0, b"k" * 20_000, None), b"key"),
    ],
)
def test_a_dead_letter_that_would_not_fit_is_cut_and_says_where(hostile: Record, cut: bytes) -> None:
    key, value, headers = dead_letter(hostile)
    assert headers[-1] == (names.DEAD_LETTER_TRUNCATED, cut)
    assert size(key, value, headers) <= 10_000
    assert (hostile.value or b"").startswith(value or b"")
    assert (hostile.key or b"").startswith(key or b"")
    assert headers[: -len(OURS) - 1] == list(hostile.headers[: len(headers) - len(OURS) - 1])


def test_a_dead_letter_is_cut_no_further_than_it_must() -> None:
    _, value, headers = dead_letter(Record(9, 0, b"key", b"v" * 20_000, [("a", b"1")]))
    assert value is not None
    assert len(value) > 9_000
    assert ("a", b"1") in headers


HOSTILE: dict[str, Record] = {
    "ten thousand headers": Record(9, 0, b"key", b"{", [("x", b"y")] * 10_000),
    "half a million headers of nothing": Record(9, 0, b"key", b"{", [("", None)] * 480_000),
    "a header of a megabyte": Record(9, 0, b"key", b"{", [("a", b"1"), ("x", b"y" * 1_048_000)]),
    "the name of a header of a megabyte": Record(9, 0, b"key", b"{", [("é" * 524_000, None)]),
    "a key of a megabyte": Record(9, 0, b"k" * 1_048_000, b"{", [("a", b"1")]),
    "a value of a megabyte": Record(9, 0, b"key", b"v" * 1_048_000, [("a", b"1")]),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_the_batch_of_a_dead_letter_stays_under_its_bound_as_the_client_writes_it(hostile: Record) -> None:
    key, value, headers = dead_letter(hostile, max_bytes=900_000)
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2_000_000)
    batch.append(0, 1_000, key, value, headers)
    assert len(batch.build()) <= 900_000


def test_ten_thousand_headers_come_back_whole() -> None:
    key, value, headers = dead_letter(HOSTILE["ten thousand headers"], max_bytes=900_000)
    assert (key, value, headers[:-6]) == (b"key", b"{", [("x", b"y")] * 10_000)
    assert names.DEAD_LETTER_TRUNCATED not in dict(headers)


def test_of_a_name_that_the_record_has_too_the_last_header_is_ours() -> None:
    forged = Record(9, 0, b"key", b"value", [(names.DEAD_LETTER_REASON, b"forged"), (names.DEAD_LETTER_OFFSET, b"-1")])
    headers = dead_letter(forged)[2]
    assert headers[:2] == list(forged.headers)
    assert (dict(headers)[names.DEAD_LETTER_REASON], dict(headers)[names.DEAD_LETTER_OFFSET]) == (
        b"invalid_request",
        b"9",
    )
