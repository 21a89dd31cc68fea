"""`request` before it speaks to a broker: how it is used, and what is told when it is used wrongly."""

from uuid import UUID

import pytest
from typer.testing import CliRunner

from worker.cli.commands import app

ONE = ("--terminal", "P1-T1", "--operation", "end_of_day", "--dry-run")


def request(*arguments: str, given: bytes | None = None) -> tuple[int, str, str]:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "nowhere:1", "TERM": "dumb", "COLUMNS": "80"}
    done = CliRunner().invoke(app, ["request", *arguments], input=given, env=environment)
    return done.exit_code, done.stdout, done.stderr


def test_one_by_flags_gets_an_id_of_its_own_each_time() -> None:
    (code, first, _), (_, second, _) = request(*ONE), request(*ONE)
    assert code == 0
    assert UUID(first.strip()) != UUID(second.strip())


def test_one_by_flags_keeps_the_id_it_is_given() -> None:
    assert request(*ONE, "--message-id", "mine", "--parameters", '{"a": 1}')[:2] == (0, "mine\n")


def test_one_by_flags_with_a_batch_gets_the_id_that_a_file_would_give_it() -> None:
    _, by_flags, _ = request(*ONE, "--batch", "night")
    _, by_file, _ = request("-", "--batch", "night", "--dry-run", given=b"terminal_id,operation\nP1-T1,end_of_day")
    assert by_flags == by_file


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("file.csv", *ONE),
        ("file.csv", "--parameters", "{}"),
        (*ONE, "--parameters", "{"),
        (*ONE, "--parameters", "[1]"),
        (*ONE, "--expires-at", "soon"),
        (*ONE, "--rate", "0"),
        (*ONE, "--timeout", "soon"),
        ("--terminal", "P1-T1"),
        ("--terminal", "P1-T1", "--operation", "end_of_year"),
        ("no such file.csv",),
        (".",),
    ],
)
def test_wrong_use_ends_with_2_and_sends_nothing(arguments: tuple[str, ...]) -> None:
    code, out, err = request(*arguments)
    assert (code, out) == (2, "")
    assert err


def test_every_bad_line_is_told_with_its_number_up_to_a_bound() -> None:
    code, out, err = request("-", given=b"terminal_id,operation,message_id\n" + b"P1-T1,end_of_year,x\n" * 70)
    told = err.splitlines()
    assert (code, out) == (2, "")
    assert told[0].startswith("error: line 2: operation: expected one of")
    assert told[49].startswith("error: line 51: ")
    assert told[50:] == ["error: and 20 more"]


def test_an_empty_file_is_no_error() -> None:
    assert request("-", "--dry-run", given=b"\n\n")[:2] == (0, "")


def test_the_help_fits_80_columns() -> None:
    for command in ("request", "outcomes", "check"):
        done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80", "TERM": "dumb"})
        assert done.exit_code == 0
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert "…" not in done.stdout
        assert "Examples:" in done.stdout
