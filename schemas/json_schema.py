"""JSON Schema (draft 2020-12) of every event's data, of dead letters and of the ledger."""

from typing import Any

from pydantic import BaseModel, TypeAdapter

from schemas import example_messages, names
from schemas.dead_letter import DeadLetterHeaders
from schemas.example_messages import Example
from schemas.ledger import LEDGER
from schemas.outcome import Completed, Created, Failed, Resolved
from schemas.request import RequestData

_EVENTS: dict[str, tuple[type[BaseModel], Example]] = {
    names.REQUESTED: (RequestData, example_messages.REQUEST_BINARY),
    names.CREATED: (Created, example_messages.CREATED),
    names.COMPLETED: (Completed, example_messages.COMPLETED),
    names.FAILED: (Failed, example_messages.FAILED),
    names.RESOLVED: (Resolved, example_messages.RESOLVED),
}


def documents() -> dict[str, dict[str, Any]]:
    """A self-contained document by name. That of an event type has the events' `dataschema` as its `$id`."""
    found = {name: _document(name, TypeAdapter(model), example.value) for name, (model, example) in _EVENTS.items()}
    dead_letter, ledger = example_messages.DEAD_LETTER, example_messages.LEDGER_ENTRY
    found[names.DEAD_LETTER_SCHEMA] = _document(
        names.DEAD_LETTER_SCHEMA, TypeAdapter(DeadLetterHeaders), dict(dead_letter.headers)
    )
    found[names.LEDGER_SCHEMA] = _document(names.LEDGER_SCHEMA, LEDGER, ledger.value)
    return found


def _document(name: str, adapter: TypeAdapter[Any], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": names.SCHEMA_PREFIX + name,
        **adapter.json_schema(),
        "examples": [example],
    }
