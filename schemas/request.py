"""What comes in: a request in its three shapes. The worker reads these by hand (speed) and tests compare the two."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from schemas import names
from schemas._types import Frozen, MessageId, OperationName, Source, TerminalId, Time

_NUMBERS = "expected numbers of at most 64 bits"


def check_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """As they are. Raises ValueError for what writers of JSON would change or refuse: its depth, its numbers."""
    _check(parameters, names.MAX_DEPTH)
    return parameters


def _check(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if levels == 0:
            raise ValueError(f"expected at most {names.MAX_DEPTH} levels")
        for inner in value.values() if isinstance(value, dict) else value:
            if not isinstance(inner, str):
                _check(inner, levels - 1)
    elif isinstance(value, float):
        if not abs(value) < 2.0**63:  # nor is NaN
            raise ValueError(_NUMBERS)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(_NUMBERS)


class RequestData(Frozen):
    """One operation asked of one terminal: the value of a binary CloudEvent, the `data` of a structured one."""

    terminal_id: TerminalId = Field(examples=["P11223351-T0013"])
    operation: OperationName = Field(examples=sorted(names.OPERATIONS))
    parameters: Annotated[dict[str, JsonValue], AfterValidator(check_parameters)] | None = Field(
        default=None,
        description=f"Given to the API as it is. At most {names.MAX_DEPTH} levels, and numbers of at most 64 bits.",
        examples=[{"operator_id": "night"}],
    )
    expires_at: Time | None = Field(default=None, description="Not created by then: `failed`, reason `expired`.")


class PlainRequest(RequestData):
    """A request in plain JSON. The message ID is here or in the header `message-id`; the header wins."""

    message_id: MessageId | None = None


class RequestEvent(Frozen):
    """A request as a structured CloudEvent (`content-type: application/cloudevents+json`)."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: MessageId
    source: Source
    type: Literal["terminal.operation.requested.v1"]
    data: RequestData
    datacontenttype: str | None = None
    subject: str | None = None
    time: Time | None = None
    correlationid: MessageId | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class RequestHeaders(Frozen):
    """The headers of a request as a binary CloudEvent."""

    ce_specversion: Literal["1.0"]
    ce_id: MessageId = Field(description="The message ID: it runs once, however often it is sent.")
    ce_source: Source = Field(description="Who asks; part of the identity where the message ID is no UUID.")
    ce_type: Literal["terminal.operation.requested.v1"]
    ce_correlationid: MessageId | None = Field(default=None, description="Given back in every outcome.")
    content_type: str | None = Field(default=None, alias="content-type")
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = Field(
        default=None, description="Given back in every outcome, when it is printable ASCII of at most 512 bytes."
    )
