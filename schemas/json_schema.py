"""JSON Schema (draft 2020-12) of every event's data, for those who do not speak Python."""

from typing import Any

from pydantic import BaseModel

from schemas import names
from schemas.outcome import Completed, Created, Failed
from schemas.request import RequestData

_DATA: dict[str, type[BaseModel]] = {
    names.REQUESTED: RequestData,
    names.CREATED: Created,
    names.COMPLETED: Completed,
    names.FAILED: Failed,
}


def documents() -> dict[str, dict[str, Any]]:
    """A self-contained document per event type; its `$id` is the `dataschema` of the events."""
    return {
        event_type: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": names.SCHEMA_PREFIX + event_type,
            **model.model_json_schema(),
        }
        for event_type, model in _DATA.items()
    }
