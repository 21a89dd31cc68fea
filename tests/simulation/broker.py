"""Brokers, without a network: logs, transactions and their fencing, and the group's coordinator.

Every method is what one request does when it arrives. Times are those of the loop.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalGenerationError,
    ProducerFenced,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from tests.simulation.loop import OUTSIDE

SESSION_TIMEOUT = 10.0
_REBALANCE_TIMEOUT = 30.0
_TRANSACTION_TIMEOUT = 15.0
_CHECK_EVERY = 0.5

Headers = Sequence[tuple[str, bytes | None]]
Place = tuple[str, int]
"""A topic and the number of one of its partitions."""


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


class Log:
    """One partition of a topic."""

    def __init__(self) -> None:
        self.records: list[Stored] = []
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
        for offset in range(start, self.stable_end):
            if self.records[offset].visible and len(found) < most:
                found.append((offset, self.records[offset]))
        return found

    def tell(self, reader: "asyncio.Future[None]") -> None:
        """End this future when there may be more to read."""
        self._readers.append(reader)

    def changed(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)


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
        self.logs[place].records.extend(stored)
        self.logs[place].changed()

    def committed(self, topic: str) -> list[tuple[int, int, Stored]]:
        """Partition, offset and record of all that a `read_committed` reader of the topic is given."""
        places = [place for place in self.logs if place[0] == topic]
        return [(place[1], *found) for place in places for found in self.logs[place].committed()]

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

    def produce(self, id_: str, epoch: int, place: Place, stored: Sequence[Stored]) -> None:
        known = self._checked(id_, epoch)
        if known.open is None:  # the leader asks the coordinator before the first write: nothing is left hanging
            raise ProducerFenced
        log = self.logs[place]
        for record in stored:
            record.visible, record.timestamp = None, self._now()
            log.records.append(record)
            known.written.append((log, record))

    def end(self, id_: str, epoch: int) -> None:
        """Commit. From here on it is decided, whatever the producer hears."""
        self._end(self._checked(id_, epoch), commit=True)

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


@dataclass(slots=True)
class Member:
    seen_at: float
    joining: "asyncio.Future[tuple[int, list[int]]] | None" = None


class GroupCoordinator:
    """Eager rebalances: everybody joins anew, and what was assigned before counts for nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, random: Random) -> None:
        self.offsets: dict[int, int] = {}
        self.partitions = 0
        self._loop = loop
        self._random = random
        self._members: dict[str, Member] = {}
        self._generation = 0
        self._rebalancing_since: float | None = None
        self._checking = False

    def join(self, name: str) -> "asyncio.Future[tuple[int, list[int]]]":
        """Done when the rebalance that this begins, or joins, is: the generation and the partitions given."""
        joining: asyncio.Future[tuple[int, list[int]]] = self._loop.create_future()
        self._members[name] = Member(self._loop.time(), joining)
        self._rebalance()
        self._check()
        return joining

    def heartbeat(self, name: str, generation: int) -> None:
        member = self._members.get(name)
        if member is None:
            raise UnknownMemberIdError
        member.seen_at = self._loop.time()
        if self._rebalancing_since is not None:
            raise RebalanceInProgressError
        if generation != self._generation:
            raise IllegalGenerationError

    def leave(self, name: str) -> None:
        if self._members.pop(name, None):
            self._rebalance()
            self._check()

    def commit(self, name: str, generation: int, offsets: dict[int, int]) -> None:
        self.heartbeat(name, generation)
        self.offsets.update(offsets)

    def _rebalance(self) -> None:
        if self._rebalancing_since is None:
            self._rebalancing_since = self._loop.time()

    def _check(self) -> None:
        """Expel who is silent, and end the rebalance when all have joined or waited long enough."""
        now = self._loop.time()
        for name, member in list(self._members.items()):
            if member.joining is None and now - member.seen_at > SESSION_TIMEOUT:
                del self._members[name]
                self._rebalance()
        if self._rebalancing_since is not None:
            if now - self._rebalancing_since > _REBALANCE_TIMEOUT:
                self._members = {name: member for name, member in self._members.items() if member.joining}
            if all(member.joining for member in self._members.values()):
                self._assign()
        if self._members and not self._checking:
            self._checking = True
            self._loop.call_later(_CHECK_EVERY, self._check_again, context=OUTSIDE)

    def _check_again(self) -> None:
        self._checking = False
        self._check()

    def _assign(self) -> None:
        self._rebalancing_since = None
        self._generation += 1
        names = sorted(self._members)
        self._random.shuffle(names)
        for place, name in enumerate(names):
            member = self._members[name]
            numbers = list(range(place, self.partitions, len(names)))
            if member.joining and not member.joining.done():
                member.joining.set_result((self._generation, numbers))
            member.joining, member.seen_at = None, self._loop.time()
