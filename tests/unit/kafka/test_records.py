"""Batches as a broker hands them out, with header names that are no text, and rotten ones."""

import gzip
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from worker.kafka.records import PlacedRecords, TolerantRecords, UnreadableError

PLAIN, GZIP = 0, 1


def batch(*names: bytes, codec: int = PLAIN, first: int = 0) -> bytes:
    """A record for each name of a header. The name is put in afterwards: no builder takes one that is no UTF-8."""
    marks = [f"name-{number:04}" for number in range(len(names))]
    builder = DefaultRecordBatchBuilder(2, PLAIN, 0, -1, -1, -1, 1 << 20)
    for offset, mark in enumerate(marks):
        builder.append(offset, 1_000, b"key", b"value", [(mark, b"x"), ("null", None)])
    raw = bytes(builder.build())
    for mark, name in zip(marks, names, strict=True):
        raw = raw.replace(mark.encode(), name.ljust(len(mark)))
    if codec == GZIP:
        records = gzip.compress(raw[61:])
        raw = raw[:8] + (49 + len(records)).to_bytes(4, "big") + raw[12:21] + b"\0\1" + raw[23:61] + records
    return sealed(first.to_bytes(8, "big") + raw[8:])


def sealed(raw: bytes) -> bytes:
    checksum: int = calc_crc32c(memoryview(raw)[21:])
    return raw[:17] + checksum.to_bytes(4, "big") + raw[21:]


def read(records: Any) -> list[tuple[int, str]]:
    found = PartitionRecords(TopicPartition("t", 0), records, [], 0, None, None, True, READ_COMMITTED)
    return [(record.offset, record.headers[0][0].rstrip()) for record in found]


@pytest.mark.parametrize("codec", [PLAIN, GZIP])
def test_a_header_name_that_is_no_utf8_hides_neither_its_record_nor_those_around_it(codec: int) -> None:
    raw = batch(b"first", b"caf\xe9", b"\xff\xfe", b"last", codec=codec)
    with pytest.raises(UnicodeDecodeError):  # or this module is needed no more
        read(MemoryRecords(raw))
    assert read(TolerantRecords(raw)) == [(0, "first"), (1, "caf\\xe9"), (2, "\\xff\\xfe"), (3, "last")]


def test_batches_are_read_as_the_client_reads_them() -> None:
    raw = batch(b"one", "zwei-é".encode())
    assert read(TolerantRecords(raw + raw)) == read(MemoryRecords(raw + raw)) == [(0, "one"), (1, "zwei-é")]
    assert TolerantRecords(raw).size_in_bytes() == len(raw)
    assert not TolerantRecords(raw[:40]).has_next()


def fetched(raw: bytes, offset: int) -> PlacedRecords:
    return PlacedRecords(TopicPartition("t", 0), TolerantRecords(raw), [], offset, None, None, True, READ_COMMITTED)


_GOOD = batch(b"third", codec=GZIP, first=2)


@pytest.mark.parametrize(
    "rotten", [_GOOD[:-1] + b"?", sealed(_GOOD[:61] + b"?" * len(_GOOD[61:]))], ids=["crc", "codec"]
)
def test_a_rotten_batch_is_told_with_its_place_once_all_before_it_is_given(rotten: bytes) -> None:
    before = fetched(batch(b"first", b"second") + rotten, 0)
    assert [record.offset for record in before] == [0, 1]
    with pytest.raises(UnreadableError, match=r"'t' holds at offset 2 cannot be read") as told:
        next(fetched(rotten, before.next_fetch_offset))
    assert told.value.args == (TopicPartition("t", 0), 2)
