"""Settings: what an environment becomes, and how every mistake in it is told at once."""

import contextlib
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from schemas import names
from schemas.names import OPERATIONS
from worker.settings import SECRETS, Settings, SettingsError, accounts, load

SECRET = "hunter2-hunter2"
GOOD = {
    "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
    "DINTERO_ACCOUNT_ID": "P11223351",
    "DINTERO_CLIENT_ID": "client",
    "DINTERO_CLIENT_SECRET": SECRET,
}


def loaded(**changes: str) -> Settings:
    return load({**GOOD, **changes})


def problems(environment: dict[str, str], **options: Any) -> dict[str, str]:
    """What `load` complains of, by setting. One that is named twice would hide here, so it fails."""
    with pytest.raises(SettingsError) as raised:
        load(environment, **options)
    lines = [line.partition(": ") for line in str(raised.value).splitlines()]
    found = {name: message for name, _, message in lines}
    assert len(found) == len(lines), lines
    return found


def accounts_of(path: Path) -> Any:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092", "DINTERO_ACCOUNTS_FILE": str(path)}
    return accounts(load(environment))


def test_four_settings_are_enough() -> None:
    settings = loaded()
    assert settings.kafka_group_id == "terminal-operations-worker"
    assert settings.topics.requests == "terminal-operations.requests"
    assert settings.dintero_base_url == "https://checkout.dintero.com"
    assert settings.worker_delivery == "exactly_once"
    assert settings.operations == OPERATIONS == names.OPERATIONS


def test_every_problem_is_told_at_once_missing_and_malformed_together() -> None:
    found = problems(
        {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "DINTERO_BASE_URL": "checkout.dintero.com",
            "DINTERO_MAX_IN_FLIGHT": "many",
            "WORKER_CREATE_TIMEOUT": "half a day",
            "WORKER_HTTP_PORT": "65536",
            "WORKER_DELIVERY": "at_most_once",
        }
    )
    missing = {
        *("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"),
        *("DINTERO_ACCOUNT_ID", "DINTERO_CLIENT_ID", "DINTERO_CLIENT_SECRET"),
    }
    malformed = {
        *("DINTERO_BASE_URL", "DINTERO_MAX_IN_FLIGHT"),
        *("WORKER_CREATE_TIMEOUT", "WORKER_HTTP_PORT", "WORKER_DELIVERY"),
    }
    assert set(found) == missing | malformed
    assert all("is required" in found[name] for name in missing)
    assert not any("is required" in found[name] for name in malformed)


def test_delays_that_do_not_fit_are_told_along_with_the_rest() -> None:
    found = problems(
        {**GOOD, "WORKER_POLL_MAX_DELAY": "1s", "WORKER_POLL_INITIAL_DELAY": "2s", "WORKER_HTTP_PORT": "x"}
    )
    assert len(found) == 2, found


def test_delays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"WORKER_POLL_MAX_DELAY:? must not be under WORKER_POLL_INITIAL_DELAY"):
        loaded(WORKER_POLL_MAX_DELAY="1s", WORKER_POLL_INITIAL_DELAY="2s")


def test_no_message_and_no_repr_holds_a_secret() -> None:
    # In the wrong variable, too; but what names a file is shown.
    variables = (name.upper() for name in Settings.model_fields if not name.endswith("file"))
    given_values = dict.fromkeys(variables, SECRET)
    with pytest.raises(SettingsError) as raised:
        load(given_values)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    settings = loaded(KAFKA_SASL_PASSWORD=SECRET, KAFKA_SECURITY_PROTOCOL="PLAINTEXT")
    shown = f"{settings!r} {settings} {settings.connection!r} {accounts(settings)!r} {settings.model_dump()!r}"
    assert SECRET not in shown


def test_every_secret_is_kept_as_one() -> None:
    settings = loaded(KAFKA_SASL_PASSWORD=SECRET)
    for name in SECRETS:
        assert getattr(settings, name.lower()).get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("15", 15), ("0.5", 0.5), ("500ms", 0.5), ("30s", 30), ("15m", 900), ("24h", 86_400), ("2d", 172_800)),
        *(("1.5h", 5_400), (" 30s ", 30)),
    ],
)
def test_a_duration_is_read_in_each_form(text: str, seconds: float) -> None:
    assert loaded(WORKER_CREATE_TIMEOUT=text).worker_create_timeout == seconds


