"""What the processes wrote: complaints, secrets, and where a broker says that it dropped the end of a transaction."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.arena import SECRETS

_COMPLAINT = re.compile(r"Traceback|never retrieved|never awaited|Task exception|was destroyed|partition_halted")
# What aiokafka itself forgets when a commit of offsets or a connection is given up, or a producer fails or is fenced.
_NOISE = re.compile(
    r"(never retrieved|destroyed).*(_do_commit_offsets|exception=ProducerFenced|AIOKafkaConnection)"
    r"|never retrieved.*(Unexpected error during batch delivery|KafkaConnectionError)"
    r'|"Unexpected error in sender routine"'
)
_EVENTS = ("partition_restored", "partition_in_doubt", "partition_halted", "consumer_ended", "partition_recovered")

# Kafka 4.3 takes a partition that has no leader for a deleted one: it drops the markers of a transaction, so what was
# committed is aborted later, or the other way round. A broker that is the only one has no leader while it comes back.
_SKIPPED = re.compile(r"^(\S+) .*Couldn't find leader endpoint for partitions .* transaction markers for ([^\s,]+)")
# The records of such a transaction are older than the broker's word: by the transaction's timeout (15 s), and by the
# time that a broker was away in between.
_OLDER = 40.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """The end of a transaction that a broker dropped, when, and whose: of one input partition's producer."""

    at: float
    transactional_id: str


def complaints(logs: Iterable[Path]) -> list[str]:
    """Lines no worker may write, whatever goes wrong around it: each with its file's name."""
    return [f"{log.name}: {line[:300]}" for log, line in _complaints(logs) if not _NOISE.search(line)]


def noise(logs: Iterable[Path]) -> int:
    """How many of them are aiokafka's own."""
    return sum(_NOISE.search(line) is not None for _, line in _complaints(logs))


def events(logs: Iterable[Path]) -> Counter[str]:
    return Counter(event for log in logs for line in _lines(log) for event in _EVENTS if f'"{event}"' in line)


def leaks(texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """The names of the texts that show a secret."""
    return [f"a secret is in {name}" for name, text in texts if SECRETS.search(text)]


def skipped(logs: Iterable[Path]) -> list[Skipped]:
    found = [match for log in logs for line in _lines(log) if (match := _SKIPPED.search(line))]
    return [Skipped(_seconds(match[1]), match[2]) for match in found]


def damaged(
    markers: Iterable[Skipped], written: Iterable[tuple[str, float]], partition_of: Mapping[str, int]
) -> set[str]:
    """The message IDs that a transaction without its end may hold: of its input partition, and written just before.

    `written` are the message IDs of records and when they were written, in aborted transactions too.
    """
    times: dict[int, list[float]] = defaultdict(list)
    for marker in markers:
        times[int(marker.transactional_id.rpartition("-")[2])].append(marker.at)
    return {
        message_id
        for message_id, written_at in written
        if any(0 <= at - written_at <= _OLDER for at in times[partition_of.get(message_id, -1)])
    }


def _complaints(logs: Iterable[Path]) -> list[tuple[Path, str]]:
    return [(log, line) for log in logs for line in _lines(log) if _COMPLAINT.search(line)]


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


def _seconds(iso: str) -> float:
    return datetime.strptime(iso, "%Y-%m-%dT%H:%M:%S,%f").replace(tzinfo=UTC).timestamp()
