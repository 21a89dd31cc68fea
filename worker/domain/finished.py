"""Which requests are finished: what makes a repeat a duplicate, for as long as the dedupe window."""

from collections import deque
from collections.abc import Iterator

from worker.domain.identity import uuid_text


class Finished:
    """Finished keys with their fingerprints, oldest first.

    A busy day leaves a million of these, so each is two small byte strings, not an object.
    """

    def __init__(self) -> None:
        self._fingerprints: dict[bytes, bytes] = {}
        self._oldest_first: deque[tuple[int, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._fingerprints)

    def fingerprint(self, key: str) -> str | None:
        known = self._fingerprints.get(_pack(key))
        return known.hex() if known is not None else None

    def remember(self, key: str, fingerprint: str, finished_at: int) -> None:
        """Calls must come in the order of `finished_at`; one out of order is forgotten late, never early."""
        packed = _pack(key)
        self._fingerprints[packed] = bytes.fromhex(fingerprint)
        self._oldest_first.append((finished_at, packed))

    def forget(self, before: int, most: int) -> Iterator[str]:
        """Forget, and give, up to `most` keys that finished before the time given."""
        while self._oldest_first and self._oldest_first[0][0] < before and most > 0:
            packed = self._oldest_first.popleft()[1]
            del self._fingerprints[packed]
            most -= 1
            yield uuid_text(packed.hex())


def _pack(key: str) -> bytes:
    return bytes.fromhex(key.replace("-", ""))
