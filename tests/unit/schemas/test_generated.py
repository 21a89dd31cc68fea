"""The generated files: in step with the models, valid by the standards' own schemas, true of the examples."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

import schemas
from schemas import asyncapi, example_messages, names
from schemas.example_messages import Example
from worker.domain.outcome import Reason
from worker.kafka.topics import STATE_CONFIG
from worker.settings import Settings

FOLDER = Path(schemas.__file__).parent / "generated"
DOCUMENTS = schemas.documents()
ASYNCAPI = asyncapi.document()
MESSAGES: dict[str, Any] = ASYNCAPI["components"]["messages"]


def validator(document: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_what_is_checked_in_is_what_the_models_generate() -> None:
    kept = {file.name: file.read_text() for file in FOLDER.iterdir()}
    outdated = [name for name, text in schemas.files().items() if kept.pop(name, None) != text]
    again = "run `terminal-worker schemas --output schemas/generated`"
    assert (outdated, sorted(kept)) == ([], []), again


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_valid_and_its_example_is_valid_by_it(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENTS[name])
    (example,) = DOCUMENTS[name]["examples"]
    validator(DOCUMENTS[name]).validate(example)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_refuses_what_lacks_a_required_member(name: str) -> None:
    (example,) = DOCUMENTS[name]["examples"]
    lacking = {member: value for member, value in example.items() if member not in ("operation", "fingerprint")}
    lacking.pop(names.DEAD_LETTER_REASON, None)
    assert not validator(DOCUMENTS[name]).is_valid(lacking)


@pytest.mark.parametrize("expires_at", ["tomorrow", "2026-01-01T00:00:00", 1_767_225_600])
def test_a_time_without_an_offset_is_refused_by_the_schema_too(expires_at: object) -> None:
    data = {"terminal_id": "P11223351-T0013", "operation": "end_of_day", "expires_at": expires_at}
    assert not validator(DOCUMENTS[names.REQUESTED]).is_valid(data)


def test_every_event_type_has_a_json_schema_with_the_id_that_events_name() -> None:
    for event_type in (names.REQUESTED, *names.OUTCOME_TYPES.values()):
        assert DOCUMENTS[event_type]["$id"] == f"urn:terminal-operations:schema:{event_type}"
        assert "terminal_id" in DOCUMENTS[event_type]["required"]
    failed = DOCUMENTS[names.FAILED]
    assert failed["$defs"]["Error"]["properties"]["reason"]["enum"] == [reason.value for reason in Reason]
    assert failed["properties"]["occurred_at"]["format"] == "date-time"


@pytest.mark.parametrize("name", MESSAGES)
def test_every_example_of_the_asyncapi_document_is_valid_by_it(name: str) -> None:
    message = MESSAGES[name]
    (example,) = message["examples"]
    components = {"components": {"schemas": ASYNCAPI["components"]["schemas"]}}
    for part in ("headers", "payload"):
        if part in message:
            validator({**message[part], **components}).validate(example[part])


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (schemas.RequestData, example_messages.REQUEST_BINARY),
        (schemas.RequestEvent, example_messages.REQUEST_STRUCTURED),
        (schemas.PlainRequest, example_messages.REQUEST_PLAIN),
        (schemas.Created, example_messages.CREATED),
        (schemas.Completed, example_messages.COMPLETED),
        (schemas.Failed, example_messages.FAILED),
    ],
)
def test_every_example_is_read_by_its_model_and_written_again(model: type[BaseModel], example: Example) -> None:
    read = model.model_validate_json(json.dumps(example.value))
    assert json.loads(read.model_dump_json(exclude_unset=True)) == example.value


def test_the_asyncapi_document_names_the_topics_that_the_worker_uses() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    topics = [defaults[f"kafka_{name}_topic"] for name in ("requests", "outcomes", "dead_letters", "state")]
    assert [channel["address"] for channel in ASYNCAPI["channels"].values()] == topics
    state = ASYNCAPI["channels"]["state"]["bindings"]["kafka"]["topicConfiguration"]
    assert state["cleanup.policy"] == [STATE_CONFIG["cleanup.policy"]]
    assert str(state["delete.retention.ms"]) == STATE_CONFIG["delete.retention.ms"]
    group = ASYNCAPI["operations"]["receiveRequest"]["bindings"]["kafka"]["groupId"]["default"]
    assert group == defaults["kafka_group_id"]


def test_the_reference_has_every_topic_message_and_type() -> None:
    text = schemas.files()["reference.md"]
    assert all(f"`{channel['address']}`" in text for channel in ASYNCAPI["channels"].values())
    assert all(f"### {message['title']}" in text for message in MESSAGES.values())
    anchors = {line.removeprefix("### ").lower() for line in text.splitlines() if line.startswith("### ")}
    linked = {part.partition(")")[0] for part in text.split("](#")[1:]}
    assert linked
    assert linked <= anchors
