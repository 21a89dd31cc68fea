"""Every name on the wire, once: event types, header names, media types, limits. Nothing here may change its value."""

SPEC_VERSION = "1.0"

REQUESTED = "terminal.operation.requested.v1"
CREATED = "terminal.operation.created.v1"
COMPLETED = "terminal.operation.completed.v1"
FAILED = "terminal.operation.failed.v1"
OUTCOME_TYPES = {"created": CREATED, "completed": COMPLETED, "failed": FAILED}
"""The event type of an outcome's `status`."""
RESOLVED = "terminal.operation.resolved.v1"
"""A person's word on an outcome that was `unconfirmed`, beside the outcomes."""

# A name, not an address: the schema stays the same wherever it is kept, so consumers may compare it and cache by it.
SCHEMA_PREFIX = "urn:terminal-operations:schema:"
"""Followed by an event type, this is its `dataschema` and the `$id` of its JSON Schema."""

CE_PREFIX = "ce_"
CE_SPECVERSION = "ce_specversion"
CE_ID = "ce_id"
CE_SOURCE = "ce_source"
CE_TYPE = "ce_type"
CE_SUBJECT = "ce_subject"
CE_TIME = "ce_time"
CE_DATASCHEMA = "ce_dataschema"
CE_CAUSATIONID = "ce_causationid"
CE_CORRELATIONID = "ce_correlationid"
CE_TRACEPARENT = "ce_traceparent"
CE_TRACESTATE = "ce_tracestate"

CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"
MESSAGE_ID = "message-id"
"""Header of a plain JSON request; `KAFKA_MESSAGE_ID_HEADER` renames it."""

JSON = "application/json"
CLOUDEVENTS = "application/cloudevents"
CLOUDEVENTS_JSON = "application/cloudevents+json"

DEAD_LETTER_REASON = "dead-letter-reason"
DEAD_LETTER_MESSAGE = "dead-letter-message"
DEAD_LETTER_TRUNCATED = "dead-letter-truncated"
DEAD_LETTER_TOPIC = "dead-letter-topic"
DEAD_LETTER_PARTITION = "dead-letter-partition"
DEAD_LETTER_OFFSET = "dead-letter-offset"
DEAD_LETTER_TIME = "dead-letter-time"
DEAD_LETTER_REPLAYED_FROM = "dead-letter-replayed-from"
"""On a request that was a dead letter: its topic, partition and offset there, with a `/` between."""

END_OF_DAY = "end_of_day"
SEND_LOGS = "send_logs"
CHECK_UPDATE = "check_update"
OPEN_MENU = "open_menu"
OPERATIONS = frozenset({END_OF_DAY, SEND_LOGS, CHECK_UPDATE, OPEN_MENU})
"""What the API documents; `DINTERO_EXTRA_OPERATIONS` adds to them."""

MAX_MESSAGE_ID = 256
"""Characters; also of a correlation ID."""
MAX_TERMINAL_ID = 128
"""Characters; also of an operation's name."""
MAX_SOURCE = 1024
"""Characters."""
MAX_NOTE = 1024
"""Characters; also of the name of who resolved."""
MAX_DEPTH = 32
"""Levels of arrays and objects in `parameters`, itself counted."""

REQUESTS_TOPIC = "terminal-operations.requests"
OUTCOMES_TOPIC = "terminal-operations.outcomes"
STATE_TOPIC = "terminal-operations.state"
DEAD_LETTERS_TOPIC = "terminal-operations.dead-letters"
"""The topics' names where no setting renames them."""

DEAD_LETTER_SCHEMA = "terminal.operation.dead-letter.v1"
LEDGER_SCHEMA = "terminal.operation.ledger.v1"
"""Schemas of what is no event: the headers of a dead letter, the values of the state topic."""
