"""AsyncAPI 3.0: the topics, what is on them and who sends it, for tools. `receive` and `send` are the worker's view."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas import example_messages as examples
from schemas import names
from schemas.dead_letter import DeadLetterHeaders
from schemas.example_messages import Example
from schemas.ledger import LedgerEntry, LedgerFinished, LedgerPosition
from schemas.outcome import Completed, Created, Failed, OutcomeHeaders, Resolved, ResolvedHeaders
from schemas.request import PlainRequest, RequestData, RequestEvent, RequestHeaders

_JSON_OBJECT = dict[str, Any]

# Of the interface. Its first number stays: what is not compatible is a new event type beside the old.
_VERSION = "1.0.0"
_BINDING_VERSION = "0.5.0"
_SCHEMAS = "#/components/schemas/"
_TERMINAL_KEY = {"type": "string", "description": "The terminal id, in UTF-8."}
_LEDGER_KEY = {"type": "string", "description": "The idempotency key; of the position, `position`."}
_PAYLOADS: tuple[type[BaseModel], ...] = (
    *(RequestData, RequestEvent, PlainRequest, Created, Completed, Failed, Resolved),
    *(LedgerEntry, LedgerFinished, LedgerPosition),
)
_HOUR_MS = 3_600_000


def document() -> _JSON_OBJECT:
    """The whole document, with every schema inside it."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:terminal-operations",
        "defaultContentType": names.JSON,
        "info": _info(),
        "servers": _servers(),
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "messageTraits": {"cloudEventBinary": _cloud_event_trait()},
            "securitySchemes": _security_schemes(),
            "schemas": _schemas(),
        },
    }


def _info() -> _JSON_OBJECT:
    return {
        "title": "Terminal operations",
        "version": _VERSION,
        "description": (
            "Operations on payment terminals, requested and answered on Kafka. Each message ID runs once and gets "
            "exactly one `completed` or `failed`; at most one `created` comes before it."
        ),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": "terminals"}, {"name": "cloudevents"}],
    }


def _servers() -> _JSON_OBJECT:
    schemes = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _security_schemes()]
    kafka = {
        "host": "{host}:{port}",
        "variables": {
            "host": {"description": "A bootstrap server of the cluster.", "default": "localhost"},
            "port": {"default": "9092"},
        },
    }
    return {
        "plaintext": {**kafka, "protocol": "kafka", "description": "Without TLS, for a laptop."},
        "secure": {**kafka, "protocol": "kafka-secure", "description": "TLS, with one of these.", "security": schemes},
    }


def _security_schemes() -> _JSON_OBJECT:
    return {
        "plain": {"type": "plain", "description": "SASL PLAIN, over TLS only."},
        "scramSha256": {"type": "scramSha256", "description": "SASL SCRAM-SHA-256."},
        "scramSha512": {"type": "scramSha512", "description": "SASL SCRAM-SHA-512."},
        "mutualTls": {"type": "X509", "description": "A client certificate."},
    }


def _channels() -> _JSON_OBJECT:
    delete = {"cleanup.policy": ["delete"]}
    # `segment.bytes` and `segment.ms` have no place in the binding.
    compact = {"cleanup.policy": ["compact"], "delete.retention.ms": 24 * _HOUR_MS}
    return {
        "requests": _channel(
            names.REQUESTS_TOPIC,
            "Requests, keyed by terminal id with one partitioner. The promises on a terminal hold within a partition.",
            delete,
            ["requestedBinary", "requestedStructured", "requestedPlain"],
        ),
        "outcomes": _channel(
            names.OUTCOMES_TOPIC,
            "Outcomes, in order for a terminal. Read with `isolation.level=read_committed`.",
            delete,
            ["created", "completed", "failed", "resolved"],
        ),
        "deadLetters": _channel(
            names.DEAD_LETTERS_TOPIC, "Records that could not be taken, as they came.", delete, ["deadLetter"]
        ),
        "state": _channel(
            names.STATE_TOPIC,
            "The worker's memory, with the partitions of the requests. To be read; only the worker writes it.",
            compact,
            ["ledgerEntry", "ledgerFinished", "ledgerPosition"],
        ),
    }


def _channel(topic: str, description: str, configuration: _JSON_OBJECT, messages: list[str]) -> _JSON_OBJECT:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {"topic": topic, "topicConfiguration": configuration, "bindingVersion": _BINDING_VERSION}
        },
    }


