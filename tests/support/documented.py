"""Records held to the published schemas: each outcome and dead letter that any test reads."""

from collections.abc import Iterable
from typing import Any

from jsonschema import Draft202012Validator

import schemas
from schemas import names
from tests.support.records import Message

_VALIDATORS = {
    name: Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for name, document in schemas.documents().items()
}


def assert_outcomes_documented(outcomes: Iterable[Message]) -> None:
    """Value and headers are valid by model and JSON Schema, and agree with each other and with the record's key."""
    for message in outcomes:
        received = schemas.read_outcome(message.value, message.headers)
        assert received is not None, message
        outcome, headers = received.outcome, received.headers
        value: dict[str, Any] = message.json()
        _VALIDATORS[headers.ce_type].validate(value)
        assert headers.ce_dataschema == names.SCHEMA_PREFIX + headers.ce_type
        assert (headers.ce_subject, headers.ce_causationid) == (outcome.terminal_id, outcome.message_id)
        assert headers.ce_time == outcome.occurred_at
        assert outcome.terminal_id is None or message.key == outcome.terminal_id.encode()


def assert_dead_letters_documented(letters: Iterable[Message]) -> None:
    """The headers that the worker adds are valid by model and JSON Schema."""
    for message in letters:
        added = {name: (value or b"").decode() for name, value in message.headers if name.startswith("dead-letter-")}
        schemas.DeadLetterHeaders.model_validate(added)
        _VALIDATORS[names.DEAD_LETTER_SCHEMA].validate(added)
