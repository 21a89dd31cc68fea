"""What the Python programs read and write, so that each spends the same on it."""

import os
import time
from dataclasses import dataclass
from typing import Any

from schemas import names
from worker.clock import rfc3339
from worker.domain import identity

REQUESTS = os.environ.get("KAFKA_REQUESTS_TOPIC", "")
OUTCOMES = os.environ.get("KAFKA_OUTCOMES_TOPIC", "")
GROUP = os.environ.get("KAFKA_GROUP_ID", "")
BROKERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
API = os.environ.get("DINTERO_BASE_URL", "")
ACCOUNT = os.environ.get("DINTERO_ACCOUNT_ID", "")
CREDENTIALS = (os.environ.get("DINTERO_CLIENT_ID", ""), os.environ.get("DINTERO_CLIENT_SECRET", ""))
IN_FLIGHT = int(os.environ.get("DINTERO_MAX_IN_FLIGHT", "64"))
POLL_DELAY = float(os.environ.get("POLL_DELAY", "0"))
"""Seconds from `created` to the poll; 0 stands for no poll: then a request ends with its `created`."""

OPERATIONS = f"{API}/v1/admin/terminals/operations"
TOKEN = f"{API}/v1/accounts/{ACCOUNT}/auth/token"
TOKEN_REQUEST = {"grant_type": "client_credentials", "audience": f"https://api.dintero.com/v1/accounts/{ACCOUNT}"}


@dataclass(frozen=True, slots=True)
class Request:
    message_id: str
    requested_at: int
    data: dict[str, Any]


def outcome(status: str, request: Request, operation: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Value and headers, as the contract has them."""
    now = rfc3339(int(time.time() * 1000))
    event_type = names.OUTCOME_TYPES[status]
    value = {
        "message_id": request.message_id,
        "idempotency_key": request.message_id,
        "status": status,
        "terminal_id": request.data["terminal_id"],
        "operation": request.data["operation"],
        "operation_id": operation["id"],
        "requested_at": rfc3339(request.requested_at),
        "occurred_at": now,
        "terminal_operation": operation,
    }
    if status == "completed":
        value["result"] = operation["result"]
    headers = {
        names.CE_SPECVERSION: names.SPEC_VERSION,
        names.CE_TYPE: event_type,
        names.CE_ID: identity.event_id(request.message_id, event_type),
        names.CE_SOURCE: "/benchmark",
        names.CE_SUBJECT: request.data["terminal_id"],
        names.CE_TIME: now,
        names.CE_DATASCHEMA: names.SCHEMA_PREFIX + event_type,
        names.CE_CAUSATIONID: request.message_id,
        names.CE_CORRELATIONID: request.message_id,
        names.CONTENT_TYPE: names.JSON,
    }
    return value, headers
