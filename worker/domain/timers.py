"""When each entry is looked at next."""

import heapq
from collections.abc import Iterable
from itertools import count

from worker.domain.entry import Entry


class Timers:
    """One time per entry, kept on the entry; the heap only finds the earliest."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Entry]] = []
        self._order = count()  # entries are not ordered: equal times must not compare them

    def set(self, entry: Entry, at: int) -> None:
        entry.due_at = at
        heapq.heappush(self._heap, (at, next(self._order), entry))

    def next(self) -> int | None:
        while self._heap and self._heap[0][2].due_at != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: int) -> Entry | None:
        """The next entry that is due, its time cleared."""
        at = self.next()
        if at is None or at > now:
            return None
        entry = heapq.heappop(self._heap)[2]
        entry.due_at = None
        return entry

    def compact(self, live: Iterable[Entry], count_live: int) -> None:
        """Drop what time alone would drop: a far `expires_at` must not hold its finished entry in memory."""
        if len(self._heap) > 2 * count_live + 1_000:
            self._heap = [(e.due_at, next(self._order), e) for e in live if e.due_at is not None]
            heapq.heapify(self._heap)
