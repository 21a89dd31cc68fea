"""What an engine gets to see of the consumer, and what the consumer is told for it."""

import pytest
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from tests.unit.kafka.support import Engine, World, record, tp
from worker.kafka.records import UnreadableError


async def test_records_go_to_the_engine_of_their_partition(world: World) -> None:
    await world.assign(0, 1)
    engines = {partition.number: partition.serve(3) for partition in world.partitions}
    await world.poll({tp(0): [record(3), record(4)], tp(1): [record(3)]})
    assert (engines[0].accepted, engines[1].accepted) == ([3, 4], [3])


async def test_records_read_before_an_engine_said_where_to_begin_are_ignored(world: World) -> None:
    await world.assign(0)
    await world.poll({tp(0): [record(0)], tp(5): [record(0)]})
    (partition,) = world.partitions
    partition.engine = Engine(3)  # it serves, and the consumer has not been told
    world.consumer.batches.append({tp(0): [record(0), record(1)]})
    await world.group._poll(world.consumer)
    assert partition.engine.accepted == []
    await world.poll({tp(0): [record(3)]})
    assert partition.engine.accepted == [3]


async def test_records_for_a_replaced_engine_never_reach_the_next(world: World) -> None:
    await world.assign(0)
    (partition,) = world.partitions
    old = partition.serve(10)
    partition.engine = None
    partition.changed()
    assert tp(0) in world.consumer.pauses
    await world.poll({tp(0): [record(10)]})
    new = partition.serve(5)
    assert world.consumer.positions[tp(0)] == 5
    assert (old.accepted, new.accepted) == ([], [])


async def test_records_that_come_before_the_next_assignment_is_told_are_ignored(world: World) -> None:
    await world.assign(0)
    (partition,) = world.partitions
    engine = partition.serve(3)
    engine.partition.full = True
    await world.poll({})
    await world.revoke()
    world.consumer.assigned(0)  # not paused, and nobody was told yet
    await world.poll({tp(0): [record(3), record(4)]})
    await world.assign(0)
    assert engine.accepted == []
    engine.partition.full = False
    await world.poll({})
    await world.poll({tp(0): [record(3)]})
    assert engine.accepted == [3]


async def test_a_full_engine_pauses_its_partition_and_goes_on_without_a_seek(world: World) -> None:
    await world.assign(0, 1)
    full, other = (partition.serve(0) for partition in world.partitions)
    number = world.partitions[0].number
    full.partition.full = True
    world.consumer.calls.clear()
    await world.poll({})
    await world.poll({})
    assert world.consumer.calls == [("pause", number)]
    full.partition.full = False
    await world.poll({})
    assert world.consumer.calls == [("pause", number), ("resume", number)]
    assert other.accepted == []


async def test_a_partition_is_read_no_further_while_much_of_it_waits_for_a_commit(world: World) -> None:
    await world.assign(0)
    engine = world.partitions[0].serve(0)
    engine.partition.crowded = True
    world.consumer.calls.clear()
    await world.poll({})
    engine.partition.crowded = False
    await world.poll({})
    assert world.consumer.calls == [("pause", 0), ("resume", 0)]


async def test_steering_a_partition_that_is_not_assigned_just_now_harms_no_other(world: World) -> None:
    await world.assign(0, 1)
    del world.consumer.positions[tp(0)]
    for partition in world.partitions:
        partition.serve(4)
    assert world.consumer.positions == {tp(1): 4}
    assert world.consumer.pauses == {tp(0)}


@pytest.mark.parametrize("error", [OffsetOutOfRangeError({tp(0): 4}), UnreadableError(tp(0), 4)])
async def test_what_cannot_be_read_reopens_its_partition_and_reads_all_others_again(
    world: World, error: Exception
) -> None:
    await world.assign(0, 1)
    for partition in world.partitions:
        partition.serve(4)
    world.consumer.positions[tp(1)] = 9  # records 4 to 8 were drained, and are lost with the error
    await world.poll(error)
    told = {partition.number: partition.told for partition in world.partitions}
    assert told == {0: ["reopen"], 1: []}
    assert world.consumer.positions[tp(1)] == 4


@pytest.mark.parametrize(
    "error", [NoOffsetForPartitionError(tp(0)), OffsetOutOfRangeError({tp(0): 0}), OffsetOutOfRangeError()]
)
async def test_an_offset_nobody_sought_reopens_nothing(world: World, error: Exception) -> None:
    await world.assign(0)
    await world.poll(error)
    assert world.partitions[0].told == []
