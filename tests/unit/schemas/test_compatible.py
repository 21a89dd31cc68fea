"""What upstream and downstream rely on: no schema changes against what is released."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import schemas
from schemas import names
from tests.unit.schemas.compatible import problems

RELEASED = {
    file.stem: json.loads(file.read_text())
    for file in sorted((Path(schemas.__file__).parent / "released").glob("*.json"))
}
FAILED = RELEASED[names.FAILED]


def changed(*path: str, **members: Any) -> dict[str, Any]:
    """The schema of `failed`, with members of the object at `path` set; None takes one away."""
    document: dict[str, Any] = deepcopy(FAILED)
    place = document
    for name in path:
        place = place[name]
    for name, value in members.items():
        if value is None:
            del place[name]
        else:
            place[name] = value
    return document


def test_a_schema_is_kept_from_its_first_day() -> None:
    assert set(RELEASED) == set(schemas.documents())


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_schema_is_still_kept(name: str) -> None:
    assert list(problems(RELEASED[name], schemas.documents()[name])) == []


@pytest.mark.parametrize(
    "new",
    [
        changed(),
        changed("properties", added={"type": "string"}),
        changed("$defs", "Error", "properties", added={"type": "string"}),
        changed("$defs", Added={"type": "object"}),
        changed("$defs", "Error", description="in other words", title="in other words"),
        changed(required=list(reversed(FAILED["required"]))),
    ],
    ids=["nothing", "a member", "a member of a member", "a type", "words", "an order"],
)
def test_an_addition_that_nobody_must_know_passes(new: dict[str, Any]) -> None:
    assert list(problems(FAILED, new)) == []


@pytest.mark.parametrize(
    ("new", "place"),
    [
        (changed("properties", operation_id=None), "/properties/operation_id"),
        (changed("properties", "status", type="integer"), "/properties/status/type"),
        (changed("properties", "message_id", maxLength=8), "/properties/message_id/maxLength"),
        (changed("properties", "message_id", maxLength=None), "/properties/message_id/maxLength"),
        (changed(additionalProperties=False), "/additionalProperties"),
        (changed(required=[*FAILED["required"], "operation_id"]), "/required"),
        (changed(required=FAILED["required"][1:]), "/required"),
        (changed("$defs", Error=None), "/$defs/Error"),
        (changed("$defs", "Error", "properties", "reason", enum=["rejected"]), "/$defs/Error/properties/reason/enum"),
        (changed("properties", "terminal_id", anyOf=[{"type": "null"}]), "/properties/terminal_id/anyOf"),
        ({**FAILED, "$id": "urn:another"}, "/$id"),
    ],
)
def test_a_change_that_breaks_someone_is_found_at_its_place(new: dict[str, Any], place: str) -> None:
    assert [problem.partition(":")[0] for problem in problems(FAILED, new)] == [place]
