"""Group membership: what a rebalance, a stop and a failed consumer cost."""

import asyncio
from typing import Any, cast
from unittest.mock import Mock

import pytest
from aiokafka.errors import IllegalStateError, KafkaError

from tests.unit.kafka.support import TOPIC, Consumer, Partition, World, tp
from worker.kafka import group as groups

# -- assignments --------------------------------------------------------------------------------------------------


async def test_an_assignment_pauses_and_seeks_first_and_waits_for_nothing(world: World) -> None:
    callback = world.group.on_partitions_assigned(world.consumer.assigned(0, 1))
    with pytest.raises(StopIteration):
        cast(Any, callback).send(None)
    assert world.consumer.calls[:4] == [("pause", 0), ("pause", 1), ("seek", (0, 0)), ("seek", (1, 0))]
    assert {partition.number for partition in world.partitions} == {0, 1}
    assert world.group.joined


async def test_a_partition_is_read_from_where_its_engine_stands_once_it_has_one(world: World) -> None:
    await world.assign(0, 1)
    assert world.consumer.pauses == {tp(0), tp(1)}
    world.partitions[0].serve(42)
    first = world.partitions[0].number
    assert world.consumer.pauses == {tp(1 - first)}
    assert world.consumer.positions[tp(first)] == 42


async def test_retained_engines_go_on_from_their_own_position_and_lost_ones_are_closed(world: World) -> None:
    await world.assign(0, 1)
    kept, lost = sorted(world.partitions, key=lambda partition: partition.number)
    kept.serve(7), lost.serve(8)
    await world.revoke()
    await world.assign(0, 2)
    assert kept.told == ["resume"]
    assert lost.told == ["cancel"]  # in the step that tells of the loss
    await world.until(lambda: lost.told == ["cancel", "close"])
    assert set(world.group.supervisors) == {0, 2}
    assert world.group.supervisors[0] is cast(Any, kept)
    assert (world.consumer.positions[tp(0)], world.consumer.pauses) == (7, {tp(2)})
    assert len(world.partitions) == 3


async def test_nothing_assigned_is_a_membership_too(world: World) -> None:
    await world.assign()
    assert world.group.joined
    assert world.group.supervisors == {}


@pytest.mark.parametrize("error", [IllegalStateError("gone"), asyncio.CancelledError(), ValueError("a bug")])
async def test_an_error_in_a_rebalance_is_parked_for_the_poll_loop(world: World, error: BaseException) -> None:
    world.consumer.pause = Mock(side_effect=error)  # type: ignore[method-assign]
    await world.assign(0)
    with pytest.raises(type(error)):
        await world.poll({})
    world.group._parked = None
    world.partitions.append(Partition(0, lambda: None))
    world.group.supervisors[0] = cast(Any, world.partitions[-1])
    world.group.settle = Mock(side_effect=error)  # type: ignore[method-assign]
    await world.revoke()
    with pytest.raises(type(error)):
        await world.poll({})


# -- leaving ------------------------------------------------------------------------------------------------------


async def test_a_rebalance_settles_every_engine_and_commits_its_offset(world: World) -> None:
    await world.assign(0, 1)
    engines = [partition.serve(6) for partition in world.partitions]
    await world.revoke()
    assert [engine.told for engine in engines] == [["suspend", "settle"]] * 2
    assert world.consumer.committed == [{tp(0): 6, tp(1): 6}]


async def test_no_group_offset_is_committed_before_the_ledger_has_a_position(world: World) -> None:
    await world.assign(0, 1)
    new, written = [partition.serve(6) for partition in world.partitions]
    new.in_ledger = False
    await world.revoke()
    assert world.consumer.committed == [{tp(world.partitions[1].number): 6}]
    assert written.told == ["suspend", "settle"]


async def test_engines_that_do_not_settle_do_not_hold_the_rebalance_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_SETTLE", -0.95)
    await world.assign(0)
    engine = world.partitions[0].serve(6)
    monkeypatch.setattr(engine, "settle", lambda timeout: asyncio.Event().wait())
    async with asyncio.timeout(30):
        await world.revoke()
    await world.poll({})
    assert world.group.joined


async def test_a_rebalance_that_takes_long_lets_engines_work_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_PATIENCE", 0.01)
    await world.assign(0)
    (partition,) = world.partitions
    partition.serve(6)
    await world.revoke()
    await world.until(lambda: partition.told == ["resume"])


