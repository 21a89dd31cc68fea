"""The topics, and whether this user may do on them all that the worker does."""

import asyncio
import uuid
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnknownMemberIdError

from worker.cli.checks.cluster import Cluster
from worker.cli.checks.finding import Finding, Level
from worker.kafka import topics as kafka_topics
from worker.kafka.connection import REFUSALS, Connection, Topics, stop_client
from worker.kafka.producer import transactional_prefix
from worker.settings import Settings

_TIMEOUT = 30.0


async def check_topics(connection: Connection, topics: Topics) -> list[Finding]:
    """That they are there, and fit to run on."""
    names = [topics.requests, topics.outcomes, topics.state, topics.dead_letters]
    admin = AIOKafkaAdminClient(**connection.options())
    try:
        async with asyncio.timeout(_TIMEOUT):
            await admin.start()
            existing = set(await admin.list_topics())  # asked first: describing a missing topic could create it
            if missing := [name for name in names if name not in existing]:
                fix = "make them with `terminal-worker topics create`, or allow this user to Describe them"
                return [Finding("topics", Level.PROBLEM, f"{', '.join(missing)}: not there, or hidden from us", fix)]
            described = await admin.describe_topics(names)
            resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
            answers = [found for answer in await admin.describe_configs(resources) for found in answer.resources]
    finally:
        await stop_client(admin)
    if hidden := [name for code, _, _, name, _ in answers if code]:
        return [_refused("topics", name, "DescribeConfigs", f"--topic {name}") for name in hidden]
    try:
        count = await kafka_topics.verify(connection, topics)
    except kafka_topics.TopicsError as error:
        # Each of its lines has its own fix.
        return [Finding("topics", Level.PROBLEM, line) for line in str(error).splitlines()]
    return (
        _compacted(answers, topics)
        + _single_copies(described, topics)
        + [Finding("topics", Level.OK, f"all four are there; {count} partitions of requests and state")]
    )


async def check_reading(cluster: Cluster, settings: Settings) -> list[Finding]:
    findings = []
    for topic in (settings.kafka_requests_topic, settings.kafka_state_topic):
        error = await cluster.read(topic)
        allowed = error in (None, OffsetOutOfRangeError)
        findings.append(_told("read", topic, None if allowed else error, "Read", f"--topic {topic}"))
    error = await cluster.join(settings.kafka_group_id)
    group = settings.kafka_group_id
    return [
        *findings,
        _told("group", group, None if error is UnknownMemberIdError else error, "Read", f"--group {group}"),
    ]


async def check_writing(cluster: Cluster, settings: Settings) -> list[Finding]:
    """By a transaction that is aborted, under an id of its own: no worker is fenced by it."""
    if settings.worker_delivery == "at_least_once":
        why = "not used: WORKER_DELIVERY=at_least_once; whether we may write shows only when we do"
        return [Finding("transactions", Level.SKIPPED, why)]
    prefix = transactional_prefix(settings.kafka_group_id, settings.kafka_requests_topic)
    topics = [settings.kafka_outcomes_topic, settings.kafka_state_topic, settings.kafka_dead_letters_topic]
    error, added = await cluster.write(f"{prefix}check-{uuid.uuid4().hex[:8]}", topics)
    named = f"--transactional-id {prefix} --resource-pattern-type prefixed"
    return [
        _told("transactions", f"{prefix}*", error, "Write", named),
        *(_told("write", topic, refused, "Write", f"--topic {topic}") for topic, refused in added.items()),
    ]


def _told(check: str, name: str, error: type[KafkaError] | None, operation: str, resource: str) -> Finding:
    if error is None:
        return Finding(check, Level.OK, name)
    if error in REFUSALS:
        return _refused(check, name, operation, resource)
    return Finding(check, Level.PROBLEM, f"{name}: the brokers answer {error.__name__}", "look into the brokers' logs")


def _refused(check: str, name: str, operation: str, resource: str) -> Finding:
    fix = f"kafka-acls.sh --add --allow-principal User:<this user> --operation {operation} {resource}"
    return Finding(check, Level.PROBLEM, f"{name}: {operation} is not allowed", fix)


def _compacted(answers: list[Any], topics: Topics) -> list[Finding]:
    policies = {(name, entry[0]): entry[1] for _, _, _, name, entries in answers for entry in entries}
    return [
        Finding(
            "topics",
            Level.PROBLEM,
            f"{name} is compacted: of each terminal only the last record would stay",
            f"kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=delete",
        )
        for name in (topics.requests, topics.outcomes, topics.dead_letters)
        if "compact" in (policies.get((name, "cleanup.policy")) or "")
    ]


def _single_copies(described: list[Any], topics: Topics) -> list[Finding]:
    single = [each["topic"] for each in described if any(len(one["replicas"]) < 2 for one in each["partitions"])]
    if topics.state not in single:
        return []
    found = f"{topics.state} has one copy of a partition: a broker's disk that is lost takes pending operations along"
    return [Finding("topics", Level.WARNING, found, "three copies in production (topics create does so by default)")]
