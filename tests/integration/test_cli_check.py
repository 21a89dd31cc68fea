"""`check` on real brokers: what it finds, that it finds each fault, and that it leaves nothing behind.

And every other command on the broker with TLS, a password and ACLs.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.support.command import terminal_worker
from tests.support.records import read_until
from tests.support.system import System
from tests.support.topics import create_topics
from worker.demo.broker import KafkaBroker
from worker.demo.process import free_ports

pytestmark = pytest.mark.kafka

PASSWORD, CLIENT_SECRET = "r1ght-and-long", "ours-and-long"
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_COMMAND = str(Path(__file__).parents[2] / ".venv" / "bin" / "terminal-worker")
_GUARDED = """\
listeners=PLAINTEXT://{plain},CONTROLLER://{controller},SASL_SSL://{secured}
advertised.listeners=PLAINTEXT://{plain},SASL_SSL://{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config={login} required user_worker="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS"""


@pytest.fixture(scope="module")
def guarded(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A broker with TLS, a password and ACLs: the settings of a worker on it. Its plain listener allows all."""
    folder = tmp_path_factory.mktemp("guarded")
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    certificate += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem")]
    certificate += ["-out", str(folder / "ca.pem")]
    subprocess.run(certificate, check=True, capture_output=True, timeout=60)
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "ca.pem").read_text())
    broker = KafkaBroker()
    secured = f"127.0.0.1:{free_ports(1)[0]}"
    told = _GUARDED.format(
        plain=broker.bootstrap,
        controller=broker.controller,
        secured=secured,
        login=_LOGIN,
        password=PASSWORD,
        keystore=folder / "both.pem",
    )
    broker.properties |= dict(line.split("=", 1) for line in told.splitlines())
    with broker:
        yield {
            "plain": broker.bootstrap,
            "KAFKA_BOOTSTRAP_SERVERS": secured,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": "worker",
            "KAFKA_SASL_PASSWORD": PASSWORD,
            "KAFKA_SSL_CAFILE": str(folder / "ca.pem"),
        }


def test_where_a_worker_could_run_there_is_no_problem_and_nothing_is_left_behind(system: System) -> None:
    system.simulator.wait_until_ready()
    code, findings = _check(system.environment())
    assert (code, _levels(findings, "problem")) == (0, [])
    assert _levels(findings, "ok") == [
        "settings", "brokers", "authentication", "cluster", "topics", "read", "read", "group",
        "transactions", "write", "write", "write", "token", "clock",
    ]  # fmt: skip
    for topic in system.topics.environment().values():
        assert read_until(system.bootstrap, topic, bool, timeout=1) == []
    admin = AdminClient({"bootstrap.servers": system.bootstrap})
    groups = admin.list_consumer_groups().result(30).valid
    assert system.topics.requests not in {group.group_id for group in groups}


def test_a_worker_that_runs_is_not_disturbed(system: System) -> None:
    worker = system.start_ready_worker()
    told = worker.tail()
    code, _ = _check(system.environment())
    assert code == 0
    assert worker.running
    assert worker.tail() == told  # nothing was taken from it, fenced or restored


def test_missing_settings_are_told_and_kafka_is_checked_all_the_same(system: System) -> None:
    code, findings = _check(system.environment(DINTERO_CLIENT_SECRET=""))
    assert code == 1
    (problem,) = [each for each in findings if each["level"] == "problem"]
    assert problem["check"] == "settings"
    assert "DINTERO_CLIENT_SECRET" in problem["found"]
    assert "write" in _levels(findings, "ok")
    assert _levels(findings, "skipped") == ["tls", "api"]


def test_without_brokers_all_that_needs_them_is_skipped(bare_system: System) -> None:
    port = free_ports(1)[0]
    code, findings = _check(bare_system.environment(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}"))
    assert code == 1
    assert _levels(findings, "problem")[:1] == ["brokers"]
    assert _levels(findings, "skipped")[:5] == ["tls", "authentication", "cluster", "topics", "permissions"]


def test_missing_topics_are_told_with_the_command_that_makes_them(bare_system: System) -> None:
    bare_system.simulator.wait_until_ready()
    code, findings = _check(bare_system.environment())
    (problem,) = [each for each in findings if each["check"] == "topics"]
    assert code == 1
    assert all(topic in problem["found"] for topic in bare_system.topics.environment().values())
    assert "topics create" in problem["fix"]
    assert _levels(findings, "skipped")[1:] == ["permissions"]


def test_the_table_fits_80_columns_and_has_no_colours_where_nobody_sees_them(bare_system: System) -> None:
    done = _run(bare_system.environment())
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"KAFKA_SSL_CAFILE": ""}, "tls"),
        ({"KAFKA_SASL_PASSWORD": "wr0ng-and-long"}, "authentication"),
        ({"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"}, "authentication"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "authentication"),
    ],
)
def test_what_is_wrong_with_the_connection_is_told_where_it_fails(
    bare_system: System, guarded: dict[str, str], wrong: dict[str, str], where: str
) -> None:
    code, findings = _check(bare_system.environment(**guarded | wrong))
    assert code == 1
    (problem, *_) = [each for each in findings if each["level"] == "problem"]
    assert problem["check"] == where
    assert problem["fix"]


def test_every_permission_that_is_missing_is_told_and_with_all_of_them_there_is_no_problem(
    bare_system: System, guarded: dict[str, str]
) -> None:
    topics, environment = bare_system.topics, bare_system.environment(**guarded)
    create_topics(guarded["plain"], topics)
    code, findings = _check(environment)
    assert (code, _levels(findings, "problem")[0]) == (1, "topics")
    admin = AdminClient({"bootstrap.servers": guarded["plain"]})
    for topic in topics.environment().values():
        _allow(admin, ResourceType.TOPIC, topic, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    code, findings = _check(environment)
    refused = ["read", "read", "group", "transactions"]
    assert (code, [name for name in _levels(findings, "problem") if name != "token"]) == (1, refused)
    bare_system.simulator.wait_until_ready()
    _allow(admin, ResourceType.TRANSACTIONAL_ID, topics.requests, AclOperation.WRITE)
    _allow(admin, ResourceType.TOPIC, topics.state, AclOperation.WRITE)
    code, findings = _check(environment)
    assert (code, _levels(findings, "problem")) == (1, ["read", "read", "group", "write", "write"])
    _allow(admin, ResourceType.GROUP, topics.requests, AclOperation.READ)
    _allow(admin, ResourceType.TOPIC, topics.requests, AclOperation.READ)
    _allow(admin, ResourceType.TOPIC, topics.state, AclOperation.READ)
    _allow(admin, ResourceType.TOPIC, topics.outcomes, AclOperation.WRITE)
    _allow(admin, ResourceType.TOPIC, topics.dead_letters, AclOperation.WRITE)
    code, findings = _check(environment)
    assert (code, _levels(findings, "problem")) == (0, [])


def test_every_command_works_over_tls_with_a_password(bare_system: System, guarded: dict[str, str]) -> None:
    environment, topics = bare_system.environment(**guarded), bare_system.topics
    admin = AdminClient({"bootstrap.servers": guarded["plain"]})
    for topic in topics.environment().values():
        _allow(admin, ResourceType.TOPIC, topic, AclOperation.ALL)
    _allow(admin, ResourceType.GROUP, topics.requests, AclOperation.ALL)
    _allow(admin, ResourceType.TRANSACTIONAL_ID, topics.requests, AclOperation.ALL)
    created = terminal_worker(environment, "topics", "create", "--partitions", "2", "--replication-factor", "1")
    assert (created.code, created.out.count("created")) == (0, 4), created.err
    bare_system.simulator.wait_until_ready()
    bare_system.start_worker(**guarded).wait_until_ready()
    for command in (
        ("request", "--terminal", "P11223351-T0013", "--operation", "end_of_day", "--message-id", "first", "--wait"),
        ("outcomes", "--since", "1h"),
        ("explain", "first"),
        ("pending",),
        ("state", "show"),
        ("dead-letters", "list"),
        ("unconfirmed", "list"),
        ("check",),
    ):
        done = terminal_worker(environment, *command)
        assert done.code == 0, (command, done.out, done.err)


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_COMMAND, "check", *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def _check(environment: dict[str, str]) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings. Whatever it finds, it tells no secret and shows no traceback."""
    if environment["DINTERO_CLIENT_SECRET"]:
        environment = {**environment, "DINTERO_CLIENT_SECRET": CLIENT_SECRET}
    done = _run(environment, "--json")
    assert done.stderr == ""
    assert PASSWORD not in done.stdout
    assert CLIENT_SECRET not in done.stdout
    told = orjson.loads(done.stdout)
    assert told["ok"] is (done.returncode == 0)
    return done.returncode, told["findings"]


def _levels(findings: list[dict[str, Any]], level: str) -> list[str]:
    return [each["check"] for each in findings if each["level"] == level]


def _allow(admin: AdminClient, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    allow, pattern = AclPermissionType.ALLOW, ResourcePatternType.LITERAL
    if kind is ResourceType.TRANSACTIONAL_ID:
        pattern = ResourcePatternType.PREFIXED
    wanted = [AclBinding(kind, name, pattern, "User:worker", "*", operation, allow) for operation in operations]
    for made in admin.create_acls(wanted).values():
        made.result(30)
