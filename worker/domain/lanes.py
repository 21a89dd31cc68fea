"""Lanes: the queue of each terminal. Only the head of a lane may be CREATING or PENDING."""

from collections import deque

from worker.domain.entry import Entry


class Lanes:
    """All unfinished entries of a partition, each in its terminal's lane, in the order of their requests."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[Entry]] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def join(self, entry: Entry) -> bool:
        """Put an entry at the end of its lane; True when it is the head."""
        lane = self._lanes.setdefault(entry.request.terminal_id, deque())
        lane.append(entry)
        return len(lane) == 1

    def leave(self, entry: Entry) -> Entry | None:
        """Take an entry out; give the lane's new head when it was the head itself."""
        terminal_id = entry.request.terminal_id
        lane = self._lanes[terminal_id]
        was_head = lane[0] is entry
        if was_head:
            lane.popleft()
        else:
            lane.remove(entry)
        if not lane:
            del self._lanes[terminal_id]
            return None
        return lane[0] if was_head else None

    def heads(self) -> list[Entry]:
        return [lane[0] for lane in self._lanes.values()]
