"""Requests as producers send them, and what their outcomes must look like together."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import orjson

from tests.support.records import Message

FINAL = ("completed", "failed")


def request(terminal: str, *, message_id: str | None = None, operation: str = "end_of_day", **headers: str) -> Message:
    """A CloudEvents request in binary mode, keyed by its terminal. Other headers by name, `ce_` included."""
    data = {"terminal_id": terminal, "operation": operation}
    sent = {
        "ce_specversion": "1.0",
        "ce_id": message_id or str(uuid4()),
        "ce_source": "/tests",
        "ce_type": "terminal.operation.requested.v1",
        "content-type": "application/json",
        **headers,
    }
    return Message(terminal.encode(), orjson.dumps(data), tuple((name, value.encode()) for name, value in sent.items()))


def terminals(count: int, account: str = "P11223351") -> list[str]:
    return [f"{account}-T{number:04}" for number in range(count)]


def message_ids(requests: Iterable[Message]) -> list[str]:
    return [message.header("ce_id") or "" for message in requests]


def statuses(outcomes: Iterable[Message]) -> dict[str, list[str]]:
    """For each message ID, the statuses published for it. Those of one terminal come in their order."""
    found: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        value = outcome.json()
        found[value["message_id"]].append(value["status"])
    return found


def finals(outcomes: Iterable[Message]) -> dict[str, dict[str, Any]]:
    """The final outcome's value for each message ID. Fails when one has two."""
    values = [value for outcome in outcomes if (value := outcome.json())["status"] in FINAL]
    repeated = [key for key, count in Counter(value["message_id"] for value in values).items() if count > 1]
    assert not repeated, f"more than one final outcome: {repeated[:5]}"
    return {value["message_id"]: value for value in values}


def all_final(requests: Sequence[Message]) -> Any:
    """For `read_until`: whether each of these requests has a final outcome."""
    wanted = set(message_ids(requests))

    def done(outcomes: list[Message]) -> bool:
        # Counted first: parsing everything again at each look would be quadratic.
        return len(outcomes) >= len(wanted) and wanted <= {
            value["message_id"] for outcome in outcomes if (value := outcome.json())["status"] in FINAL
        }

    return done


def assert_promises_kept(requests: Sequence[Message], outcomes: Sequence[Message]) -> None:
    """One final outcome each, at most one `created` and before it, `completed` only after it, nothing invented."""
    found = statuses(outcomes)
    assert set(found) == set(message_ids(requests))
    allowed = (["created", "completed"], ["created", "failed"], ["failed"])
    wrong = {key: told for key, told in found.items() if told not in allowed}
    assert not wrong, wrong
