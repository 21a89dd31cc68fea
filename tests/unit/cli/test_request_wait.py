"""What became of requests, as their outcomes are read."""

from collections.abc import Sequence
from io import StringIO
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from tests.unit.cli.published import published
from worker.cli.requests.wait import SHOWN, Outcomes, wait


def shown(outcomes: Outcomes) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(outcomes.table())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_request_is_open_until_its_final_outcome() -> None:
    outcomes = Outcomes(["a", "b"])
    outcomes.take([published("created", "a")])
    assert (outcomes.open, str(outcomes)) == (2, "1 created, 1 waiting")
    outcomes.take([published("completed", "a"), published("failed", "b")])
    assert (outcomes.open, str(outcomes)) == (0, "1 completed, 1 failed")


def test_repeats_and_the_outcomes_of_others_count_for_nothing() -> None:
    outcomes = Outcomes(["a"])
    outcomes.take([published("completed", "a"), published("completed", "a"), published("created", "a")])
    outcomes.take([published("failed", "b"), published("failed", "a")])
    assert str(outcomes) == "1 completed"


def test_a_record_that_is_no_outcome_is_passed_over() -> None:
    outcomes = Outcomes(["a"])
    bad: list[Any] = [
        published("completed", "a", value=b"{"),
        published("completed", "a", value=None),
        SimpleNamespace(value=b"", headers=()),
        SimpleNamespace(value=b"", headers=(("ce_causationid", None), ("ce_type", b"\xff"))),
        SimpleNamespace(value=b"", headers=(("ce_causationid", b"a"), ("ce_type", b"some.other.v1"))),
    ]
    outcomes.take(bad)
    assert outcomes.open == 1


def test_the_table_is_short_shows_failures_first_and_is_no_markup() -> None:
    numbers = [str(UUID(int=number)) for number in range(100)]
    outcomes = Outcomes([*numbers, "[red]bad[/nonsense]"])
    outcomes.take([published("completed", number) for number in numbers])
    outcomes.take([published("failed", "[red]bad[/nonsense]")])
    lines = shown(outcomes).splitlines()
    assert "[red]bad[/nonsense]" in lines[1]
    assert "rejected" in lines[1]
    assert len(lines) == SHOWN + 2
    assert "100 completed, 1 failed" in lines[-1]
    assert max(map(len, lines)) <= 80


class Reader:
    def __init__(self, *batches: Sequence[Any]) -> None:
        self._batches = batches

    async def batches(self, *, follow: bool) -> Any:
        assert follow
        for batch in self._batches:
            yield batch
        pytest.fail("waited on, with nothing open")


async def test_waiting_ends_with_the_last_final_outcome() -> None:
    outcomes = Outcomes(["a", "b"])
    told: list[int] = []
    reader: Any = Reader([published("completed", "a")], [published("created", "b")], [published("failed", "b")])
    await wait(reader, outcomes, lambda: told.append(outcomes.open))
    assert told == [1, 1, 0]


async def test_nothing_is_waited_for_when_nothing_was_sent() -> None:
    reader: Any = Reader()
    await wait(reader, Outcomes([]), lambda: pytest.fail("read on"))