async def test_a_rebalance_that_ends_in_time_resumes_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_PATIENCE", 0.05)
    await world.assign(0)
    (partition,) = world.partitions
    await world.revoke()
    await world.assign(0)
    patience = world.group._patience
    assert patience
    assert patience.cancelled()
    assert partition.told == ["resume"]


async def test_a_worker_that_stops_is_not_woken_by_a_rebalance_that_takes_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_PATIENCE", 0.01)
    await world.assign(0)
    (partition,) = world.partitions
    partition.serve(6)
    await world.revoke()
    world.group.stop()
    assert world.group._patience
    over = asyncio.get_running_loop().time() + 0.05
    await world.until(lambda: asyncio.get_running_loop().time() > over)
    assert "resume" not in partition.told


async def test_a_worker_that_stops_takes_nothing_from_a_rebalance(world: World) -> None:
    await world.assign(0)
    (kept,) = world.partitions
    kept.serve(6)
    world.group.stop()
    await world.revoke()
    await world.assign(0, 1)
    assert "resume" not in kept.told
    assert world.partitions == [kept]


async def test_a_partition_that_opens_while_the_worker_stops_begins_nothing(world: World) -> None:
    running = asyncio.create_task(world.group.run())
    await world.until(lambda: world.consumer.calls == [("subscribe", [TOPIC])])
    await world.assign(0, 1)
    draining, opening = world.partitions
    answered = asyncio.Event()
    draining.serve(6).settle = lambda timeout: answered.wait()  # type: ignore[method-assign,assignment,return-value]
    world.group.stop()
    engine = draining.engine
    assert engine
    await world.until(lambda: engine.told == ["suspend"])
    late = opening.serve(6)
    assert late.told == ["suspend"]
    answered.set()
    async with asyncio.timeout(30):
        await running


async def test_a_partition_that_opens_in_a_rebalance_waits_for_its_end(world: World) -> None:
    await world.assign(0, 1)
    held, opening = world.partitions
    held.serve(6)
    await world.revoke()
    late = opening.serve(6)
    assert late.told == ["suspend"]
    await world.assign(0, 1)
    assert opening.told == ["resume"]
    assert opening.serve(6).told == []


# -- group offsets and lag ----------------------------------------------------------------------------------------


async def test_offsets_stop_at_what_is_committed_while_anything_is_not(world: World) -> None:
    await world.assign(0)
    engine = world.partitions[0].serve(6)
    engine.partition.dirty = True
    world.consumer.positions[tp(0)] = 9
    await world.group._commit_offsets()
    engine.partition.dirty = False
    await world.group._commit_offsets()  # drained: behind the markers of the producer's transactions
    await world.group._commit_offsets()
    assert world.consumer.committed == [{tp(0): 6}, {tp(0): 9}]


async def test_offsets_that_could_not_be_told_are_told_again(world: World) -> None:
    await world.assign(0)
    world.partitions[0].serve(6)
    world.consumer.error = KafkaError("rebalancing")
    await world.group._commit_offsets()
    world.consumer.error = None
    await world.group._commit_offsets()
    assert world.consumer.committed == [{tp(0): 6}]


async def test_lag_is_what_is_not_committed_and_unknown_without_engine_or_fetch(world: World) -> None:
    await world.assign(0)
    assert world.group.lag(0) is None
    world.partitions[0].serve(6)
    assert world.group.lag(0) is None
    world.consumer.ends[tp(0)] = 10
    assert (world.group.lag(0), world.group.lag(7)) == (4, None)
    world.consumer.ends[tp(0)] = 2
    assert world.group.lag(0) == 0


async def test_the_lag_of_a_full_partition_grows_though_it_is_not_fetched(world: World) -> None:
    await world.assign(0, 1)
    full, _ = (partition.serve(3) for partition in world.partitions)
    world.consumer.ends = {tp(0): 7, tp(1): 7}
    world.consumer.true_ends = {tp(0): 900}
    full.partition.full = True
    await world.group._look_at_full()
    assert (world.group.lag(0), world.group.lag(1)) == (897, 4)
    full.partition.full = False
    await world.group._look_at_full()
    assert world.group.lag(0) == 4


# -- life ---------------------------------------------------------------------------------------------------------