@pytest.mark.parametrize(
    "text", ["0", "0ms", "-1s", "1w", "30 s", "1e3", "nan", "inf", "1h30m", "٣s", "367d", "s", "1S"]
)
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    assert set(problems({**GOOD, "DINTERO_REQUEST_TIMEOUT": text})) == {"DINTERO_REQUEST_TIMEOUT"}


@given(st.text(min_size=1, max_size=40))
def test_any_text_is_a_duration_or_a_problem_with_its_name(text: str) -> None:
    told = "WORKER_DEDUPE_WINDOW: "
    with contextlib.suppress(SettingsError):
        try:
            assert 0 < loaded(WORKER_DEDUPE_WINDOW=text).worker_dedupe_window <= 366 * 86_400
        except SettingsError as refused:
            told = str(refused)
            raise
    assert told.startswith("WORKER_DEDUPE_WINDOW: ")


def test_the_policy_counts_in_whole_milliseconds_and_never_rounds_to_nothing() -> None:
    settings = loaded(WORKER_POLL_INITIAL_DELAY="0.1ms", WORKER_POLL_MAX_DELAY="1.5s", WORKER_BACKLOG_LIMIT="7")
    policy = settings.policy
    assert (policy.poll_initial_delay, policy.poll_max_delay, policy.backlog_limit) == (1, 1_500, 7)


def test_an_empty_variable_counts_as_unset() -> None:
    assert loaded(KAFKA_GROUP_ID="", WORKER_HTTP_PORT="", KAFKA_SASL_PASSWORD_FILE="") == loaded()
    assert set(problems({**GOOD, "DINTERO_CLIENT_ID": ""})) == {"DINTERO_CLIENT_ID"}


def test_variables_of_others_are_ignored() -> None:
    assert loaded(PATH="/bin", KAFKA_HEAP_OPTS="-Xmx1g", WORKER_NODE="a") == loaded()


def test_flags_win_over_the_environment_unless_they_were_not_given() -> None:
    settings = load(
        {**GOOD, "WORKER_HTTP_PORT": "1", "WORKER_LOG_LEVEL": "ERROR"}, worker_http_port=2, worker_log_level=None
    )
    assert (settings.worker_http_port, settings.worker_log_level) == (2, "ERROR")


def test_settings_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded().kafka_group_id = "another"


def test_a_secret_comes_from_a_mounted_file_without_the_line_end(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    environment = {name: value for name, value in GOOD.items() if name != "DINTERO_CLIENT_SECRET"}
    settings = load({**environment, "DINTERO_CLIENT_SECRET_FILE": str(file)})
    assert settings.dintero_client_secret
    assert settings.dintero_client_secret.get_secret_value() == SECRET


def test_a_secret_file_that_cannot_be_read_is_named_along_with_all_other_problems(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" + SECRET.encode())
    missing = tmp_path / "missing"
    found = problems(
        {
            **GOOD,
            "DINTERO_CLIENT_SECRET_FILE": str(missing),
            "KAFKA_SASL_PASSWORD_FILE": str(binary),
            "WORKER_HTTP_PORT": "x",
        }
    )
    assert found["DINTERO_CLIENT_SECRET_FILE"] == f"{missing}: No such file or directory"
    assert found["KAFKA_SASL_PASSWORD_FILE"] == f"{binary}: is not text"
    assert set(found) == {"DINTERO_CLIENT_SECRET_FILE", "KAFKA_SASL_PASSWORD_FILE", "WORKER_HTTP_PORT"}


def test_an_empty_secret_file_is_no_secret(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    environment = {name: value for name, value in GOOD.items() if name != "DINTERO_CLIENT_SECRET"}
    with pytest.raises(SettingsError, match="DINTERO_CLIENT_SECRET"):
        load({**environment, "DINTERO_CLIENT_SECRET_FILE": str(empty)})


def test_commands_that_ask_the_brokers_only_need_no_account() -> None:
    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}, api=False)
    assert settings.connection.bootstrap_servers == "localhost:9092"
    assert set(problems({}, api=False)) == {"KAFKA_BOOTSTRAP_SERVERS"}


def test_an_accounts_file_stands_in_for_the_single_account(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_bytes(
        orjson.dumps(
            {"P1": {"client_id": "a", "client_secret": SECRET}, "T2": {"client_id": "b", "client_secret": "x"}}
        )
    )
    found = accounts_of(file)
    assert set(found) == {"P1", "T2"}
    assert (found["P1"].client_id, found["P1"].client_secret.get_secret_value()) == ("a", SECRET)
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ({"P1": {"client_id": "a"}, "P2": {"client_secret": SECRET}}, ["P1.client_secret", "P2.client_id"]),
        ({"P1": {"client_id": "", "client_secret": SECRET}}, ["P1.client_id"]),
        ({"P1": {"client_id": "a", "client_secret": ""}}, ["P1.client_secret"]),
        ({"P1": {"client_id": "a", "client_secret": [SECRET]}}, ["P1.client_secret"]),
        ({"P1": SECRET}, ["P1"]),
        ([SECRET], ["the file"]),
        ({}, ["the file"]),  # else every create would be refused for want of credentials
    ],
)
def test_a_wrong_accounts_file_names_every_place_and_no_secret(tmp_path: Path, content: Any, places: list[str]) -> None:
    file = tmp_path / "accounts.json"
    file.write_bytes(orjson.dumps(content))
    with pytest.raises(SettingsError) as raised:
        accounts_of(file)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[:3] for line in lines] == [["DINTERO_ACCOUNTS_FILE", str(file), place] for place in places]
    assert SECRET not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("content", [b"", b"{", f'{{"P1": "{SECRET}'.encode(), b"\xff\xfe", b"null"])
