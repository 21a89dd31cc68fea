"""Which requests are finished: what makes a repeat a duplicate, for as long as the dedupe window."""

from collections import deque
from collections.abc import Iterator

from worker.domain.identity import uuid_text

_STAMP = 6
"""Bytes of a time: with the fingerprint they fit into the memory that the fingerprint takes alone."""


class Finished:
    """Finished keys with their fingerprints, oldest first.

    A busy day leaves a million of these, so each is two small byte strings, not an object: the key, and the time it
    finished with the fingerprint behind it.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}
        self._oldest_first: deque[tuple[int, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def fingerprint(self, key: str, since: int) -> str | None:
        """That of a key that finished at `since` or later; one that finished before is no longer known.

        Whoever takes it again writes over its record: a tombstone that came later would take the new one along.
        """
        packed = _pack(key)
        known = self._known.get(packed)
        if known is None:
            return None
        if known[:_STAMP] < _stamp(since):
            del self._known[packed]
            return None
        return known[_STAMP:].hex()

    def remember(self, key: str, fingerprint: str, finished_at: int) -> None:
        """Calls must come in the order of `finished_at`; one out of order is forgotten late, never early."""
        packed = _pack(key)
        self._known[packed] = _stamp(finished_at) + bytes.fromhex(fingerprint)
        self._oldest_first.append((finished_at, packed))

    def forget(self, before: int, most: int) -> Iterator[str]:
        """Forget, and give, up to `most` keys that finished before the time given."""
        while self._oldest_first and self._oldest_first[0][0] < before and most > 0:
            finished_at, packed = self._oldest_first.popleft()
            if self._known.get(packed, b"").startswith(_stamp(finished_at)):  # else it was taken again since
                del self._known[packed]
                most -= 1
                yield uuid_text(packed.hex())


def _stamp(time: int) -> bytes:
    """Compares as the time does."""
    return max(0, time).to_bytes(_STAMP, "big")


def _pack(key: str) -> bytes:
    return bytes.fromhex(key.replace("-", ""))
