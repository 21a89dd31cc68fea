"""Waiting for the outcomes of requests, and what became of them."""

from collections import Counter
from collections.abc import Callable, Iterable

from aiokafka import ConsumerRecord
from rich.table import Table
from rich.text import Text

from schemas import Completed, Created, Failed, UnreadableOutcomeError, names, read_outcome
from worker.cli.shown import harmless
from worker.cli.topic_reader import TopicReader

SHOWN = 20
"""Rows of the final table: failures first."""


class Outcomes:
    """What became of requests, by their message IDs. A final outcome stands, whatever is read after it."""

    def __init__(self, message_ids: Iterable[str]) -> None:
        self._statuses = dict.fromkeys(message_ids, "waiting")
        self._failed: list[Failed] = []
        self._completed: list[Completed] = []
        self.counts = Counter(waiting=len(self._statuses))

    @property
    def open(self) -> int:
        """How many have no final outcome."""
        return self.counts["waiting"] + self.counts["created"]

    def take(self, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            causation_id = next((value for name, value in record.headers if name == names.CE_CAUSATIONID), None) or b""
            if causation_id.decode(errors="replace") in self._statuses:
                try:
                    read = read_outcome(record.value, record.headers)
                except UnreadableOutcomeError:
                    continue
                if read is not None and isinstance(read.outcome, Created | Completed | Failed):
                    self._take(read.outcome)

    def _take(self, outcome: Created | Completed | Failed) -> None:
        status = self._statuses.get(outcome.message_id)
        if status is None or status in ("completed", "failed", outcome.status):
            return
        self._statuses[outcome.message_id] = outcome.status
        self.counts[status] -= 1
        self.counts[outcome.status] += 1
        if isinstance(outcome, Failed) and len(self._failed) < SHOWN:
            self._failed.append(outcome)
        elif isinstance(outcome, Completed) and len(self._completed) < SHOWN:
            self._completed.append(outcome)

    def __str__(self) -> str:
        return ", ".join(f"{self.counts[status]} {status}" for status in _STATUSES if self.counts[status])

    def table(self) -> Table:
        final: list[Failed | Completed] = [*self._failed, *self._completed]
        columns = ("terminal", "operation", "outcome", "message ID")
        table = Table(*columns, caption=str(self), box=None, pad_edge=False, show_header=bool(final))
        for outcome in final[:SHOWN]:
            told = outcome.error.reason if isinstance(outcome, Failed) else outcome.status
            style = "red" if isinstance(outcome, Failed) else "green"
            texts = (outcome.terminal_id or "", outcome.operation or "", told, outcome.message_id)
            # As Text, since what others wrote must not be read as markup.
            table.add_row(*(Text(harmless(text), style if text is told else "") for text in texts))
        return table


_STATUSES = ("completed", "failed", "created", "waiting")


async def wait(reader: TopicReader, outcomes: Outcomes, changed: Callable[[], None]) -> None:
    """Until each request has its final outcome. The caller bounds the time."""
    if not outcomes.open:
        return  # nobody's outcome would end what follows
    async for records in reader.batches(follow=True):
        outcomes.take(records)
        changed()
        if not outcomes.open:
            return
