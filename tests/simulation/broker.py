"""Brokers, without a network: logs, transactions and their fencing.

Every method is what one request does when it arrives. Times are those of the loop.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from aiokafka.errors import (
    ConcurrentTransactions,
    DuplicateSequenceNumber,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)

from tests.simulation.coordinator import GroupCoordinator
from tests.simulation.log import Log, Stored
from tests.simulation.loop import OUTSIDE

_TRANSACTION_TIMEOUT = 15.0

Place = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass(slots=True)
class Transactional:
    """One transactional id, as its coordinator knows it."""

    epoch: int = -1
    owner: str = ""
    open: int | None = None
    """The number of the transaction under way."""
    ending: bool = False
    """Decided, and its markers are on their way."""
    written: list[tuple[Log, Stored]] = field(default_factory=list)
    sequences: dict[Place, int] = field(default_factory=dict)
    """The next of each partition, of this epoch."""


class Broker:
    """All brokers together. They never lose what they acknowledged; each request may be late or lost on its way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, random: Random, now: Callable[[], int]) -> None:
        self.logs: dict[Place, Log] = {}
        self.transactional: dict[str, Transactional] = {}
        self.group = GroupCoordinator(loop, random)
        self._loop = loop
        self._random = random
        self._now = now
        self._transactions = 0

    def create_topic(self, topic: str, partitions: int) -> None:
        self.logs.update({(topic, number): Log() for number in range(partitions)})

    def append(self, place: Place, stored: Iterable[Stored]) -> None:
        """Written outside transactions: visible at once."""
        for record in stored:
            record.timestamp, record.decided_at = self._now(), self._loop.time()
            self.logs[place].records.append(record)
        self.logs[place].changed()

    def committed(self, topic: str) -> list[tuple[int, int, Stored]]:
        """Partition, offset and record of all that a `read_committed` reader of the topic was ever given."""
        places = [place for place in self.logs if place[0] == topic]
        return [(place[1], *found) for place in places for found in self.logs[place].ever_committed()]

    # -- transactions -------------------------------------------------------------------------------------------

    def init(self, id_: str, owner: str) -> int:
        """Fence every earlier producer of the id, and end what it left open. Gives the new epoch."""
        known = self.transactional.setdefault(id_, Transactional())
        if known.ending:
            raise ConcurrentTransactions
        if known.open is not None:
            known.epoch += 1
            self._end(known, commit=False)
            raise ConcurrentTransactions
        known.epoch += 1
        known.owner = owner
        known.sequences = {}
        return known.epoch

    def begin(self, id_: str, epoch: int) -> None:
        """AddPartitionsToTxn, which is how a coordinator hears of a transaction."""
        known = self._checked(id_, epoch)
        if known.ending:
            raise ConcurrentTransactions
        if known.open is None:
            self._transactions += 1
            known.open = number = self._transactions
            self._loop.call_later(_TRANSACTION_TIMEOUT, self._time_out, known, number, context=OUTSIDE)

    def produce(self, id_: str, epoch: int, place: Place, stored: Sequence[Stored], sequence: int) -> None:
        known = self._checked(id_, epoch)
        expected = known.sequences.get(place, 0)
        if sequence < expected:
            raise DuplicateSequenceNumber  # it is written
        if sequence > expected:
            raise OutOfOrderSequenceNumber
        if known.open is None:  # the leader asks the coordinator before the first write: nothing is left hanging
            raise InvalidTxnState
        known.sequences[place] = sequence + len(stored)
        log = self.logs[place]
        for record in stored:
            record.visible, record.timestamp = None, self._now()
            log.records.append(record)
            known.written.append((log, record))

    def end(self, id_: str, epoch: int) -> None:
        """Commit. From here on it is decided, whatever the producer hears; he may ask again."""
        known = self._checked(id_, epoch)
        if known.ending:
            raise ConcurrentTransactions
        if known.open is not None:
            self._end(known, commit=True)

    def _checked(self, id_: str, epoch: int) -> Transactional:
        known = self.transactional[id_]
        if known.epoch != epoch:
            raise ProducerFenced
        return known

    def _time_out(self, known: Transactional, number: int) -> None:
        if known.open == number:
            known.epoch += 1
            self._end(known, commit=False)

    def _end(self, known: Transactional, *, commit: bool) -> None:
        """Decide; the markers reach each log in their own time, and until then its readers wait."""
        known.open, known.ending = None, True
        written, known.written = known.written, []
        logs = list({id(log): log for log, _ in written}.values())
        left = len(logs)
        decided_at = self._loop.time()

        def mark(log: Log) -> None:
            nonlocal left
            left -= 1
            for _, record in (found for found in written if found[0] is log):
                record.visible, record.decided_at = commit, decided_at
            log.records.append(Stored(None, None, (), self._now(), visible=False))
            known.ending = left > 0
            log.changed()

        for log in logs:
            self._loop.call_later(self._random.expovariate(500), mark, log, context=OUTSIDE)
        known.ending = bool(logs)


class Clock:
    """The brokers' wall clock, in milliseconds since the epoch."""

    EPOCH = 1_700_000_000_000

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self) -> int:
        return self.EPOCH + int(self._loop.time() * 1000)
