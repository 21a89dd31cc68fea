"""Settings: read once from the environment, checked together, then never changed. Mounted secrets are followed."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from schemas import names
from worker.credentials import AccountsFile, MountedSecret, UnreadableError
from worker.dintero.call import Credentials
from worker.domain.policy import Policy
from worker.kafka.connection import Connection, Topics
from worker.kafka.reader import Reader

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", re.ASCII)
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if not match:
        raise ValueError("must be seconds as a number, or a duration such as 500ms, 30s, 15m, 24h")
    return float(match[1]) * _UNITS[match[2]]


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=366 * 86_400)]
Names = Annotated[frozenset[str], BeforeValidator(_names)]

# What may be given by a mounted file instead: NAME_FILE holds the path.
SECRETS = ("KAFKA_SASL_PASSWORD", "DINTERO_CLIENT_SECRET")


class SettingsError(Exception):
    """Every problem of the settings, a line each. Never holds a secret."""


class Settings(BaseModel):
    """One field for each environment variable, by the same name in lower case. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka_bootstrap_servers: str
    kafka_group_id: str = "terminal-operations-worker"
    kafka_requests_topic: str = names.REQUESTS_TOPIC
    kafka_outcomes_topic: str = names.OUTCOMES_TOPIC
    kafka_state_topic: str = names.STATE_TOPIC
    kafka_dead_letters_topic: str = names.DEAD_LETTERS_TOPIC
    kafka_message_id_header: str = names.MESSAGE_ID
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: str | None = None
    kafka_ssl_certfile: str | None = None
    kafka_ssl_keyfile: str | None = None
    kafka_auto_offset_reset: Literal["earliest", "latest"] = "earliest"

    dintero_base_url: str = "https://checkout.dintero.com"
    dintero_account_id: str | None = None
    dintero_client_id: str | None = None
    dintero_client_secret: SecretStr | None = None
    dintero_accounts_file: Path | None = None
    dintero_max_in_flight: int = Field(default=64, ge=1, le=10_000)
    dintero_max_requests_per_second: float | None = Field(default=None, gt=0)
    dintero_request_timeout: Seconds = 30.0
    dintero_ssl_cafile: str | None = None
    dintero_transport: Literal["asyncio", "httpx"] = "asyncio"
    dintero_idempotency_window: Seconds = 86_400.0
    dintero_extra_operations: Names = frozenset()

    worker_delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    worker_backlog_limit: int = Field(default=10_000, ge=1, le=1_000_000)
    worker_poll_initial_delay: Seconds = 2.0
    worker_poll_max_delay: Seconds = Field(default=30.0, validate_default=True)
    worker_create_timeout: Seconds = 12 * 3600.0
    worker_completion_timeout: Seconds = 3600.0
    worker_shutdown_timeout: Seconds = 25.0
    worker_dedupe_window: Seconds = 86_400.0
    worker_max_request_bytes: int = Field(default=65_536, ge=1, le=900_000)
    worker_event_source: str = "/terminal-operations-worker"
    worker_http_host: str = "0.0.0.0"  # noqa: S104 - probes and metrics come from outside the pod
    worker_http_port: int = Field(default=8080, ge=0, le=65_535)
    worker_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    worker_log_format: Literal["json", "console"] = "json"

    @field_validator("worker_log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("dintero_base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not re.match(r"https?://[^/@\s]+(/|$)", value):
            raise ValueError("must be an http or https URL without user or password")
        return value.rstrip("/")

    @field_validator("worker_event_source")
    @classmethod
    def _is_source(cls, value: str) -> str:
        # A line end from a mounted file would make every outcome one that readers refuse.
        if len(value) > names.MAX_SOURCE or not value.isprintable():
            raise ValueError(f"must be at most {names.MAX_SOURCE} printable characters")
        return value

    @field_validator("worker_poll_max_delay")
    @classmethod
    def _is_not_under_the_first(cls, value: float, others: ValidationInfo) -> float:
        if value < others.data.get("worker_poll_initial_delay", 0):
            raise ValueError("must not be under WORKER_POLL_INITIAL_DELAY")
        return value

    @field_validator("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
    @classmethod
    def _is_readable(cls, value: str | None) -> str | None:
        # Found only when a client is built, it would pass for brokers that cannot be reached.
        try:
            if value:
                Path(value).open("rb").close()
        except OSError as error:
            raise ValueError(f"{value}: {error.strerror}") from None
        return value

    @field_validator("dintero_ssl_cafile")
    @classmethod
    def _holds_authorities(cls, value: str | None) -> str | None:
        if not value:
            return None
        try:
            trusted = ssl.create_default_context(cafile=value)
        except ssl.SSLError:
            raise ValueError(f"{value}: holds no certificate (PEM)") from None
        except OSError as error:
            raise ValueError(f"{value}: {error.strerror}") from None
        if not trusted.get_ca_certs():
            raise ValueError(f"{value}: holds no certificate of an authority")
        return value

    @property
    def topics(self) -> Topics:
        return Topics(
            requests=self.kafka_requests_topic,
            outcomes=self.kafka_outcomes_topic,
            state=self.kafka_state_topic,
            dead_letters=self.kafka_dead_letters_topic,
        )

    @property
    def connection(self) -> Connection:
        return Connection(
            bootstrap_servers=self.kafka_bootstrap_servers,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=self.kafka_sasl_password,
            ssl_cafile=self.kafka_ssl_cafile,
            ssl_certfile=self.kafka_ssl_certfile,
            ssl_keyfile=self.kafka_ssl_keyfile,
        )

    @property
    def policy(self) -> Policy:
        return Policy(
            create_timeout=_ms(self.worker_create_timeout),
            completion_timeout=_ms(self.worker_completion_timeout),
            idempotency_window=_ms(self.dintero_idempotency_window),
            dedupe_window=_ms(self.worker_dedupe_window),
            poll_initial_delay=_ms(self.worker_poll_initial_delay),
            poll_max_delay=_ms(self.worker_poll_max_delay),
            backlog_limit=self.worker_backlog_limit,
        )

    @property
    def operations(self) -> frozenset[str]:
        return names.OPERATIONS | self.dintero_extra_operations

    @property
    def reader(self) -> Reader:
        return Reader(
            message_id_header=self.kafka_message_id_header,
            operations=self.operations,
            max_bytes=self.worker_max_request_bytes,
        )


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def load(environment: Mapping[str, str], *, api: bool = True, **flags: Any) -> Settings:
    """The settings of an environment, a person's flags first. Raises SettingsError with every problem at once.

    Without `api` no account is needed: for commands that ask the brokers only.
    """
    problems: list[str] = []
    values: dict[str, Any] = {name: value for name in Settings.model_fields if (value := environment.get(name.upper()))}
    mounted = _mounted(environment, problems)
    values |= mounted
    values |= {name: value for name, value in flags.items() if value is not None}
    problems += _missing_together(values, api)
    try:
        settings = Settings(**values)
    except ValidationError as invalid:
        problems += [_problem(error) for error in invalid.errors(include_input=False, include_url=False)]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings.model_copy(update=mounted)  # validation has made plain secrets of them


def accounts(settings: Settings) -> Mapping[str, Credentials]:
    """The credentials of each account, followed as their file changes. Raises SettingsError, never with a secret."""
    path = settings.dintero_accounts_file
    if path is None:
        account, client_id = settings.dintero_account_id or "", settings.dintero_client_id or ""
        return {account: Credentials(client_id, settings.dintero_client_secret or SecretStr(""))}
    try:
        return AccountsFile(path)
    except UnreadableError as error:
        raise SettingsError("\n".join(f"DINTERO_ACCOUNTS_FILE: {line}" for line in str(error).splitlines())) from None


def _mounted(environment: Mapping[str, str], problems: list[str]) -> dict[str, MountedSecret]:
    secrets: dict[str, MountedSecret] = {}
    for name in SECRETS:
        path = environment.get(f"{name}_FILE")
        try:
            if path and (secret := MountedSecret(Path(path))):
                secrets[name.lower()] = secret
        except UnreadableError as error:
            problems.append(f"{name}_FILE: {error}")
    return secrets


def _missing_together(values: Mapping[str, Any], api: bool) -> list[str]:
    """What one setting makes another one need. Checked apart, so that it is told along with all other problems."""
    problems = []
    single = ("dintero_account_id", "dintero_client_id", "dintero_client_secret")
    if api and "dintero_accounts_file" not in values:
        problems += [f"{name.upper()}: is required (or DINTERO_ACCOUNTS_FILE)" for name in single if name not in values]
    if str(values.get("kafka_security_protocol", "")).startswith("SASL"):
        sasl = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
        problems += [f"{name.upper()}: is required with SASL" for name in sasl if name not in values]
    return problems


def _problem(error: Any) -> str:
    name = str(error["loc"][0]).upper() if error["loc"] else ""
    message = "is required" if error["type"] == "missing" else str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
