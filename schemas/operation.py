"""The API's operation object. The API may add members and values at any time: all are kept, none is refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class _Open(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class EndOfDayResult(_Open):
    """The totals of a terminal's day. Amounts are integers in minor units."""

    # A count of "3" or true is not as documented, and must come out as the API gave it.
    model_config = ConfigDict(strict=True)

    batch_id: str
    start_of_day_at: str
    last_end_of_day_at: str | None = None
    purchases_count: int
    purchases_amount: int
    reversals_count: int
    reversals_amount: int
    sale_amount: int
    tip_amount: int


Result = Annotated[EndOfDayResult | JsonValue, Field(union_mode="left_to_right")]
"""An end of day as documented is typed; whatever else the API gives stays as it is."""


class OpenOperation(_Open):
    """An operation of any kind, as the API last showed it. Only what the worker relies on is required."""

    id: str
    terminal_id: str
    operation: str
    status: str = Field(examples=["PENDING", "COMPLETED", "FAILED", "TIMEOUT"])
    account_id: str | None = None
    parameters: Any = None
    result: Any = None
    created_at: str | None = None
    created_by: str | None = None
    updated_at: str | None = None
    updated_by: str | None = None


class EndOfDayOperation(OpenOperation):
    """An end of day; its result is typed once it is there."""

    operation: Literal["end_of_day"]
    result: EndOfDayResult | None = None


TerminalOperation = Annotated[EndOfDayOperation | OpenOperation | dict[str, Any], Field(union_mode="left_to_right")]
"""Typed where the API keeps to its documents, open where it does not."""
