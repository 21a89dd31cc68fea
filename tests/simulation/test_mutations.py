"""The rules of the design, each broken in turn: the simulation must notice, or it proves nothing.

A mutation replaces one method for the time of a test, in the way in which the rule is most easily forgotten.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.simulation.run import run
from tests.simulation.world import World
from worker.domain.commit import Commit, Position
from worker.domain.entry import Entry, State
from worker.domain.finished import Finished
from worker.domain.partition import Partition
from worker.engine import Engine
from worker.kafka import restore as restore_module
from worker.kafka.commit import LedgerCommitter
from worker.kafka.ledger import Replay
from worker.kafka.producer import Message, TransactionalProducer

_SEEDS = 2_000
"""Histories in which a broken rule must show. The rarest shows in one of 300."""

_TWICE = r"outcomes of .*'(created|failed|completed)', '\1'"

Mutation = Callable[[pytest.MonkeyPatch], None]
MUTATIONS: dict[str, tuple[Mutation, str, int]] = {}


def mutation(rule: str, *, shows: str, seed: int) -> Callable[[Mutation], Mutation]:
    """What `shows` is a pattern. `seed` has shown it, so it is tried first; when it does no more, a search follows."""

    def register(mutate: Mutation) -> Mutation:
        MUTATIONS[rule] = mutate, shows, seed
        return mutate

    return register


@mutation("1: the API is asked before CREATING is committed", shows="ended expired, and it ran", seed=182)
def _ask_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    advance, committed = Partition._advance, Partition.committed

    def asks_at_once(self: Partition, head: Entry | None, now: int) -> None:
        advance(self, head, now)
        for entry in self._gathered.changed.values():
            if entry.state is State.CREATING and entry.asked == 0 and entry.due_at is None:
                self._timers.set(entry, now)

    def does_not_ask_again(self: Partition, commit: Commit, now: int) -> None:
        commit.creating.clear()
        committed(self, commit, now)

    patch.setattr(Partition, "_advance", asks_at_once)
    patch.setattr(Partition, "committed", does_not_ask_again)


@mutation("2: a lane moves on when its head is created", shows="two at once", seed=1)
def _move_on_early(patch: pytest.MonkeyPatch) -> None:
    created = Partition._created

    def moves_on(self: Partition, entry: Entry, operation: Any, now: int) -> None:
        created(self, entry, operation, now)
        if entry.state is State.PENDING:
            behind = [each for each in self._entries.values() if each.request.terminal_id == entry.request.terminal_id]
            queued = [each for each in behind if each.state is State.QUEUED]
            self._advance(queued[0] if queued else None, now)

    patch.setattr(Partition, "_created", moves_on)


def _in_two(patch: pytest.MonkeyPatch, order: Callable[[list[Any]], list[Any]]) -> None:
    write = TransactionalProducer.write

    async def in_two(self: TransactionalProducer, events: list[Message], ledger: list[Message]) -> None:
        for messages in order([events, ledger]):
            if messages:
                await write(self, messages, [])

    patch.setattr(TransactionalProducer, "write", in_two)


@mutation("3: outcomes are committed before the entries", shows=_TWICE, seed=1)
def _outcomes_first(patch: pytest.MonkeyPatch) -> None:
    _in_two(patch, lambda parts: parts)


@mutation("3: entries are committed before the outcomes", shows="no final outcome", seed=18)
def _entries_first(patch: pytest.MonkeyPatch) -> None:
    _in_two(patch, lambda parts: parts[::-1])


@mutation("4: a restore begins at the group's offset", shows="too many", seed=20)
def _group_offset(patch: pytest.MonkeyPatch) -> None:
    restore = restore_module.restore

    async def at_the_offset(connection: Any, topics: Any, partition: int, **options: Any) -> Any:
        restored = await restore(connection, topics, partition, **options)
        offset = World.current.broker.group.offsets.get(partition, 0)
        return restore_module.Restored(Position(offset), restored.entries, restored.finished, restored.records)

    patch.setattr("worker.runtime.restore", at_the_offset)


@mutation("4: a group offset is told before the ledger has a position", shows="no final outcome", seed=9)
def _offset_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "in_ledger", property(lambda _: True))


@mutation(
    "5: producers of one partition do not fence each other",
    shows=_TWICE,
    seed=6,
)
def _no_fencing(patch: pytest.MonkeyPatch) -> None:
    made = iter(range(1_000_000_000))
    init = TransactionalProducer.__init__

    def of_its_own(self: TransactionalProducer, connection: Any, transactional_id: str) -> None:
        init(self, connection, f"{transactional_id}-{next(made)}")

    patch.setattr(TransactionalProducer, "__init__", of_its_own)


@mutation("5: the ledger is read before others are fenced", shows=_TWICE, seed=909)
def _fence_late(patch: pytest.MonkeyPatch) -> None:
    start, write = TransactionalProducer.start, TransactionalProducer.write
    started = set[int]()

    async def not_yet(self: TransactionalProducer) -> None:
        started.discard(id(self))

    async def now(self: TransactionalProducer, events: list[Message], ledger: list[Message]) -> None:
        if id(self) not in started:
            started.add(id(self))
            await start(self)
        await write(self, events, ledger)

    patch.setattr(TransactionalProducer, "start", not_yet)
    patch.setattr(TransactionalProducer, "write", now)


@mutation("6: a failed commit is tried again", shows="outcomes of", seed=9)
def _go_on(patch: pytest.MonkeyPatch) -> None:
    write, init = TransactionalProducer.write, TransactionalProducer.__init__

    def remembers(self: Any, connection: Any, transactional_id: str) -> None:
        init(self, connection, transactional_id)
        self.given = connection, transactional_id

    async def goes_on(self: Any, events: list[Message], ledger: list[Message]) -> None:
        try:
            await write(self, events, ledger)
        except Exception:  # noqa: BLE001 - the mutation
            init(self, *self.given)
            await self.start()
            await write(self, events, ledger)

    patch.setattr(TransactionalProducer, "__init__", remembers)
    patch.setattr(TransactionalProducer, "write", goes_on)


@mutation("6: a failed commit is taken for done", shows="no final outcome", seed=0)
def _take_for_done(patch: pytest.MonkeyPatch) -> None:
    commit = LedgerCommitter.commit

    async def never_fails(self: LedgerCommitter, content: Commit) -> None:
        with suppress(Exception):
            await commit(self, content)

    patch.setattr(LedgerCommitter, "commit", never_fails)


@mutation("7: a retained partition loses its state, and goes on", shows="no final outcome", seed=13)
def _forget_what_is_kept(patch: pytest.MonkeyPatch) -> None:
    resume = Engine.resume

    def empty(self: Engine) -> None:
        self.partition = Partition(self.partition._policy, lambda: 0.5, self.partition.position)
        resume(self)

    patch.setattr(Engine, "resume", empty)


@mutation("8: the door asks for no proof", shows="s after its end|outcomes of", seed=147)
def _no_proof(patch: pytest.MonkeyPatch) -> None:
    """Without transactions an outcome contradicts another. With them only the bound in time can break.

    Whatever a zombie sends late was CREATING in the ledger: its next owner either has the API's operation, which the
    same key gives again, or has ended it `unconfirmed`. That the key may be forgotten has a guard of its own, below.
    """
    patch.setattr(Engine, "proved", property(lambda _: True))


@mutation("8: the door does not look at the time", shows="after it had expired", seed=645)
def _no_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partition, "may_create", lambda self, entry, now: entry.state is State.CREATING)


@mutation("9: a full partition goes on reading", shows="over its limit", seed=1)
def _never_full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partition, "full", property(lambda _: False))


@mutation("10: nothing counts as possibly run", shows="ended expired, and it ran", seed=8)
def _certain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Entry, "possibly_run", property(lambda _: False, lambda _, __: None))


@mutation("a loss to retention is passed over in silence", shows="no final outcome", seed=15)
def _silent_loss(patch: pytest.MonkeyPatch) -> None:
    restore = restore_module.restore

    async def silent(connection: Any, topics: Any, partition: int, **options: Any) -> Any:
        return replace(await restore(connection, topics, partition, **options), lost=0)

    patch.setattr("worker.runtime.restore", silent)


@mutation("a ledger of a newer version is read as if it were ours", shows="newer version", seed=30)
def _any_version(patch: pytest.MonkeyPatch) -> None:
    decode = Replay.decode

    def ours_only(self: Replay) -> Any:
        self._values = {key: value for key, value in self._values.items() if orjson.loads(value)["v"] == 1}
        return decode(self)

    patch.setattr(Replay, "decode", ours_only)


@mutation("finished requests are forgotten at once", shows="outcomes of", seed=9)
def _forgetful(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Finished, "fingerprint", lambda *_: None)


@pytest.mark.parametrize("rule", MUTATIONS)
@pytest.mark.usefixtures("spared_collector")
def test_a_history_shows_that_a_rule_is_broken(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, shows, seed = MUTATIONS[rule]
    mutate(monkeypatch)
    histories = map(run, [seed, *range(_SEEDS)])
    assert any(re.search(shows, each) for history in histories for each in history.broken), f"not {shows!r} once"
