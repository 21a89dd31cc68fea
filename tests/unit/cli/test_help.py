"""The help of the commands that look and set right: it teaches, and fits a terminal."""

import pytest
from typer.testing import CliRunner

from worker.cli import app

COMMANDS = (
    *("pending", "explain", "state show", "state reset", "dead-letters list", "dead-letters show"),
    *("dead-letters replay", "unconfirmed list", "unconfirmed resolve"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_fits_80_columns(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=80, env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert f"terminal-worker {command}" in result.output


@pytest.mark.parametrize("command", ["pending", "explain x", "state show", "dead-letters list", "unconfirmed list"])
def test_missing_settings_are_wrong_use_and_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    result = CliRunner().invoke(app, command.split())
    assert (result.exit_code, result.output) == (2, "error: KAFKA_BOOTSTRAP_SERVERS: is required\n")
