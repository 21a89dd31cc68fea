"""Types that several models share."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
)

from schemas import names

_NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]+$"


def _rfc3339(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time of the years 1 to 9999 in UTC") from None


def _no_number(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("expected an RFC 3339 time with an offset")
    return value


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_no_number),
    AfterValidator(_in_utc),
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
]
"""RFC 3339 with an offset; written in UTC with milliseconds."""
MessageId = Annotated[str, StringConstraints(min_length=1, max_length=names.MAX_MESSAGE_ID, pattern=_NO_CONTROL)]
TerminalId = Annotated[str, StringConstraints(min_length=1, max_length=names.MAX_TERMINAL_ID, pattern=_NO_CONTROL)]
OperationName = Annotated[str, StringConstraints(min_length=1, max_length=names.MAX_TERMINAL_ID, pattern=_NO_CONTROL)]
Source = Annotated[str, StringConstraints(min_length=1, max_length=names.MAX_SOURCE, pattern=_NO_CONTROL)]
Note = Annotated[str, StringConstraints(min_length=1, max_length=names.MAX_NOTE, pattern=_NO_CONTROL)]


class Frozen(BaseModel):
    """A value that does not change once read. Unknown members are ignored, so that a newer writer can be read."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
