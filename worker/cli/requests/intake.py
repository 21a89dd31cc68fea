"""Requests before they are sent: each is checked as the worker itself will, and put aside until all are known good."""

import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from pydantic import ConfigDict, ValidationError

from schemas import PlainRequest, RequestData, RequestRecord, build_request
from worker.cli.requests.lines import Line, LineError
from worker.domain import identity
from worker.domain.request import Invalid, Record
from worker.settings import Settings

SOURCE = "/terminal-worker/request"
"""The `ce_source` of what is sent from here."""
MAX_REQUESTS = 1_000_000
_SPOOL = 32 * 1_048_576
# Changing it would make a file that is sent again run again.
_BATCHES = uuid.UUID("7a0f3d64-2f1b-4c58-9a53-64b1c6a0d2e7")


class _Document(PlainRequest):
    # A misspelt expires_at must not be ignored here, as it is on the topic.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Intake:
    """Takes requests, and gives them back in their order as records. What waits lies on a spool, not in memory.

    Without a message ID of its own a request gets one made from its content and the batch's name: the same file with
    the same name gives the same IDs, and so runs nothing twice.
    """

    def __init__(self, settings: Settings, *, batch: str | None) -> None:
        self._batch = batch
        self._reader = settings.reader
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115 - closed by `close`
        self.lines: dict[str, int] = {}
        """The line of each message ID."""

    def __len__(self) -> int:
        return len(self.lines)

    def close(self) -> None:
        self._spool.close()

    def take(self, lines: Iterable[Line]) -> Iterator[tuple[int, str]]:
        """Take every line that is a request; gives the number and the problem of every other."""
        for number, document in lines:
            try:
                if isinstance(document, LineError):
                    raise document
                self._take(number, document)
            except LineError as problem:
                yield number, str(problem)
                if len(self) == MAX_REQUESTS:
                    return

    def records(self) -> Iterator[tuple[str, RequestRecord]]:
        """Message ID and record of each."""
        self._spool.seek(0)
        for line in self._spool:
            message_id, value = orjson.loads(line)
            yield message_id, _record(RequestData.model_validate_json(value), message_id)

    def _take(self, number: int, document: dict[str, Any]) -> None:
        try:
            read = _Document.model_validate(document)
            data = RequestData(**{name: getattr(read, name) for name in RequestData.model_fields})
        except ValidationError as error:
            raise LineError(_told(error)) from None
        if len(self) == MAX_REQUESTS:
            raise LineError(f"expected at most {MAX_REQUESTS} requests at once: split the file")
        message_id = read.message_id or self._derived_id(data)
        if (earlier := self.lines.get(message_id)) is not None:
            raise LineError(f"the same message ID as line {earlier}: give each request a message_id of its own")
        record = _record(data, message_id)
        judged = self._reader.read(
            Record(0, int(time.time() * 1000), record["key"], record["value"], record["headers"])
        )
        if isinstance(judged, Invalid):
            raise LineError(judged.message)
        self.lines[message_id] = number
        self._spool.write(orjson.dumps([message_id, record["value"].decode()]) + b"\n")

    def _derived_id(self, data: RequestData) -> str:
        if self._batch is None:
            raise LineError("message_id: is required, or --batch to have IDs made")
        plain = data.model_dump(mode="json")
        content = identity.fingerprint(data.terminal_id, data.operation, plain["parameters"], plain["expires_at"])
        return str(uuid.uuid5(_BATCHES, f"{content}{self._batch}"))


def _record(data: RequestData, message_id: str) -> RequestRecord:
    return build_request(data, message_id=message_id, source=SOURCE)


def _told(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'][:3]))}: {each['msg']}"[:300] for each in problems[:3])