def test_an_accounts_file_that_is_no_json_is_one_problem_without_its_content(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "accounts.json"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        accounts_of(file)
    assert str(raised.value).startswith(f"DINTERO_ACCOUNTS_FILE: {file}: the file: ")
    assert SECRET not in str(raised.value)


def test_an_accounts_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"accounts\.json: No such file or directory"):
        accounts_of(tmp_path / "accounts.json")


def test_extra_operations_are_added_to_the_known_ones() -> None:
    settings = loaded(DINTERO_EXTRA_OPERATIONS=" reboot, ,print_receipt,")
    assert settings.operations == OPERATIONS | {"reboot", "print_receipt"}


@pytest.mark.parametrize(
    "url", ["checkout.dintero.com", "ftp://host", "https://user:pw@host", "https://", "https:// host"]
)
def test_a_base_url_that_would_not_work_or_holds_a_password_is_refused(url: str) -> None:
    found = problems({**GOOD, "DINTERO_BASE_URL": url})
    assert set(found) == {"DINTERO_BASE_URL"}
    assert "pw" not in found["DINTERO_BASE_URL"].replace("password", "")


def test_a_base_url_loses_its_last_slash() -> None:
    assert loaded(DINTERO_BASE_URL="http://127.0.0.1:8081/").dintero_base_url == "http://127.0.0.1:8081"


@pytest.mark.parametrize("source", ["/worker\n", "/a\x00", "x" * 1_025])
def test_an_event_source_that_readers_of_outcomes_would_refuse_is_refused(source: str) -> None:
    assert set(problems({**GOOD, "WORKER_EVENT_SOURCE": source})) == {"WORKER_EVENT_SOURCE"}


def test_the_log_level_is_read_in_any_case() -> None:
    assert loaded(WORKER_LOG_LEVEL="debug").worker_log_level == "DEBUG"


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_sasl_asks_for_all_it_needs_and_plaintext_for_nothing(protocol: str) -> None:
    missing = {"KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"}
    assert set(problems({**GOOD, "KAFKA_SECURITY_PROTOCOL": protocol})) == missing
    assert loaded(KAFKA_SECURITY_PROTOCOL="SSL").kafka_sasl_mechanism is None


@pytest.mark.parametrize("name", ["KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"])
def test_a_certificate_file_that_is_not_there_is_named_at_once(name: str, tmp_path: Path) -> None:
    # Found only when a client is built, it would pass for brokers that cannot be reached, and be retried for ever.
    found = problems({**GOOD, "KAFKA_SECURITY_PROTOCOL": "SSL", name: str(tmp_path / "missing.pem")})
    assert found == {name: f"{tmp_path / 'missing.pem'}: No such file or directory"}


def test_a_file_for_the_apis_authorities_must_hold_some(tmp_path: Path) -> None:
    authorities, empty, missing = (tmp_path / name for name in ("ca.pem", "empty.pem", "missing.pem"))
    trustme.CA().cert_pem.write_to_path(authorities)
    empty.touch()
    assert loaded(DINTERO_SSL_CAFILE=str(authorities)).dintero_ssl_cafile == str(authorities)
    assert problems({**GOOD, "DINTERO_SSL_CAFILE": str(empty)}) == {
        "DINTERO_SSL_CAFILE": f"{empty}: holds no certificate (PEM)"
    }
    assert problems({**GOOD, "DINTERO_SSL_CAFILE": str(missing)}) == {
        "DINTERO_SSL_CAFILE": f"{missing}: No such file or directory"
    }
