"""`terminal-worker pending`."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import typer

from schemas.ledger import LedgerEntry
from worker.cli import common, reading, shown
from worker.cli.ledgers import read_ledger
from worker.domain.entry import UNFINISHED
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class _Unfinished:
    partition: int
    key: str
    entry: LedgerEntry

    @property
    def account(self) -> str:
        return self.entry.terminal_id.partition("-")[0]


def pending(
    older_than: shown.OlderThan = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="A JSON object a line, instead of the tables.")] = False,
) -> None:
    """Show the requests that are accepted and not finished, oldest first.

    Read from the state topic, so it also works while no worker runs. A request
    is queued (behind others of its terminal), creating (the API may have been
    asked), or pending (the API has its operation). How often the API was asked
    and when it is asked next only the worker knows that owns the partition, and
    it does not write it down: see its metrics and traces.

    Examples:

        terminal-worker pending --older-than 1h

        terminal-worker pending --jsonl | jq -r .terminal_id | sort | uniq -c
    """
    settings = common.settings(api=False)
    now = shown.now()
    found = reading.run(settings, _unfinished(settings))
    found = [each for each in found if older_than is None or now - each.entry.requested_at >= older_than * 1000]
    found.sort(key=lambda each: (each.entry.requested_at, each.partition, each.entry.offset))
    if jsonl:
        for each in found:
            typer.echo(orjson.dumps(_members(each, now)))
        return
    _show(found, now)


async def _unfinished(settings: Settings) -> list[_Unfinished]:
    state = settings.topics.state
    found: list[_Unfinished] = []
    async with reading.opened(settings) as topics:
        for partition in await topics.partitions(state):  # one after the other: finished ids take the most memory
            entries = (await read_ledger(topics, state, partition)).entries
            found += [_Unfinished(partition, key.decode(), entry) for key, entry in entries.items()]
    return found


def _show(found: list[_Unfinished], now: int) -> None:
    if not found:
        typer.echo("nothing is unfinished")
        return
    shown.table(
        ("AGE", "STATE", "TERMINAL", "OPERATION", "MESSAGE ID"),
        (
            (shown.age(now - entry.requested_at), entry.state, entry.terminal_id, entry.operation, entry.message_id)
            for entry in (each.entry for each in found)
        ),
        right=("AGE",),
    )
    for title, counts in (
        ("PARTITION", Counter((each.partition, each.entry.state) for each in found)),
        ("ACCOUNT", Counter((each.account, each.entry.state) for each in found)),
    ):
        _totals(title, counts)


def _totals(title: str, counts: Counter[Any]) -> None:
    states = [state.value for state in UNFINISHED]
    rows: list[tuple[object, ...]] = []
    for of in sorted({of for of, _ in counts}):
        numbers = [counts[of, state] for state in states]
        rows.append((of, *numbers, sum(numbers)))
    columns = [*(state.upper() for state in states), "TOTAL"]
    typer.echo()
    shown.table((title, *columns), rows, right=columns)


def _members(each: _Unfinished, now: int) -> dict[str, Any]:
    entry = each.entry
    times = {"requested_at": entry.requested_at, "creating_at": entry.creating_at, "pending_at": entry.pending_at}
    return {
        "message_id": entry.message_id,
        "idempotency_key": each.key,
        "state": entry.state,
        "age_s": round(max(0, now - entry.requested_at) / 1000, 3),
        "terminal_id": entry.terminal_id,
        "account_id": each.account,
        "operation": entry.operation,
        "operation_id": entry.operation_id,
        **{name: None if time is None else shown.moment(time) for name, time in times.items()},
        "partition": each.partition,
        "offset": entry.offset,
        "correlation_id": entry.correlation_id,
        "traceparent": entry.traceparent,
    }
