"""The messages of the terminal operations worker, for those upstream and downstream. Needs pydantic alone."""

from schemas import names
from schemas.dead_letter import DeadLetterHeaders
from schemas.generate import files
from schemas.json_schema import documents
from schemas.ledger import LEDGER, LedgerEntry, LedgerFinished, LedgerPosition, LedgerRecord
from schemas.operation import EndOfDayOperation, EndOfDayResult, OpenOperation, TerminalOperation
from schemas.outcome import (
    OUTCOME,
    Completed,
    Created,
    Error,
    Failed,
    Outcome,
    OutcomeHeaders,
    Resolved,
    ResolvedHeaders,
)
from schemas.records import OutcomeRecord, RequestRecord, UnreadableOutcomeError, build_request, read_outcome
from schemas.request import PlainRequest, RequestData, RequestEvent, RequestHeaders

__all__ = [
    "LEDGER",
    "OUTCOME",
    "Completed",
    "Created",
    "DeadLetterHeaders",
    "EndOfDayOperation",
    "EndOfDayResult",
    "Error",
    "Failed",
    "LedgerEntry",
    "LedgerFinished",
    "LedgerPosition",
    "LedgerRecord",
    "OpenOperation",
    "Outcome",
    "OutcomeHeaders",
    "OutcomeRecord",
    "PlainRequest",
    "RequestData",
    "RequestEvent",
    "RequestHeaders",
    "RequestRecord",
    "Resolved",
    "ResolvedHeaders",
    "TerminalOperation",
    "UnreadableOutcomeError",
    "build_request",
    "documents",
    "files",
    "names",
    "read_outcome",
]
