"""The ledger's schema says what the worker writes to the state topic, member for member."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

import schemas
from schemas import names
from worker.domain.commit import Commit, Ended, Position
from worker.domain.entry import Entry, State
from worker.domain.request import Request
from worker.kafka import ledger

KEY = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
LEDGER = Draft202012Validator(schemas.documents()[names.LEDGER_SCHEMA])
ENTRY = Entry(
    Request(
        *("17", KEY, "ab" * 16, "P11223351-T0013", "end_of_day", b'{"operator_id":"night"}', 1_767_304_900_000),
        *("night", 1_767_304_800_000, 1041, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1"),
        "shop=7",
    ),
    State.PENDING,
    1_767_304_800_017,
    1_767_304_800_412,
    "op-1",
)
ENDED = Ended(KEY, "ab" * 16, "17", 1_767_304_841_007)
_time = st.integers(0, 253_402_300_799_999)
_unfinished = st.sampled_from([State.QUEUED, State.CREATING, State.PENDING])


def written(commit: Commit) -> list[dict[str, Any]]:
    records = ledger.encode(commit, group="group", topic="topic")
    for _, value in records:
        LEDGER.validate(orjson.loads(value or b""))
    return [orjson.loads(value or b"") for _, value in records]


@pytest.mark.parametrize(
    ("model", "commit"),
    [
        (schemas.LedgerEntry, Commit(Position(1042), entries=[ENTRY])),
        (schemas.LedgerFinished, Commit(Position(1042), ended=[ENDED])),
        (schemas.LedgerPosition, Commit(Position(1042, 1041, 1_767_304_800_000, 1_767_304_800_412, 1))),
    ],
)
def test_a_record_has_the_members_of_its_model_and_no_others(model: type[BaseModel], commit: Commit) -> None:
    value = written(commit)[0]
    assert list(value) == list(model.model_fields)
    read = schemas.LEDGER.validate_python(value)
    assert type(read) is model
    assert read.model_dump() == value


@given(_unfinished, st.none() | _time, st.none() | _time, st.none() | st.just("op-1"), st.none() | _time)
def test_whatever_is_known_of_a_request_is_in_the_schema(
    state: State, creating_at: int | None, pending_at: int | None, operation_id: str | None, offset: int | None
) -> None:
    request = Request("17", KEY, "ab" * 16, "P11223351-T0013", "end_of_day", None, None, "17", 0, 0)
    entry = Entry(request, state, creating_at, pending_at, operation_id)
    for value in written(Commit(Position(1, offset, offset), entries=[entry], ended=[ENDED])):
        read = schemas.LEDGER.validate_python(value)
        assert read.model_dump(exclude_unset=True) == value


def test_the_schema_knows_the_states_and_the_version_of_the_ledger() -> None:
    states = {schema.get("const") for schema in _states()} | {
        state for schema in _states() for state in schema.get("enum", ())
    }
    assert states - {None} == {state.value for state in State}
    assert schemas.LedgerPosition.model_json_schema()["properties"]["v"]["const"] == ledger.VERSION


def _states() -> list[dict[str, Any]]:
    models = (schemas.LedgerEntry, schemas.LedgerFinished)
    return [model.model_json_schema()["properties"]["state"] for model in models]
