"""The messages of the terminal operations worker, for those upstream and downstream. Needs pydantic alone."""

from schemas import names
from schemas.dead_letter import DeadLetterHeaders
from schemas.json_schema import documents
from schemas.operation import EndOfDayOperation, EndOfDayResult, OpenOperation, TerminalOperation
from schemas.outcome import OUTCOME, Completed, Created, Error, Failed, Outcome, OutcomeHeaders
from schemas.request import PlainRequest, RequestData, RequestEvent, RequestHeaders

__all__ = [
    "OUTCOME",
    "Completed",
    "Created",
    "DeadLetterHeaders",
    "EndOfDayOperation",
    "EndOfDayResult",
    "Error",
    "Failed",
    "OpenOperation",
    "Outcome",
    "OutcomeHeaders",
    "PlainRequest",
    "RequestData",
    "RequestEvent",
    "RequestHeaders",
    "TerminalOperation",
    "documents",
    "names",
]