def _operations() -> _JSON_OBJECT:
    group = {"type": "string", "default": "terminal-operations-worker"}
    received = {"kafka": {"groupId": group, "bindingVersion": _BINDING_VERSION}}
    return {
        "receiveRequest": _operation("receive", "requests", "Reads a request.", received),
        "sendOutcome": _operation("send", "outcomes", "Tells what became of a request."),
        "sendDeadLetter": _operation("send", "deadLetters", "Gives a record back."),
        "sendState": _operation("send", "state", "Writes down what it knows, in one transaction with the outcomes."),
    }


def _operation(action: str, channel: str, summary: str, bindings: _JSON_OBJECT | None = None) -> _JSON_OBJECT:
    operation = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}
    return {**operation, "description": summary, **({"bindings": bindings} if bindings else {})}


def _messages() -> _JSON_OBJECT:
    return {
        "requestedBinary": _event("A request, as a binary CloudEvent", RequestData, RequestHeaders)
        | _shown(examples.REQUEST_BINARY),
        "requestedStructured": _message("A request, as a structured CloudEvent", RequestEvent, names.CLOUDEVENTS_JSON)
        | {"headers": _texts(names.CONTENT_TYPE)}
        | _shown(examples.REQUEST_STRUCTURED),
        "requestedPlain": _message("A request, in plain JSON", PlainRequest)
        | {"headers": _texts(names.MESSAGE_ID)}
        | _shown(examples.REQUEST_PLAIN),
        "created": _outcome("The API accepted the operation", Created, examples.CREATED),
        "completed": _outcome("The terminal did it", Completed, examples.COMPLETED),
        "failed": _outcome("It was not done, or nobody can know", Failed, examples.FAILED),
        "resolved": _outcome("A person resolved an unconfirmed one", Resolved, examples.RESOLVED, ResolvedHeaders),
        "deadLetter": _message("A record that could not be taken", None, "application/octet-stream")
        | {"headers": DeadLetterHeaders.model_json_schema()}
        | _shown(examples.DEAD_LETTER),
        "ledgerEntry": _ledger("A request that is not finished", LedgerEntry, examples.LEDGER_ENTRY),
        "ledgerFinished": _ledger("A finished request", LedgerFinished, examples.LEDGER_FINISHED),
        "ledgerPosition": _ledger("The next request to read", LedgerPosition, examples.LEDGER_POSITION),
    }


def _message(
    title: str, payload: type[BaseModel] | None, content_type: str = names.JSON, key: _JSON_OBJECT = _TERMINAL_KEY
) -> _JSON_OBJECT:
    message: _JSON_OBJECT = {"title": title, "summary": f"{title}.", "contentType": content_type}
    if payload is not None:
        message["payload"] = {"$ref": _SCHEMAS + payload.__name__}
    message["bindings"] = {"kafka": {"key": key, "bindingVersion": _BINDING_VERSION}}
    return message


def _event(title: str, payload: type[BaseModel], headers: type[BaseModel]) -> _JSON_OBJECT:
    return _message(title, payload) | {
        # In full and not by reference: a trait is merged into what stands here.
        "headers": headers.model_json_schema(),
        "traits": [{"$ref": "#/components/messageTraits/cloudEventBinary"}],
    }


def _outcome(
    title: str, payload: type[BaseModel], example: Example, headers: type[BaseModel] = OutcomeHeaders
) -> _JSON_OBJECT:
    correlation = {"description": "The request's.", "location": f"$message.header#/{names.CE_CORRELATIONID}"}
    return _event(title, payload, headers) | {"correlationId": correlation} | _shown(example)


def _ledger(title: str, payload: type[BaseModel], example: Example) -> _JSON_OBJECT:
    return _message(title, payload, key=_LEDGER_KEY) | _shown(example)


def _cloud_event_trait() -> _JSON_OBJECT:
    """What the Kafka binding of CloudEvents 1.0.2 asks of any event in binary mode."""
    required = (names.CE_SPECVERSION, names.CE_ID, names.CE_SOURCE, names.CE_TYPE)
    return {
        "tags": [{"name": "cloudevents"}],
        "headers": _texts(*required, names.CONTENT_TYPE) | {"required": list(required)},
    }


def _texts(*header_names: str) -> _JSON_OBJECT:
    return {"type": "object", "properties": {name: {"type": "string", "minLength": 1} for name in header_names}}


def _shown(example: Example) -> _JSON_OBJECT:
    shown: _JSON_OBJECT = {"name": "example", "payload": example.value}
    return {"examples": [shown | ({"headers": example.headers} if example.headers else {})]}


def _schemas() -> _JSON_OBJECT:
    _, collected = models_json_schema([(model, "validation") for model in _PAYLOADS], ref_template=_SCHEMAS + "{model}")
    definitions: _JSON_OBJECT = collected["$defs"]
    return definitions
