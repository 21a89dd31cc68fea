"""Ledgers as far as they can be read, also where a worker would refuse them."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import example_messages
from worker.cli.ledgers import Ledger

KEY = b"0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
ENTRY = example_messages.LEDGER_ENTRY.value
FINISHED = example_messages.LEDGER_FINISHED.value
POSITION = example_messages.LEDGER_POSITION.value


def ledger(*records: tuple[bytes | None, Any]) -> Ledger:
    read = Ledger(0)
    for key, value in records:
        read.add(key, value if isinstance(value, bytes) or value is None else orjson.dumps(value))
    return read


def test_the_last_record_of_a_key_counts() -> None:
    read = ledger((KEY, {**ENTRY, "state": "queued"}), (KEY, ENTRY), (b"position", POSITION), (KEY, FINISHED))
    assert (read.entries, read.finished, read.unreadable, read.records) == ({}, {KEY}, {}, 4)
    assert read.position is not None
    assert read.position.offset == POSITION["offset"]
    gone = ledger((KEY, ENTRY), (b"position", POSITION), (KEY, None), (b"position", None))
    assert (gone.entries, gone.position) == ({}, None)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (KEY, {**ENTRY, "v": 2}, "version 2"),
        (b"position", {"v": 3}, "version 3"),
        (KEY, POSITION, "no ledger record"),
        (b"position", ENTRY, "no ledger record"),
        (b"no key", FINISHED, "no ledger record"),
        (KEY.upper(), FINISHED, "no ledger record"),
        (b"\xff", FINISHED, "no ledger record"),
        (KEY, {**ENTRY, "state": "done"}, "no ledger record"),
        (KEY, b"\xff", "no ledger record"),
        (KEY, b"[" * 5000, "no ledger record"),
        (KEY, {"v": "\x1b"}, "no ledger record"),
    ],
)
def test_what_is_no_record_of_this_version_is_kept_apart_with_what_it_is(key: bytes, value: Any, why: str) -> None:
    read = ledger((key, value))
    assert read.unreadable == {key: why}
    assert (read.entries, read.finished, read.position) == ({}, set(), None)


def test_a_ledger_is_of_others_when_its_position_says_so() -> None:
    read = ledger((b"position", POSITION))
    assert not read.is_of_others(POSITION["group"], POSITION["topic"])
    assert read.is_of_others("another", POSITION["topic"])
    assert read.is_of_others(POSITION["group"], "another")
    assert not ledger((KEY, ENTRY)).is_of_others("any", "any")


@given(st.lists(st.tuples(st.none() | st.binary(max_size=8), st.none() | st.binary(max_size=20)), max_size=8))
def test_any_records_are_taken(records: list[tuple[bytes | None, bytes | None]]) -> None:
    read = ledger(*records)
    assert read.records == len(records)
    assert read.has_keyless == any(key is None for key, _ in records)
