"""A record the worker could not take, given back: its key, value and headers as they came, and these headers."""

from typing import Literal

from pydantic import ConfigDict, Field

from schemas._types import Frozen, Time


class DeadLetterHeaders(Frozen):
    """Added after the record's own headers; where a name stands twice, the last one is the worker's."""

    model_config = ConfigDict(alias_generator=lambda field: field.replace("_", "-"))

    dead_letter_reason: Literal["invalid_request", "message_id_reused"]
    dead_letter_message: str
    dead_letter_truncated: str | None = Field(
        None, description="The parts cut to fit, comma-separated: `value`, `headers`, `key`. Absent when it is whole."
    )
    dead_letter_topic: str
    dead_letter_partition: int
    dead_letter_offset: int
    dead_letter_time: Time
