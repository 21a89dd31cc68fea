"""The coordinator of the consumer group, without a network: every method is what one request does when it arrives."""

import asyncio
from dataclasses import dataclass
from random import Random

from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError

from tests.simulation.loop import OUTSIDE

SESSION_TIMEOUT = 10.0
_REBALANCE_TIMEOUT = 30.0
_CHECK_EVERY = 0.5


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
