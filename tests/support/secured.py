"""A real broker that trusts nobody: TLS by authorities of the test's own, SCRAM or client certificates, and ACLs.

Rights come from the manifest of the worker's user alone, so that one which it lacks is missed by the tests too.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
import trustme
import yaml
from confluent_kafka import admin as _admin
from cryptography.hazmat.primitives import serialization

from schemas import names
from tests.support.system import System
from tests.support.topics import Topics, create_topics
from worker.demo.broker import KafkaBroker
from worker.demo.process import SimulatorProcess, free_ports
from worker.settings import Settings

# Its names are exported without a word to type checkers.
admin: Any = _admin

MANIFEST = Path(__file__).parents[2] / "deploy" / "kustomize" / "components" / "strimzi" / "users.yaml"
_USER = "terminal-operations-worker"
_GROUP = str(Settings.model_fields["kafka_group_id"].default)
_TIMEOUT = 30.0

_RESOURCES = {
    "topic": admin.ResourceType.TOPIC,
    "group": admin.ResourceType.GROUP,
    "transactionalId": admin.ResourceType.TRANSACTIONAL_ID,
}
_PATTERNS = {"literal": admin.ResourcePatternType.LITERAL, "prefix": admin.ResourcePatternType.PREFIXED}
_OPERATIONS = {
    "Read": admin.AclOperation.READ,
    "Write": admin.AclOperation.WRITE,
    "Describe": admin.AclOperation.DESCRIBE,
    "DescribeConfigs": admin.AclOperation.DESCRIBE_CONFIGS,
}


class Right(NamedTuple):
    """As the manifest gives it, for the names of the contract."""

    kind: str
    name: str
    pattern: str
    operation: str

    def renamed(self, topics: Topics, group: str) -> "Right":
        """The same for the names of one test."""
        name = self.name
        for ours, theirs in (
            (names.REQUESTS_TOPIC, topics.requests),
            (names.OUTCOMES_TOPIC, topics.outcomes),
            (names.STATE_TOPIC, topics.state),
            (names.DEAD_LETTERS_TOPIC, topics.dead_letters),
            (_GROUP, group),
        ):
            name = name.replace(ours, theirs)
        return self._replace(name=name)


def workers_rights() -> list[Right]:
    """All that the manifest lets a worker do."""
    users = [user for user in yaml.safe_load_all(MANIFEST.read_text()) if user["metadata"]["name"] == _USER]
    return [
        Right(
            acl["resource"]["type"], acl["resource"]["name"], acl["resource"].get("patternType", "literal"), operation
        )
        for user in users
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    ]


class SecuredBroker:
    """`operator` is a listener for the test itself, which may do all; `scram` and `certificates` are the workers'."""

    def __init__(self, folder: Path) -> None:
        self.broker = KafkaBroker()
        self.operator = self.broker.bootstrap
        self.scram, self.certificates = (f"127.0.0.1:{port}" for port in free_ports(2))
        self._keystore, self._truststore = folder / "broker.pem", folder / "clients.pem"
        listeners = f"PLAINTEXT://{self.operator},SASL_SSL://{self.scram},SSL://{self.certificates}"
        self.broker.properties |= {
            "listeners": f"{listeners},CONTROLLER://{self.broker.controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._truststore),
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def show(self, authority: trustme.CA) -> None:
        """Has the broker's certificate signed by this authority, from its next start on."""
        certificate = authority.issue_cert("127.0.0.1")
        key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
        # Java reads no other form.
        pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain = [pem.bytes() for pem in certificate.cert_chain_pems]
        self._keystore.write_bytes(b"".join([key.private_bytes(*pkcs8), *chain]))

    def trust(self, *authorities: trustme.CA) -> None:
        """Takes clients' certificates of these authorities alone, from its next start on."""
        self._truststore.write_bytes(b"".join(authority.cert_pem.bytes() for authority in authorities))

    def set_password(self, user: str, password: str) -> None:
        """The only one from now on. Connections that are open stay."""
        information = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_512, 4096)
        upsertion = admin.UserScramCredentialUpsertion(user, information, password.encode())
        for done in self._client.alter_user_scram_credentials([upsertion]).values():
            done.result(_TIMEOUT)

    def allow(self, user: str, *rights: Right) -> None:
        for done in self._client.create_acls([_binding(admin.AclBinding, user, right) for right in rights]).values():
            done.result(_TIMEOUT)

    def deny(self, user: str, *rights: Right) -> None:
        """Takes these rights away again."""
        filters = [_binding(admin.AclBindingFilter, user, right) for right in rights]
        for done in self._client.delete_acls(filters).values():
            assert len(done.result(_TIMEOUT)) == 1

    @cached_property
    def _client(self) -> Any:
        # Kept: what a client was asked ends with it.
        return admin.AdminClient({"bootstrap.servers": self.operator})


