"""`unconfirmed`: which outcomes wait for a person's word, and the event of that word."""

from typing import Any

import orjson
import pytest

import schemas
from schemas import example_messages, names
from schemas.example_messages import Example
from tests.support.records import Message as Read
from worker.cli import resolutions
from worker.cli.resolutions import Found, RefusedError, Resolution
from worker.kafka.producer import Message

KEY = example_messages.FAILED.value["idempotency_key"]
ERROR = {"reason": "unconfirmed", "message": "it may have run"}
OTHER_KEY = "5e8deabe-1f7c-5be5-a21d-6a10b02b0cf0"


def read(example: Example, **changes: Any) -> Read:
    headers = tuple((name, text.encode()) for name, text in example.headers.items())
    return Read(example.key.encode(), orjson.dumps({**example.value, **changes}), headers)


def found(*records: Read) -> Found:
    gathered = Found()
    for record in records:
        gathered.take(record)
    return gathered


def event(by: str = "me", note: str | None = None) -> Message:
    (waiting,) = found(read(example_messages.FAILED, error=ERROR)).open
    return resolutions.event(waiting, Resolution.COMPLETED, by=by, note=note, topic="outcomes", source="/worker")


def test_only_what_is_unconfirmed_and_not_resolved_waits() -> None:
    waits = read(example_messages.FAILED, error=ERROR)
    assert len(found(waits, waits).open) == 1
    assert found(read(example_messages.FAILED), read(example_messages.COMPLETED)).open == []
    assert found(waits, read(example_messages.RESOLVED)).open == []
    assert found(read(example_messages.RESOLVED), waits).open == []  # partitions are read in any order
    assert len(found(waits, read(example_messages.RESOLVED, idempotency_key=OTHER_KEY)).open) == 1


@pytest.mark.parametrize("event_type", [names.FAILED, names.RESOLVED, "\xff"])
@pytest.mark.parametrize("value", [None, b"\xff", b"[]", b'{"status": "failed"}'])
def test_a_record_that_is_no_event_is_passed_over(event_type: str, value: bytes | None) -> None:
    assert found(Read(None, value, (("ce_type", event_type.encode("latin-1")),))).open == []


def test_the_first_resolution_counts() -> None:
    told = found(read(example_messages.RESOLVED), read(example_messages.RESOLVED, resolution="failed"))
    assert told.resolved[KEY].resolution == "completed"


def test_the_event_is_valid_and_the_same_each_time() -> None:
    message = event(note="seen")
    value = schemas.Resolved.model_validate_json(message.value or b"")
    headers = schemas.ResolvedHeaders.model_validate({name: (text or b"").decode() for name, text in message.headers})
    assert (message.topic, message.key) == ("outcomes", example_messages.FAILED.key.encode())
    assert (value.resolution, value.resolved_by, value.note) == ("completed", "me", "seen")
    assert str(headers.ce_id) == example_messages.RESOLVED.headers["ce_id"]
    assert (
        headers.ce_id
        == schemas.ResolvedHeaders.model_validate(
            {name: (text or b"").decode() for name, text in event(by="you").headers}
        ).ce_id
    )
    assert headers.ce_time == value.occurred_at
    assert headers.ce_correlationid == example_messages.FAILED.headers["ce_correlationid"]
    assert value.operation_id == example_messages.FAILED.value["operation_id"]


@pytest.mark.parametrize("said", [{"note": ""}, {"note": "a\nb"}, {"by": "x" * 1025}])
def test_what_is_no_line_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(RefusedError, match="expected one line"):
        event(**said)


def test_a_request_is_found_by_message_id_and_by_key_and_two_of_one_id_are_both_found() -> None:
    both = found(
        read(example_messages.FAILED, error=ERROR, message_id="order-1"),
        read(example_messages.FAILED, error=ERROR, message_id="order-1", idempotency_key=OTHER_KEY),
    )
    assert both.keys("order-1") == [KEY, OTHER_KEY]
    assert both.keys(OTHER_KEY.upper()) == [OTHER_KEY]
    assert both.keys("order-2") == []
