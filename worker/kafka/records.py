"""Records of a fetch, read also where aiokafka cannot: it raises for a header whose name is no UTF-8.

Brokers take such a name, and several clients send it. The error would come back with every fetch of that batch: one
record would keep its partition from being read, for ever, and end the consumer of all others each time. A batch that
nobody can read, since it rotted on a disk, would do the same: aiokafka's error does not tell where it is, ours does.

aiokafka offers no setting for this, so the classes that its fetcher reads with are replaced (`tolerate_bad_records`).
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


class _Buffer(bytearray):
    """Its parts decode whatever they hold: a byte that is no UTF-8 becomes `\\xff`, which can be written again."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Buffer(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _Batch:
    """A batch that reads its records with aiokafka's fast parser, and from the first it cannot read, with the other."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        read = -1
        try:
            for record in self._batch:
                yield record
                read = record.offset
        except UnicodeDecodeError:
            tolerant: Any = _DefaultRecordBatchPy(self._raw)
            tolerant._maybe_uncompress()
            tolerant._buffer = _Buffer(tolerant._buffer)
            yield from (record for record in tolerant if record.offset > read)


class TolerantRecords(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of one fetch."""

    def next_batch(self) -> Any:
        raw = self._next_slice
        batch = super().next_batch()
        # The fetcher reads a control batch by `next`; only brokers write those.
        return batch if batch is None or batch.is_control_batch else _Batch(batch, raw)


class UnreadableError(CorruptRecordException):  # type: ignore[misc]
    """What a partition holds at an offset is no batch of records. `args` are the partition and the offset."""

    def __str__(self) -> str:
        return f"what {self.args[0].topic!r} holds at offset {self.args[1]} cannot be read: {self.__cause__!r}"


class PlacedRecords(PartitionRecords):  # type: ignore[misc]
    """The records of one partition in a fetch. What stands before an unreadable batch is given first."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._begins = self.next_fetch_offset

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except StopIteration:
            raise
        except Exception as error:
            if self.next_fetch_offset > self._begins:
                raise StopIteration from None  # the next fetch begins with it
            raise UnreadableError(self._tp, self.next_fetch_offset) from error


def tolerate_bad_records() -> None:
    """Every consumer made from now on reads so."""
    fetcher.MemoryRecords = TolerantRecords
    fetcher.PartitionRecords = PlacedRecords