class SecuredSystem(System):
    """A system on that broker, whose workers are one user: by its password, or by its certificate.

    The simulated API takes one secret alone, and its tokens live for a second. Secrets are files, replaced whole.
    """

    def __init__(self, secured: SecuredBroker, brokers: trustme.CA, folder: Path) -> None:
        super().__init__(secured.operator, folder)
        self.secured = secured
        self.user = f"worker-{uuid4().hex[:12]}"
        self.rights = [right.renamed(self.topics, self.topics.requests) for right in workers_rights()]
        self.password, self.ca_file = folder / "password", folder / "authorities.pem"
        self.certificate, self.key = folder / "worker.pem", folder / "worker.key"
        self.client_secret, self.accounts = folder / "client-secret", folder / "accounts.json"
        self._taken = folder / "taken.json"
        self.trust(brokers)
        create_topics(secured.operator, self.topics, partitions=1)
        secured.allow(self.user, *self.rights)

    @property
    def simulator(self) -> SimulatorProcess:
        if self._simulator is None:
            options = ("--completion-min", "0.05", "--completion-max", "0.2", "--accounts-file", str(self._taken))
            self._simulator = SimulatorProcess(self._folder / "simulator.log", *options)
            self._own(self._simulator)
            self._simulator.wait_until_ready()
            self._simulator.change({"token_lifetime": 1})
        return self._simulator

    def trust(self, *authorities: trustme.CA) -> None:
        """What the worker takes brokers' certificates of."""
        replace(self.ca_file, b"".join(authority.cert_pem.bytes() for authority in authorities))

    def certify(self, authority: trustme.CA) -> None:
        """A new key and certificate of the worker."""
        issued = authority.issue_cert("worker.test", common_name=self.user)
        replace(self.key, issued.private_key_pem.bytes())
        replace(self.certificate, b"".join(pem.bytes() for pem in issued.cert_chain_pems))

    def take(self, client_secret: str) -> None:
        """The only one that the API takes from now on."""
        replace(self._taken, _accounts(client_secret))

    def give(self, client_secret: str) -> None:
        """What the worker asks the API with, by either setting."""
        replace(self.client_secret, client_secret.encode())
        replace(self.accounts, _accounts(client_secret))

    def by_password(self) -> dict[str, str]:
        """Settings of a worker, its API's secret in a file of its own."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.secured.scram,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": self.user,
            "KAFKA_SASL_PASSWORD_FILE": str(self.password),
            "KAFKA_SSL_CAFILE": str(self.ca_file),
            "DINTERO_CLIENT_SECRET": "",
            "DINTERO_CLIENT_SECRET_FILE": str(self.client_secret),
        }

    def by_certificate(self) -> dict[str, str]:
        """Settings of a worker, its API's secret in the file of all accounts."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.secured.certificates,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CAFILE": str(self.ca_file),
            "KAFKA_SSL_CERTFILE": str(self.certificate),
            "KAFKA_SSL_KEYFILE": str(self.key),
            "DINTERO_CLIENT_SECRET": "",
            "DINTERO_ACCOUNTS_FILE": str(self.accounts),
        }


def replace(path: Path, content: bytes) -> None:
    """As a whole, as Kubernetes does it: a reader sees the old file or the new one."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.rename(path)


def _accounts(client_secret: str) -> bytes:
    return orjson.dumps({"P11223351": {"client_id": "client", "client_secret": client_secret}})


def _binding(kind: Any, user: str, right: Right) -> Any:
    return kind(
        _RESOURCES[right.kind],
        right.name,
        _PATTERNS[right.pattern],
        f"User:{user}",
        "*",
        _OPERATIONS[right.operation],
        admin.AclPermissionType.ALLOW,
    )
