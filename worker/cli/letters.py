"""A dead letter, as it lies on its topic; and the request it becomes when it is sent again."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import orjson

from schemas import names
from worker.cli import json_patch, shown
from worker.domain.request import Record, Request
from worker.kafka.producer import Message
from worker.kafka.reader import BINARY, Reader

# Our own name space: changing it would make what was replayed before run again.
_REPLAYS = UUID("3c6d2f64-4f0b-5d1e-9a55-7c0e1b8f2a91")
_PREFIX = "dead-letter-"


class NotReplayableError(Exception):
    """Sent again, it would come back. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Letter:
    """`original` is the record as it came; the texts are what the worker, or somebody else, wrote about it."""

    topic: str
    partition: int
    offset: int
    original: Record
    reason: str
    message: str
    time: str
    source_topic: str
    source: str
    is_cut: bool

    @classmethod
    def of(cls, record: Any) -> "Letter":
        # The last of a name is the worker's: the record's own headers stand first.
        told = {name: shown.harmless(value) for name, value in record.headers if value and name.startswith(_PREFIX)}
        own = [(name, value) for name, value in record.headers if not name.startswith(_PREFIX)]
        return cls(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            original=Record(record.offset, record.timestamp, record.key, record.value, own),
            reason=told.get(names.DEAD_LETTER_REASON, "unknown"),
            message=told.get(names.DEAD_LETTER_MESSAGE, ""),
            time=told.get(names.DEAD_LETTER_TIME) or shown.moment(record.timestamp),
            source_topic=told.get(names.DEAD_LETTER_TOPIC, ""),
            source=f"{told.get(names.DEAD_LETTER_PARTITION, '?')}:{told.get(names.DEAD_LETTER_OFFSET, '?')}",
            is_cut=names.DEAD_LETTER_TRUNCATED in told,
        )

    @property
    def at(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def replay_id(self) -> str:
        """The message ID of every replay of this dead letter: sent twice, it runs once."""
        return str(uuid5(_REPLAYS, f"{self.topic}/{self.partition}/{self.offset}"))


def replayed(letter: Letter, reader: Reader, *, topic: str, id_header: str, edits: json_patch.Patch) -> Message:
    """The request to send to `topic`. Raises NotReplayableError for one that the worker would not accept."""
    if letter.source_topic != topic:
        raise NotReplayableError(f"it came from {letter.source_topic or 'nowhere known'!r}, and not from {topic!r}")
    if letter.is_cut:
        raise NotReplayableError("it was cut to fit, so the rest of it is gone: send the request anew")
    read = reader.read(letter.original)
    known = read if isinstance(read, Request) else read.identity
    record = _renamed(letter, known.message_id if known else None, id_header, edits)
    accepted = reader.read(record)
    if not isinstance(accepted, Request):
        raise NotReplayableError(f"it would be refused again ({accepted.message}): change it with --edit")
    if accepted.message_id != letter.replay_id:
        raise NotReplayableError("its headers or members contradict each other: send the request anew")
    mark = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
    headers = [*record.headers, (names.DEAD_LETTER_REPLAYED_FROM, mark)]
    # By its terminal, which an edit may have changed.
    return Message(topic, accepted.terminal_id.encode(), record.value, headers)


def _renamed(letter: Letter, old_id: str | None, id_header: str, edits: json_patch.Patch) -> Record:
    """The record, edited, with its new message ID, and the old one as its correlation ID; in the shape it had."""
    record = letter.original
    value = record.value
    document = _document(value) if edits else None
    if edits:
        document = json_patch.apply(document, edits)
        value = orjson.dumps(document)
    content_type = dict(record.headers).get(names.CONTENT_TYPE) or b""
    if content_type.lower().startswith(names.CLOUDEVENTS.encode()):
        document = _document(value)
        if isinstance(document, dict):
            value = orjson.dumps(document | {"id": letter.replay_id} | ({"correlationid": old_id} if old_id else {}))
        return record._replace(value=value)
    is_binary = any(name in BINARY for name, _ in record.headers)
    fresh = {names.CE_ID if is_binary else id_header: letter.replay_id.encode()}
    if old_id:
        fresh[names.CE_CORRELATIONID] = old_id.encode()
    kept = [(name, value) for name, value in record.headers if name not in fresh]
    return record._replace(value=value, headers=[*kept, *fresh.items()])


def _document(value: bytes | None) -> Any:
    try:
        return orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        raise NotReplayableError("its value is no JSON, so it cannot be changed: send the request anew") from None
