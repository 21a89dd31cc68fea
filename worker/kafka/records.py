"""Records of a fetch, read also where aiokafka cannot: it raises for a header whose name is no UTF-8.

Brokers take such a name, and several clients send it. The error would come back with every fetch of that batch: one
record would keep its partition from being read, for ever, and end the consumer of all others each time.

aiokafka offers no setting for this, so the class that its fetcher reads with is replaced (`tolerate_header_names`).
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
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


def tolerate_header_names() -> None:
    """Every consumer made from now on reads with it."""
    fetcher.MemoryRecords = TolerantRecords
