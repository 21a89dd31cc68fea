"""The schemas stand alone, and speak the words of the code."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import orjson
import pytest
from pydantic import ValidationError

import schemas
from schemas import names, outcome
from worker.domain.outcome import DeadLetterReason, OutcomeType, Reason

DATA = {"terminal_id": "P11223351-T0013", "operation": "end_of_day"}


_ALONE = """
import sys

ALLOWED = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "schemas"}


class Refuses:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in ALLOWED | sys.stdlib_module_names and not root.startswith("_sysconfigdata"):
            raise ImportError(f"{name} is refused")


sys.meta_path.insert(0, Refuses())
import schemas

data = schemas.RequestData(terminal_id="P11223351-T0013", operation="end_of_day")
schemas.build_request(data, message_id="1", source="/a")
print(*schemas.files())
"""


def test_the_schemas_work_where_nothing_but_pydantic_can_be_imported() -> None:
    root = Path(schemas.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], check=False, capture_output=True, text=True, timeout=60, cwd=root
    )
    assert done.returncode == 0, done.stderr
    assert "asyncapi.json" in done.stdout


def test_the_schemas_are_typed_for_those_who_import_them() -> None:
    assert Path(schemas.__file__).with_name("py.typed").exists()


def test_the_models_know_the_words_of_the_domain() -> None:
    assert set(get_args(outcome.Reason)) == {reason.value for reason in Reason}
    assert set(names.OUTCOME_TYPES) == {type_.value for type_ in OutcomeType}
    reasons = schemas.DeadLetterHeaders.model_fields["dead_letter_reason"].annotation
    assert set(get_args(reasons)) == {reason.value for reason in DeadLetterReason}


def test_the_models_name_the_headers_as_the_names_do() -> None:
    header_names = {value for value in vars(names).values() if isinstance(value, str)}
    for model in (schemas.OutcomeHeaders, schemas.RequestHeaders, schemas.DeadLetterHeaders):
        wired = model.model_json_schema(by_alias=True)["properties"]
        assert set(wired) <= header_names


def test_a_structured_request_is_read_with_what_extends_it() -> None:
    event = schemas.RequestEvent.model_validate(
        {"specversion": "1.0", "id": "1", "source": "/a", "type": names.REQUESTED, "data": DATA, "partitionkey": "x"}
    )
    assert event.data.terminal_id == "P11223351-T0013"
    assert event.model_extra == {"partitionkey": "x"}


@pytest.mark.parametrize(
    "data",
    [
        {**DATA, "terminal_id": ""},
        {**DATA, "terminal_id": "a\nb"},
        {**DATA, "terminal_id": "x" * 129},
        {**DATA, "expires_at": 1_767_225_600},
        {**DATA, "expires_at": "2026-01-01T00:00:00"},
        {**DATA, "expires_at": "9999-12-31T23:59:59-00:01"},
        {**DATA, "expires_at": "0001-01-01T00:00:00+00:01"},
        {**DATA, "parameters": [1]},
        {"terminal_id": "x"},
    ],
)
def test_a_request_that_the_worker_would_refuse_is_refused_upstream(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        schemas.RequestData.model_validate_json(orjson.dumps(data))


def test_outcomes_are_told_apart_by_their_status() -> None:
    common = {"message_id": "1", "idempotency_key": "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44", **DATA}
    times = {"requested_at": "2026-01-01T00:00:00.000Z", "occurred_at": "2026-01-01T00:00:01.000Z"}
    read = schemas.OUTCOME.validate_python
    assert isinstance(read({**common, **times, "status": "created", "operation_id": "o"}), schemas.Created)
    assert isinstance(read({**common, **times, "status": "completed", "operation_id": "o"}), schemas.Completed)
    error = {"reason": "expired", "message": "too late"}
    assert isinstance(read({**common, **times, "status": "failed", "error": error}), schemas.Failed)
    with pytest.raises(ValidationError):
        read({**common, **times, "status": "failed"})


def test_a_newer_outcome_is_still_read() -> None:
    value = {
        "message_id": "1",
        "idempotency_key": "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44",
        **DATA,
        "requested_at": "2026-01-01T00:00:00Z",
        "occurred_at": "2026-01-01T00:00:01Z",
        "status": "created",
        "operation_id": "o",
        "terminal_operation": {"status": 7},
        "added_later": 1,
    }
    assert schemas.OUTCOME.validate_python(value).terminal_operation == {"status": 7}
