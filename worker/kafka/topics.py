"""The four topics: making them, and refusing to run on ones that would lose requests."""

import asyncio
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAuthorizationFailedError, for_code

from worker.kafka.connection import Connection, Topics, not_allowed, stop_client
from worker.kafka.producer import MAX_BATCH_SIZE

_TIMEOUT = 30.0
_TOPIC_EXISTS = 36
_TOO_MANY_COPIES = 38
# What we write must be taken whatever the brokers' own bound: this is Kafka's default, a batch's overhead included.
_MAX_MESSAGE_BYTES = "1048588"

_EVENTS_CONFIG = {"cleanup.policy": "delete", "max.message.bytes": _MAX_MESSAGE_BYTES}
STATE_CONFIG = {
    "cleanup.policy": "compact",
    "max.message.bytes": _MAX_MESSAGE_BYTES,
    "segment.bytes": str(64 * 1_048_576),
    "segment.ms": str(3_600_000),
    "delete.retention.ms": str(24 * 3_600_000),
}


class TopicsError(Exception):
    """The topics cannot be used, or made, as they are: a line for each problem, with what to do."""


async def create(
    connection: Connection, topics: Topics, *, partitions: int, replication_factor: int
) -> dict[str, bool]:
    """Make the topics that are missing; those that exist are left as they are. Tells for each whether it was made.

    Raises TopicsError for what the brokers refused.
    """
    wanted = [
        NewTopic(topics.requests, partitions, replication_factor, topic_configs={"cleanup.policy": "delete"}),
        NewTopic(topics.outcomes, partitions, replication_factor, topic_configs=_EVENTS_CONFIG),
        NewTopic(topics.state, partitions, replication_factor, topic_configs=STATE_CONFIG),
        NewTopic(topics.dead_letters, partitions, replication_factor, topic_configs=_EVENTS_CONFIG),
    ]
    admin = AIOKafkaAdminClient(**connection.options())
    try:
        async with asyncio.timeout(_TIMEOUT):
            await admin.start()
            response = await admin.create_topics(wanted, timeout_ms=int(_TIMEOUT * 1000))
    finally:
        await stop_client(admin)
    made: dict[str, bool] = {}
    problems: list[str] = []
    # The client raises nothing for a topic that was refused: each one's code must be looked at.
    for name, code, *message in response.topic_errors:
        made[name] = code == 0
        if code == _TOO_MANY_COPIES:
            problems.append(f"{name}: there are fewer than {replication_factor} brokers: lower --replication-factor")
        elif code not in (0, _TOPIC_EXISTS):
            problems.append(f"{name}: {for_code(code).__name__}: {message[0] if message and message[0] else 'refused'}")
    if problems:
        raise TopicsError("\n".join(problems))
    return made


async def verify(connection: Connection, topics: Topics) -> int:
    """The number of input partitions, when the topics are fit to run on; else raises TopicsError.

    KafkaError or TimeoutError: the brokers could not be asked.
    """
    admin = AIOKafkaAdminClient(**connection.options())
    try:
        async with asyncio.timeout(_TIMEOUT):
            await admin.start()
            names = [topics.requests, topics.outcomes, topics.state, topics.dead_letters]
            counts = await _partition_counts(admin, names)
            missing = [name for name in names if name not in counts]
            if missing:
                hint = "make it with `terminal-worker topics create`, or allow this user to Describe it"
                lines = [f"topic {name!r} does not exist, or is hidden from this user: {hint}" for name in missing]
                raise TopicsError("\n".join(lines))
            problems = _mismatch(topics, counts) + await _unfit_settings(admin, topics)
    finally:
        await stop_client(admin)
    if problems:
        raise TopicsError("\n".join(problems))
    return counts[topics.requests]


async def _partition_counts(admin: Any, names: list[str]) -> dict[str, int]:
    existing = set(await admin.list_topics())  # asked first: describing a missing topic could create it
    described = await admin.describe_topics([name for name in names if name in existing])
    return {topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}


def _mismatch(topics: Topics, counts: dict[str, int]) -> list[str]:
    requests, state = counts[topics.requests], counts[topics.state]
    if requests == state:
        return []
    return [
        f"topic {topics.state!r} has {state} partitions and {topics.requests!r} has {requests}: they must be the same; "
        f"while nothing is pending, give both the larger number"
    ]


async def _unfit_settings(admin: Any, topics: Topics) -> list[str]:
    """What would lose pending operations, or refuse a commit and so hold up its partition for ever."""
    written = [topics.outcomes, topics.state, topics.dead_letters]
    found: dict[tuple[str, str], str | None] = {}
    refused: list[str] = []
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in written]):
        for code, _, _, name, entries in response.resources:
            if code:
                refused.append(_unreadable(name, for_code(code)))
            found.update({(name, entry[0]): entry[1] for entry in entries})
    if refused:
        return refused
    problems = []
    policy = found.get((topics.state, "cleanup.policy"))
    if policy != "compact":
        fix = f"kafka-configs.sh --alter --topic {topics.state} --add-config cleanup.policy=compact"
        problems.append(
            f"topic {topics.state!r} has cleanup.policy {policy!r}, which would lose pending operations: "
            f"fix it with `{fix}`"
        )
    for name in written:
        largest = found.get((name, "max.message.bytes"))
        if largest is not None and int(largest) < MAX_BATCH_SIZE:
            fix = f"kafka-configs.sh --alter --topic {name} --add-config max.message.bytes={_MAX_MESSAGE_BYTES}"
            problems.append(
                f"topic {name!r} has max.message.bytes {largest}, and this worker's batches have up to "
                f"{MAX_BATCH_SIZE}: fix it with `{fix}`"
            )
    return problems


def _unreadable(name: str, error: type[Exception]) -> str:
    if error is TopicAuthorizationFailedError:
        return not_allowed("DescribeConfigs", "topic", name)
    return f"topic {name!r}: its configuration cannot be read: {error.__name__}"
