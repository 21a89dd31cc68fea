"""A record the worker could not take, given back: its key, value and headers as they came, and these headers."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from schemas._types import Frozen, Time

# A header is text, so its schema must say so although the model gives the number.
_Digits = Annotated[int, Field(ge=0), WithJsonSchema({"type": "string", "pattern": "^[0-9]+$"})]


class DeadLetterHeaders(Frozen):
    """Added after the record's own headers; where a name stands twice, the last one is the worker's.

    A byte of a header's name that is no UTF-8 comes back as four characters, such as `\\xe9`.
    """

    model_config = ConfigDict(alias_generator=lambda field: field.replace("_", "-"))

    dead_letter_reason: Literal["invalid_request", "message_id_reused"]
    dead_letter_message: str = Field(description="For a person: the member and what was expected.")
    dead_letter_truncated: str | None = Field(
        default=None,
        description="The parts cut to fit, comma-separated: `value`, `headers`, `key`. Absent when it is whole.",
    )
    dead_letter_topic: str = Field(description="Where the record came from.")
    dead_letter_partition: _Digits
    dead_letter_offset: _Digits
    dead_letter_time: Time
