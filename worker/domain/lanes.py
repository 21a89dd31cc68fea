"""Lanes: the queue of each terminal. Only the head of a lane may be CREATING or PENDING."""

import heapq
from bisect import insort
from itertools import islice

from worker.domain.entry import Entry

# To name the oldest lanes. All 400,000 of four full partitions would hold the event loop for 90 ms.
_LOOKED_AT = 1_000


class Lanes:
    """All unfinished entries of a partition, each in its terminal's lane, in the order of their requests."""

    def __init__(self) -> None:
        # In the order in which their heads were begun; those of a ledger in the ledger's, which is nearly that.
        # Lists: most lanes hold one entry, for which a deque would take 760 bytes; long ones shift within microseconds.
        self._lanes: dict[str, list[Entry]] = {}
        self.parameter_bytes = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def join(self, entry: Entry) -> bool:
        """Put an entry into its lane; True when it is the head. Those of a ledger come in any order."""
        self.parameter_bytes += len(entry.request.parameters or b"")
        terminal_id = entry.request.terminal_id
        lane = self._lanes.get(terminal_id)
        if lane is None:
            self._lanes[terminal_id] = [entry]  # a list that grows makes room for four
            return True
        if lane[-1].request.offset < entry.request.offset:
            lane.append(entry)
            return False
        insort(lane, entry, key=_offset)
        return lane[0] is entry

    def leave(self, entry: Entry) -> Entry | None:
        """Take an entry out; give the lane's new head when it was the head itself."""
        self.parameter_bytes -= len(entry.request.parameters or b"")
        terminal_id = entry.request.terminal_id
        lane = self._lanes[terminal_id]
        was_head = lane[0] is entry
        lane.remove(entry)
        if not lane:
            del self._lanes[terminal_id]
            return None
        if not was_head:
            return None
        self._lanes[terminal_id] = self._lanes.pop(terminal_id)  # behind the others: its new head is begun now
        return lane[0]

    def is_head(self, entry: Entry) -> bool:
        lane = self._lanes.get(entry.request.terminal_id)
        return lane is not None and lane[0] is entry

    def oldest(self, most: int) -> list[tuple[Entry, int]]:
        """The heads that were begun first, up to `most`, each with the number behind it."""
        heads = (lane[0] for lane in islice(self._lanes.values(), _LOOKED_AT))
        oldest = heapq.nsmallest(most, heads, key=lambda head: head.begun_at)
        return [(head, len(self._lanes[head.request.terminal_id]) - 1) for head in oldest]


def _offset(entry: Entry) -> int:
    return entry.request.offset
