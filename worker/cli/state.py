"""`terminal-worker state`."""

from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from worker.cli import common, reading, reset, shown
from worker.cli.ledgers import Ledger, read_ledger
from worker.domain.entry import UNFINISHED
from worker.kafka.ledger import VERSION, LedgerRefusedError
from worker.kafka.restore import restore
from worker.settings import Settings

state = typer.Typer(no_args_is_help=True)

_UNFINISHED = tuple(state.value for state in UNFINISHED)


@state.callback()
def _commands() -> None:
    """The worker's memory: the state topic.

    For a partition that has halted: `show` tells why, `reset` is the way out.

    Examples:

        terminal-worker state show

        terminal-worker state reset 3 --from latest
    """


@state.command()
def show(
    partition: Annotated[int | None, typer.Argument(min=0, help="One partition in full; all without it.")] = None,
) -> None:
    """Show what each partition remembers, and why a worker would halt on it.

    Changes nothing. A partition is judged by the check that a worker makes
    before it works on it, with this environment's group and topics.

    Examples:

        terminal-worker state show

        terminal-worker state show 3
    """
    settings = common.settings(api=False)
    found = reading.run(settings, _look(settings, partition))
    typer.echo(
        f"{settings.kafka_state_topic}, for group {settings.kafka_group_id} and topic {settings.kafka_requests_topic}\n"
    )
    if partition is None:
        _all(found)
    else:
        _one(*found[0])


@state.command("reset")
def reset_(
    partition: Annotated[int, typer.Argument(min=0, help="The partition that halted.")],
    start: Annotated[
        str, typer.Option("--from", metavar="earliest|latest|OFFSET", help="The first request to read afterwards.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give up the unfinished requests of a partition, and say where it reads on.

    The way out when a partition has halted and its topics cannot be restored.
    First it lists what is given up. No outcome is published for a request that
    is given up, unless it is read again: --from earliest reads all that the
    requests topic still has, --from latest skips what is unread. Finished
    message IDs stay known, so that what is read again does not run again;
    except in the memory of another group or topic, which is given up whole.

    Read again, a request that may have run is asked for again with its key. The
    API runs a key once, for DINTERO_IDEMPOTENCY_WINDOW: after that it could run
    twice, so look at the terminal first.

    Stop the workers first: it refuses while one of them owns the partition.
    Removing and setting is one transaction by the partition's own transactional
    id, which shuts out a worker that is still there.

    Examples:

        terminal-worker state reset 3 --from latest

        terminal-worker state reset 3 --from 1042 --yes
    """
    settings = common.settings(api=False)
    plan = reading.run(settings, reset.prepare(settings, partition, start))
    for line in plan.told:
        typer.echo(line)
    if not yes:
        typer.confirm(f"Reset partition {partition} of {settings.kafka_state_topic}?", abort=True)
    reading.run(settings, reset.carry_out(settings, plan))
    typer.echo(f"partition {partition} reads on at offset {plan.offset}")


async def _look(settings: Settings, only: int | None) -> list[tuple[Ledger, list[str]]]:
    """Each partition's ledger, and what is wrong with it."""
    topic = settings.topics.state
    found = []
    async with reading.opened(settings) as topics:
        partitions = await topics.partitions(topic)
        if only is not None:
            reset.check_partition(only, partitions)
        for partition in partitions if only is None else (only,):
            ledger = await read_ledger(topics, topic, partition)
            found.append((ledger, await _problems(settings, ledger)))
    return found


async def _problems(settings: Settings, ledger: Ledger) -> list[str]:
    problems = []
    try:
        restored = await restore(
            settings.connection,
            settings.topics,
            ledger.partition,
            group=settings.kafka_group_id,
            start_at_end=settings.kafka_auto_offset_reset == "latest",
        )
        if restored.lost:
            problems.append(f"retention deleted {restored.lost} requests before they were read")
    except LedgerRefusedError as refused:
        problems.append(f"halts: {refused}")
    except (KafkaError, TimeoutError) as error:
        problems.append(f"could not be checked: {error or type(error).__name__}")
    if ledger.unreadable:
        key, why = next(iter(ledger.unreadable.items()))
        problems.append(f"keys not readable here: {len(ledger.unreadable)}, such as {shown.harmless(key)}: {why}")
    return problems


def _all(found: list[tuple[Ledger, list[str]]]) -> None:
    rows: list[tuple[object, ...]] = []
    for ledger, problems in found:
        at = "none" if ledger.position is None else ledger.position.offset
        counts = [_count(ledger, name) for name in _UNFINISHED]
        rows.append((ledger.partition, at, *counts, len(ledger.finished), "problem" if problems else "ok"))
    numbers = ("PARTITION", "POSITION", *(name.upper() for name in _UNFINISHED), "FINISHED")
    shown.table((*numbers, ""), rows, right=numbers)
    for ledger, problems in found:
        for problem in problems:
            typer.echo(f"partition {ledger.partition}: {problem}")


def _one(ledger: Ledger, problems: list[str]) -> None:
    position = ledger.position
    rows: list[tuple[str, object]] = [("partition", ledger.partition), ("records", ledger.records)]
    if position is not None:
        rows += [
            ("position", position.offset),
            ("group", position.group),
            ("topic", position.topic),
            ("newest time", shown.moment(position.time)),
        ]
    rows += [(name, _count(ledger, name)) for name in _UNFINISHED]
    rows += [("finished", len(ledger.finished)), ("versions", _versions(ledger))]
    rows += [("problem", problem) for problem in problems]
    shown.pairs(rows)


def _count(ledger: Ledger, name: str) -> int:
    return sum(entry.state == name for entry in ledger.entries.values())


def _versions(ledger: Ledger) -> str:
    readable = [f"version {VERSION}"] if ledger.position or ledger.entries or ledger.finished else []
    return ", ".join([*readable, *sorted(set(ledger.unreadable.values()))]) or "none"