async def test_a_consumer_that_fails_is_replaced_and_its_engines_are_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers: list[Consumer] = []

    def new_consumer() -> Consumer:
        consumers.append(Consumer())
        return consumers[-1]

    monkeypatch.setattr(world.group, "_new_consumer", new_consumer)
    monkeypatch.setattr("worker.kafka.group.random.uniform", lambda *_: 0.001)
    running = asyncio.create_task(world.group.run())
    await world.until(lambda: consumers)
    await world.group.on_partitions_assigned(consumers[0].assigned(0))
    for number, error in enumerate((KafkaError("heartbeats ended"), asyncio.CancelledError()), 1):
        consumers[-1].batches.append(error)
        await world.until(lambda number=number: len(consumers) == number + 1)  # type: ignore[misc]
        assert consumers[number - 1].stopped
    assert world.partitions[0].told == ["close"]
    assert world.group.supervisors == {}
    await world.until(lambda: world.group.error is None)
    world.group.stop()
    async with asyncio.timeout(30):
        await running
    assert consumers[-1].stopped


@pytest.mark.parametrize("hangs", [False, True])
async def test_with_rotated_credentials_the_engines_settle_and_a_new_consumer_joins(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hangs: bool
) -> None:
    consumers: list[Consumer] = []
    rotation = asyncio.Event()

    def new_consumer() -> Consumer:
        consumers.append(Consumer())
        if hangs:  # in its start, as one does whose password is no longer taken
            monkeypatch.setattr(consumers[-1], "start", asyncio.Event().wait)
            monkeypatch.setattr(consumers[-1], "getmany", Mock(side_effect=AttributeError("as of one not started")))
        return consumers[-1]

    async def rotated(*_: object) -> None:
        await rotation.wait()
        rotation.clear()

    monkeypatch.setattr(world.group, "_new_consumer", new_consumer)
    monkeypatch.setattr("worker.kafka.group.rotated", rotated)
    running = asyncio.create_task(world.group.run())
    await world.until(lambda: consumers)
    world.group._consumer = consumers[0]
    await world.group.on_partitions_assigned(consumers[0].assigned(0))
    engine = world.partitions[0].serve(6)
    rotation.set()
    await world.until(lambda: len(consumers) == 2)
    assert engine.told == ["suspend", "settle"]
    assert (world.partitions[0].told, consumers[0].stopped) == (["close"], True)
    assert "consumer_ended" not in caplog.text
    world.group.stop()
    async with asyncio.timeout(30):
        await running
    assert consumers[1].stopped


async def test_stopping_settles_the_engines_and_leaves(world: World) -> None:
    running = asyncio.create_task(world.group.run())
    await world.until(lambda: world.consumer.calls == [("subscribe", [TOPIC])])
    await world.assign(0)
    engine = world.partitions[0].serve(6)
    world.group.stop()
    async with asyncio.timeout(30):
        await running
    assert engine.told == ["suspend", "settle"]
    assert world.consumer.committed[-1] == {tp(0): 6}
    assert world.partitions[0].told == ["close"]
    assert (world.consumer.stopped, world.group.joined) == (True, False)


async def test_stopping_does_not_wait_for_an_assignment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    started = asyncio.Event()

    async def start() -> None:
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(world.consumer, "start", start)
    running = asyncio.create_task(world.group.run())
    await started.wait()
    world.group.stop()
    async with asyncio.timeout(30):
        await running
    assert world.consumer.stopped


async def test_stopping_that_is_cut_off_still_leaves_the_group(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running = asyncio.create_task(world.group.run())
    await world.until(lambda: world.consumer.calls == [("subscribe", [TOPIC])])
    await world.assign(0)
    closing = asyncio.Event()

    async def close() -> None:
        closing.set()
        await asyncio.Event().wait()  # as a producer whose brokers are away

    monkeypatch.setattr(world.partitions[0], "close", close)
    world.group.stop()
    await closing.wait()
    running.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([running])
    assert world.consumer.stopped
    assert world.group.supervisors == {}


async def test_stopping_waits_for_the_partitions_that_were_lost_to_be_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = asyncio.create_task(world.group.run())
    await world.until(lambda: world.consumer.calls == [("subscribe", [TOPIC])])
    await world.assign(0)
    closed = asyncio.Event()
    monkeypatch.setattr(world.partitions[0], "close", closed.wait)
    await world.assign()
    world.group.stop()
    await world.until(lambda: not world.group.joined)
    assert not (await asyncio.wait([running], timeout=0.05))[0]
    closed.set()
    async with asyncio.timeout(30):
        await running
    assert world.consumer.stopped
