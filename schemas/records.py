"""Kafka records, for any client: a request to produce, an outcome that was consumed.

Headers are a list of (name, bytes), as aiokafka, confluent-kafka and kafka-python have them. What is read may also be
a mapping or text, as frameworks hand them over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypedDict

from pydantic import ValidationError

from schemas import names
from schemas.outcome import Completed, Created, Failed, OutcomeHeaders
from schemas.request import RequestData, RequestHeaders

_Text = str | bytes | None
_MODELS: dict[str, type[Created | Completed | Failed]] = {
    names.CREATED: Created,
    names.COMPLETED: Completed,
    names.FAILED: Failed,
}
_OURS = frozenset(OutcomeHeaders.model_json_schema()["properties"])
Headers = Mapping[str, _Text] | Iterable[tuple[str, _Text]] | None


class RequestRecord(TypedDict):
    """The arguments of a producer: `producer.send(topic, **record)`, or confluent-kafka's `produce`."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """An outcome and its headers. Drop repeats by `headers.ce_id`."""

    outcome: Created | Completed | Failed
    headers: OutcomeHeaders


class UnreadableOutcomeError(ValueError):
    """The record is no outcome. Reading it again will not help. The message names the parts, and quotes no payload."""


def build_request(
    data: RequestData,
    *,
    message_id: str,
    source: str,
    correlation_id: str | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
    baggage: str | None = None,
) -> RequestRecord:
    """A request as a binary CloudEvent, keyed by its terminal.

    The message ID makes the operation run once: choose it when the operation is decided, keep it, and send the
    same again when in doubt. `source` names the sender for ever: with it, an ID that is no UUID becomes the
    idempotency key. Raises pydantic's ValidationError for what every worker would refuse; which operations it takes,
    and how large a value (64 KiB unless set otherwise), is up to its settings.
    """
    headers = RequestHeaders.model_validate(
        {
            names.CE_SPECVERSION: names.SPEC_VERSION,
            names.CE_TYPE: names.REQUESTED,
            names.CE_ID: message_id,
            names.CE_SOURCE: source,
            names.CE_CORRELATIONID: correlation_id,
            names.CONTENT_TYPE: names.JSON,
            names.TRACEPARENT: traceparent,
            names.TRACESTATE: tracestate,
            names.BAGGAGE: baggage,
        }
    )
    wired = headers.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "key": data.terminal_id.encode(),
        "value": data.model_dump_json(exclude_none=True).encode(),
        "headers": [(name, text.encode()) for name, text in wired.items()],
    }


def read_outcome(value: str | bytes | None, headers: Headers) -> OutcomeRecord | None:
    """The outcome of a consumed record; None for an event of another type, which a reader skips.

    A later version of an outcome is such a type: it is published beside this one. The record's key is the terminal
    id, which the outcome has too. Raises UnreadableOutcomeError for a record that is no outcome.
    """
    found = _texts(headers)
    event_type = found.get(names.CE_TYPE)
    if event_type is None:
        raise UnreadableOutcomeError(f"{names.CE_TYPE}: expected a header of this name")
    model = _MODELS.get(event_type)
    if model is None:
        return None
    try:
        return OutcomeRecord(model.model_validate_json(value or b""), OutcomeHeaders.model_validate(found))
    except ValidationError as error:
        raise UnreadableOutcomeError(_problems(error)) from None  # whose text would quote the payload


def _texts(headers: Headers) -> dict[str, str]:
    """Our headers; those that others add on the way may hold anything."""
    found: dict[str, str] = {}
    for name, text in headers.items() if isinstance(headers, Mapping) else headers or ():
        if name in _OURS and text is not None:
            try:
                found[name] = text.decode() if isinstance(text, bytes) else text
            except UnicodeDecodeError:
                raise UnreadableOutcomeError(f"{name}: expected UTF-8") from None
    return found


def _problems(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}" for problem in found)
