"""The four topics: how they are made, and what makes them unfit to run on."""

from types import SimpleNamespace
from typing import Any

import pytest

from worker.kafka import topics as kafka_topics
from worker.kafka.connection import Connection, Topics
from worker.kafka.topics import TopicsError

TOPICS = Topics("requests", "outcomes", "state", "dead")
NOWHERE = Connection("nowhere")


class Admin:
    """An admin client that answers as it is told, and raises nothing for a refused topic: as the real one."""

    def __init__(self) -> None:
        self.codes = dict.fromkeys(("requests", "outcomes", "state", "dead"), 0)
        self.partitions = {"requests": 12, "outcomes": 3, "state": 12, "dead": 1, "someone-elses": 5}
        self.policy = "compact"
        self.max_message_bytes = dict.fromkeys(("outcomes", "state", "dead"), "1048588")
        self.wanted: list[Any] = []
        self.described: list[str] = []
        self.refused: dict[str, int] = {}
        self.closed = False

    async def start(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    async def create_topics(self, wanted: list[Any], timeout_ms: int) -> Any:
        self.wanted = wanted
        return SimpleNamespace(topic_errors=[(topic.name, self.codes[topic.name], None) for topic in wanted])

    async def list_topics(self) -> list[str]:
        return list(self.partitions)

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        self.described = names
        return [{"topic": name, "partitions": [{}] * self.partitions[name], "error_code": 0} for name in names]

    async def describe_configs(self, asked: list[Any]) -> list[Any]:
        policies = {"outcomes": "delete", "state": self.policy, "dead": "delete"}
        resources = [
            (self.refused[topic.name], "", 2, topic.name, [])
            if topic.name in self.refused
            else (0, None, 2, topic.name, [("cleanup.policy", policies[topic.name]), ("max.message.bytes", size)])
            for topic in asked
            for size in [self.max_message_bytes[topic.name]]
        ]
        return [SimpleNamespace(resources=resources)]


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    admin = Admin()
    monkeypatch.setattr(kafka_topics, "AIOKafkaAdminClient", lambda **_: admin)
    return admin


async def create() -> dict[str, bool]:
    return await kafka_topics.create(NOWHERE, TOPICS, partitions=6, replication_factor=3)


async def verify() -> int:
    return await kafka_topics.verify(NOWHERE, TOPICS)


async def refusal() -> list[str]:
    with pytest.raises(TopicsError) as raised:
        await verify()
    return str(raised.value).splitlines()


async def test_only_the_state_topic_is_compacted_and_it_has_as_many_partitions_as_the_requests(admin: Admin) -> None:
    admin.codes["outcomes"] = 36
    made = await create()
    assert made == {"requests": True, "outcomes": False, "state": True, "dead": True}
    configs = {topic.name: dict(topic.topic_configs) for topic in admin.wanted}
    assert {name for name, config in configs.items() if config["cleanup.policy"] == "compact"} == {"state"}
    assert configs["state"] | {"cleanup.policy": ""} == {
        "cleanup.policy": "",
        "max.message.bytes": "1048588",
        "segment.bytes": "67108864",
        "segment.ms": "3600000",
        "delete.retention.ms": "86400000",
    }
    assert {topic.num_partitions for topic in admin.wanted} == {6}
    assert admin.closed


async def test_every_refused_topic_is_told_by_name(admin: Admin) -> None:
    admin.codes |= {"requests": 38, "state": 29}
    with pytest.raises(TopicsError) as raised:
        await create()
    first, second = str(raised.value).splitlines()
    assert first == "requests: there are fewer than 3 brokers: lower --replication-factor"
    assert second.startswith("state: TopicAuthorizationFailedError")


async def test_fit_topics_tell_the_number_of_input_partitions(admin: Admin) -> None:
    assert await verify() == 12
    assert admin.closed


async def test_every_missing_topic_is_told_with_the_command_and_none_is_asked_about(admin: Admin) -> None:
    del admin.partitions["state"], admin.partitions["dead"]
    told = await refusal()
    assert [line.split("'")[1] for line in told] == ["state", "dead"]
    assert all("`terminal-worker topics create`" in line for line in told)
    assert admin.described == ["requests", "outcomes"]  # describing a missing one could create it
    assert admin.closed


@pytest.mark.parametrize("policy", ["delete", "compact,delete", "delete,compact", ""])
async def test_a_state_topic_that_forgets_is_told_with_what_fixes_it(admin: Admin, policy: str) -> None:
    admin.policy = policy
    (line,) = await refusal()
    assert repr(policy) in line
    assert "--topic state --add-config cleanup.policy=compact" in line


async def test_a_topic_that_would_refuse_a_batch_of_ours_is_told_with_what_fixes_it(admin: Admin) -> None:
    admin.max_message_bytes |= {"dead": "100000", "outcomes": "1048575"}
    outcomes, dead = await refusal()
    assert "topic 'outcomes' has max.message.bytes 1048575" in outcomes
    assert "--topic dead --add-config max.message.bytes=1048588" in dead


async def test_all_that_is_wrong_with_the_state_topic_is_told_at_once(admin: Admin) -> None:
    admin.policy, admin.partitions["state"] = "delete", 11
    mismatch, policy = await refusal()
    assert "11" in mismatch
    assert "12" in mismatch
    assert "cleanup.policy" in policy


async def test_a_topic_whose_settings_may_not_be_read_is_named_and_not_taken_for_a_wrong_one(admin: Admin) -> None:
    admin.refused = {"outcomes": 29, "state": 7}
    told, other = await refusal()
    assert told.startswith("DescribeConfigs on topic 'outcomes' is not allowed to this user")
    assert other == "topic 'state': its configuration cannot be read: RequestTimedOutError"


async def test_a_topic_that_is_missing_may_be_hidden(admin: Admin) -> None:
    del admin.partitions["dead"]
    (line,) = await refusal()
    assert line == (
        "topic 'dead' does not exist, or is hidden from this user: make it with `terminal-worker topics create`, "
        "or allow this user to Describe it"
    )
