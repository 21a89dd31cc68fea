"""Commits of one partition: from what the partition gathered to records on Kafka."""

import time
from dataclasses import replace

from worker.domain.commit import Commit
from worker.kafka import dead_letter, ledger, outcomes
from worker.kafka.connection import Topics
from worker.kafka.producer import Message, Producer
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import Span, Tracing

# Under the 1 MiB that brokers take by default, with room for the batch around it.
_MAX_DEAD_LETTER_BYTES = 900_000


class LedgerCommitter:
    """Writes outcomes, dead letters, entries and the position together (rule 3)."""

    def __init__(
        self,
        partition: int,
        *,
        producer: Producer,
        topics: Topics,
        group: str,
        source: str,
        tracing: Tracing,
        metrics: Metrics,
    ) -> None:
        self._partition = partition
        self._producer = producer
        self._topics = topics
        self._group = group
        self._source = source
        self._tracing = tracing
        self._metrics = metrics

    async def commit(self, commit: Commit) -> None:
        """Encodes before the first await: what the commit names may change afterwards."""
        spans: list[Span] = []
        events = self._outcomes(commit, spans) + self._dead_letters(commit)
        if not self._producer.atomic:
            # A crash can cut such a write, and then another number of entries stands beside the position.
            commit = replace(commit, position=replace(commit.position, unfinished=None))
        records = ledger.encode(commit, group=self._group, topic=self._topics.requests)
        entries = [Message(self._topics.state, key, value, partition=self._partition) for key, value in records]
        error: str | None = "not_published"
        began = time.monotonic()
        try:
            await self._producer.write(events, entries)
            error = None
        finally:
            self._metrics.client_operation("send", error, time.monotonic() - began)
            for span in spans:
                span.end(error=error)

    def _outcomes(self, commit: Commit, spans: list[Span]) -> list[Message]:
        messages = []
        for outcome in commit.outcomes:
            span = self._tracing.publish(outcome)
            spans.append(span)
            key, value, headers = outcomes.encode_outcome(
                outcome, source=self._source, traceparent=span.traceparent, tracestate=span.tracestate
            )
            messages.append(Message(self._topics.outcomes, key, value, headers))
        return messages

    def _dead_letters(self, commit: Commit) -> list[Message]:
        messages = []
        for letter in commit.dead_letters:
            key, value, headers = dead_letter.encode_dead_letter(
                letter.record,
                letter.reason,
                letter.message,
                topic=self._topics.requests,
                partition=self._partition,
                now=commit.position.time,
                max_bytes=_MAX_DEAD_LETTER_BYTES,
            )
            messages.append(Message(self._topics.dead_letters, key, value, headers))
        return messages
