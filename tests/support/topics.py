"""The four topics of one test, under names nobody else has."""

from dataclasses import dataclass
from uuid import uuid4

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Topics:
    requests: str
    outcomes: str
    state: str
    dead_letters: str

    def environment(self) -> dict[str, str]:
        return {
            "KAFKA_REQUESTS_TOPIC": self.requests,
            "KAFKA_OUTCOMES_TOPIC": self.outcomes,
            "KAFKA_STATE_TOPIC": self.state,
            "KAFKA_DEAD_LETTERS_TOPIC": self.dead_letters,
        }


def named_topics() -> Topics:
    """Names only: nothing is created."""
    prefix = f"test-{uuid4().hex[:12]}"
    return Topics(f"{prefix}.requests", f"{prefix}.outcomes", f"{prefix}.state", f"{prefix}.dead-letters")


def create_topics(
    bootstrap: str,
    topics: Topics,
    *,
    partitions: int = 4,
    state_partitions: int | None = None,
    cleanup: str = "compact",
) -> None:
    """Creates the four, by default as the contract wants them; returns when the broker has them."""
    new = [
        NewTopic(topics.requests, partitions, 1),
        NewTopic(topics.outcomes, 2, 1),
        NewTopic(topics.state, state_partitions or partitions, 1, config={"cleanup.policy": cleanup}),
        NewTopic(topics.dead_letters, 1, 1),
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics(new, operation_timeout=_TIMEOUT).values():
        created.result(_TIMEOUT)
