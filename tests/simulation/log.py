"""One partition of a topic: records at their offsets, what readers may see of them, and what cleaning takes away."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(slots=True)
class Stored:
    """A record in a log. `visible` is None while its transaction is open; markers are records nobody sees."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    visible: bool | None = True
    decided_at: float = 0.0
    """When its transaction was decided: from here on it is true, though readers may see it later."""
    removed: bool = False
    """Compacted away: its offset is a hole."""


class Log:
    def __init__(self) -> None:
        self.records: list[Stored] = []
        self.start = 0
        """What is below, retention has deleted."""
        self._stable_end = 0
        self._readers: list[asyncio.Future[None]] = []

    @property
    def stable_end(self) -> int:
        """The last stable offset: the first record of an open transaction, or the end."""
        end = self._stable_end
        while end < len(self.records) and self.records[end].visible is not None:
            end += 1
        self._stable_end = end
        return end

    def committed(self, start: int = 0, most: int = 1_000_000) -> list[tuple[int, Stored]]:
        """What a `read_committed` reader is given from an offset on."""
        found: list[tuple[int, Stored]] = []
        for offset in range(max(start, self.start), self.stable_end):
            stored = self.records[offset]
            if stored.visible and not stored.removed:
                if len(found) == most:
                    break
                found.append((offset, stored))
        return found

    def ever_committed(self) -> Iterator[tuple[int, Stored]]:
        """What a reader who was always there has seen, whatever was cleaned away since."""
        return ((offset, stored) for offset, stored in enumerate(self.records) if stored.visible)

    def tell(self, reader: "asyncio.Future[None]") -> None:
        """End this future when there may be more to read."""
        self._readers.append(reader)

    def changed(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)

    def compact(self, end: int, tombstones_before: int) -> None:
        """Clean up to an offset: of each key only the last record stays, and no tombstone older than the time given."""
        last = {self.records[offset].key: offset for offset in range(end) if self.records[offset].visible}
        for offset in range(end):
            stored = self.records[offset]
            old_tombstone = stored.value is None and stored.timestamp < tombstones_before
            stored.removed |= bool(stored.visible) and (last[stored.key] != offset or old_tombstone)

    def truncate(self, start: int) -> None:
        """Delete what is below an offset, as retention does."""
        self.start = max(self.start, start)
