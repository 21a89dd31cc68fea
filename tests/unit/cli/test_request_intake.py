"""Requests before they are sent: what is refused, what their message IDs are, and that they come back as they went."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import orjson
import pytest

from worker.cli.requests import intake as intake_module
from worker.cli.requests.intake import Intake
from worker.cli.requests.lines import Line, LineError
from worker.settings import load

SETTINGS = load({"KAFKA_BOOTSTRAP_SERVERS": "nowhere", "DINTERO_EXTRA_OPERATIONS": "reboot"}, api=False)
GOOD: dict[str, Any] = {"terminal_id": "P11223351-T0001", "operation": "end_of_day"}


@pytest.fixture
def intake() -> Iterator[Intake]:
    with closing(Intake(SETTINGS, batch="night")) as made:
        yield made


def lines(*documents: Any) -> list[Line]:
    return [Line(number, document) for number, document in enumerate(documents, 1)]


def ids(*documents: Any, batch: str = "night") -> list[str]:
    with closing(Intake(SETTINGS, batch=batch)) as made:
        assert list(made.take(lines(*documents))) == []
        return list(made.lines)


def test_requests_come_back_in_their_order_as_the_records_of_their_terminals(intake: Intake) -> None:
    full = {**GOOD, "parameters": {"é": [1, None]}, "expires_at": "2027-01-01T01:00:00+01:00", "message_id": "my own"}
    other = {**GOOD, "terminal_id": "P11223351-T0002", "operation": "reboot"}
    assert list(intake.take(lines(full, other))) == []
    (first_id, first), (second_id, second) = intake.records()
    assert (first_id, first["key"]) == ("my own", b"P11223351-T0001")
    assert dict(first["headers"])["ce_id"] == b"my own"
    assert orjson.loads(first["value"]) == {
        "terminal_id": "P11223351-T0001",
        "operation": "end_of_day",
        "parameters": {"é": [1, None]},
        "expires_at": "2027-01-01T00:00:00.000Z",
    }
    assert UUID(second_id).version == 5
    assert second["key"] == b"P11223351-T0002"


def test_the_same_file_and_batch_give_the_same_ids_and_another_batch_others() -> None:
    other = {**GOOD, "operation": "send_logs"}
    assert ids(GOOD, other) == list(reversed(ids(other, GOOD)))
    assert set(ids(GOOD, other)).isdisjoint(ids(GOOD, other, batch="next night"))


def test_the_derived_id_never_changes() -> None:
    # Else a file that is sent again with a newer version would run again.
    full = {**GOOD, "parameters": {"b": 1, "a": 2}, "expires_at": "2027-01-01T00:00:00Z"}
    assert ids(GOOD, full) == ["b2558068-4c8a-5164-b8a1-d5fe9168f840", "233468ff-2a7e-516f-9b94-ff0bc25dcd3e"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"operation": "end_of_day"}, "terminal_id"),
        ({**GOOD, "operation": "end_of_year"}, "operation: expected one of"),
        ({**GOOD, "terminal_id": "a\nb"}, "terminal_id"),
        ({**GOOD, "terminal_id": "\udcff"}, "terminal_id"),
        ({**GOOD, "expire_at": "2027-01-01T00:00:00Z"}, "expire_at"),
        ({**GOOD, "expires_at": "tomorrow"}, "expires_at"),
        ({**GOOD, "expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({**GOOD, "parameters": [1]}, "parameters"),
        ({**GOOD, "parameters": {"a": 1e300}}, "64 bits"),
        ({**GOOD, "parameters": {"a": "x" * 70_000}}, "bytes"),
        ({**GOOD, "message_id": "x" * 257}, "message_id"),
        ({**GOOD, "message_id": 7}, "message_id"),
        (LineError("expected a JSON object"), "expected a JSON object"),
    ],
)
def test_what_the_worker_would_refuse_is_told_before_anything_is_sent(intake: Intake, document: Any, told: str) -> None:
    ((number, problem),) = intake.take(lines(document, {**GOOD, "message_id": "good"}))
    assert number == 1
    assert told in problem
    assert list(intake.lines) == ["good"]


def test_a_deep_document_is_refused_and_does_not_break(intake: Intake) -> None:
    deep: Any = {}
    for _ in range(800):
        deep = {"a": deep}
    ((_, problem),) = intake.take(lines({**GOOD, "parameters": deep}))
    assert "parameters" in problem


def test_a_problem_quotes_nothing_of_the_line(intake: Intake) -> None:
    ((_, problem),) = intake.take(lines({**GOOD, "parameters": "hunter2", "expires_at": "hunter2"}))
    assert "hunter2" not in problem


@pytest.mark.parametrize("message_id", [{}, {"message_id": "one"}])
def test_the_same_request_twice_in_a_file_is_told_with_both_lines(intake: Intake, message_id: dict[str, str]) -> None:
    ((number, problem),) = intake.take(lines({**GOOD, **message_id}, {**GOOD, **message_id}))
    assert number == 2
    assert "as line 1" in problem


def test_without_a_batch_every_line_needs_its_message_id() -> None:
    with closing(Intake(SETTINGS, batch=None)) as made:
        ((_, problem),) = made.take(lines(GOOD, {**GOOD, "message_id": "one"}))
    assert "--batch" in problem


def test_a_file_without_end_is_refused_at_a_bound(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_REQUESTS", 3)

    def endless() -> Iterator[Line]:
        number = 0
        while True:
            yield Line(number := number + 1, {**GOOD, "message_id": str(number)})

    ((number, problem),) = intake.take(endless())
    assert number == 4
    assert "at most 3" in problem
