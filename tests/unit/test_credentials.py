"""Secrets that are rotated while the worker runs."""

from pathlib import Path

import orjson
import pytest

from tests.unit.dintero.support import Clock
from worker.credentials import AccountsFile, MountedSecret
from worker.settings import load

OLD, NEW = "kept-under-the-counter", "changed-on-monday"


def write(path: Path, **secrets: str) -> None:
    path.write_bytes(orjson.dumps({name: {"client_id": "c", "client_secret": text} for name, text in secrets.items()}))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "accounts.json"
    write(path, P1=OLD)
    return path


def test_the_next_connection_and_the_next_token_use_a_rotated_secret(tmp_path: Path) -> None:
    password, secret = tmp_path / "password", tmp_path / "secret"
    password.write_text(OLD)
    secret.write_text(OLD)
    settings = load(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": "worker",
            "KAFKA_SASL_PASSWORD_FILE": str(password),
            "DINTERO_ACCOUNT_ID": "P1",
            "DINTERO_CLIENT_ID": "c",
            "DINTERO_CLIENT_SECRET_FILE": str(secret),
        }
    )
    connection, client_secret = settings.connection, settings.dintero_client_secret
    assert client_secret is not None
    assert (connection.options()["sasl_plain_password"], client_secret.get_secret_value()) == (OLD, OLD)
    password.write_text(f"{NEW}\n")
    secret.write_text(f"{NEW}\n")
    assert (connection.options()["sasl_plain_password"], client_secret.get_secret_value()) == (NEW, NEW)
    assert NEW not in f"{settings!r} {connection!r} {client_secret}"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_secret_that_goes_away_is_the_last_one_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    path.write_text(OLD)
    secret = MountedSecret(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert secret.get_secret_value() == OLD
    path.write_text(NEW)
    assert secret.get_secret_value() == NEW


def test_an_account_that_is_added_is_known_at_its_first_request(path: Path, clock: Clock) -> None:
    accounts = AccountsFile(path, clock)
    write(path, P1=OLD, P2=NEW)
    assert "P2" not in accounts  # looked at a moment ago
    clock.now += 1
    assert "P2" in accounts
    assert accounts["P2"].client_secret.get_secret_value() == NEW


def test_an_account_that_is_changed_or_taken_away_counts_from_the_next_token(path: Path, clock: Clock) -> None:
    accounts = AccountsFile(path, clock)
    write(path, P1=NEW)
    clock.now += 1
    assert accounts["P1"].client_secret.get_secret_value() == NEW
    write(path, P2=NEW)
    clock.now += 1
    with pytest.raises(KeyError):
        accounts["P1"]
    assert list(accounts) == ["P2"]


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"P1": {}}', b"\xff"])
def test_a_file_that_becomes_wrong_changes_no_account(path: Path, clock: Clock, content: bytes | None) -> None:
    accounts = AccountsFile(path, clock)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    clock.now += 1
    assert accounts["P1"].client_secret.get_secret_value() == OLD
    write(path, P1=NEW)
    clock.now += 1
    assert accounts["P1"].client_secret.get_secret_value() == NEW
