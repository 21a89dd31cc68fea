"""The commands teach and fit a terminal: every help, at 80 columns and on a dumb one, and what is wrong in one line."""

import re
import socket
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from tests.support.documents import assert_exists, typed
from worker import __version__
from worker.cli.commands import app, run_command


def commands(command: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each command and group, with its help."""
    yield name, command.help
    if isinstance(command, TyperGroup):
        for part, each in command.commands.items():
            yield from commands(each, f"{name} {part}".strip())


COMMANDS = dict(commands(typer.main.get_command(app)))
# What Rich and Typer look at to choose colours, width and animation.
TERMINAL = {"COLUMNS": "80", "TERM": None, "NO_COLOR": None, "FORCE_COLOR": None, "GITHUB_ACTIONS": None}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_stands_apart_and_fits_80_columns(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env=TERMINAL)
    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if len(line) > 80] == []
    examples = result.output[result.output.index("Examples:") :]
    assert re.search(rf"^ +(\w+=\S+ |cat .*)?terminal-worker {command}", examples, re.MULTILINE)
    assert re.search(r"^ {5}\S", examples, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_a_help_shows_exists_with_its_options(command: str) -> None:
    shown = list(typed(command, f"```\n{COMMANDS[command]}\n```", "terminal-worker"))
    assert shown
    for each in shown:
        assert_exists(each)


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"terminal-worker {__version__}\n")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {}], ids=str)
def test_no_help_has_colours_but_on_a_terminal(environment: dict[str, str]) -> None:
    result = CliRunner().invoke(app, ["--help"], env={**TERMINAL, **environment})
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("terminal-worker ch", "check"),
        ("terminal-worker topics cr", "create"),
        ("terminal-worker run --ht", "--http-p"),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, told: str) -> None:
    asked = {"_TERMINAL_WORKER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert told in CliRunner().invoke(app, prog_name="terminal-worker", env=asked).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_each_shell_can_be_shown(shell: str) -> None:
    asked = {"_TERMINAL_WORKER_COMPLETE": f"source_{shell}"}
    told = CliRunner().invoke(app, prog_name="terminal-worker", env=asked)
    assert (told.exit_code, "terminal-worker" in told.output) == (0, True)


@pytest.mark.parametrize("command", ["pending", "explain x", "state show", "dead-letters list", "unconfirmed list"])
def test_missing_settings_are_wrong_use_and_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    result = CliRunner().invoke(app, command.split())
    assert (result.exit_code, result.output) == (2, "error: KAFKA_BOOTSTRAP_SERVERS: is required\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("explain", "Missing argument 'MESSAGE_ID'; see `terminal-worker explain --help`"),
        ("nonsense", "No such command 'nonsense'; see `terminal-worker --help`"),
        ("run --nonsense", "No such option: --nonsense; see `terminal-worker run --help`"),
        (
            "request --terminal P1-T1",
            "Invalid value: --operation: is required with --terminal; see `terminal-worker re",
        ),
    ],
)
def test_wrong_use_is_told_in_one_line_that_says_where_to_look(
    words: str, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["terminal-worker", *words.split()])
    assert run_command() == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: {told}")
    assert said.count("\n") == 1


class Interrupted(StringIO):
    def readline(self, _: int | None = -1) -> str:  # type: ignore[override]  # bytes, says its stub
        raise KeyboardInterrupt


@pytest.mark.parametrize(("answers", "code"), [(Interrupted(), 130), (StringIO(), 1), (StringIO("n\n"), 1)])
def test_what_is_not_confirmed_is_not_done(
    answers: StringIO, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asking = typer.Typer()
    asking.command()(lambda: typer.confirm("Do it?", abort=True))
    monkeypatch.setattr("worker.cli.commands.app", asking)
    monkeypatch.setattr("sys.argv", ["terminal-worker"])
    monkeypatch.setattr("sys.stdin", answers)
    assert run_command() == code
    assert capsys.readouterr().err.splitlines()[-1] == "error: not confirmed: nothing was done"


def test_what_fails_is_told_in_one_line_that_begins_with_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "worker.demo.run", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command, told in (
            ("topics create", "no answer from 127.0.0.1:1: .+; `terminal-worker check` finds out why"),
            (f"simulate --port {port}", f"cannot listen on 127.0.0.1:{port}: .+"),
            ("demo", r"the demo needs worker\.demo\.run: pip install .+"),
        ):
            result = CliRunner().invoke(app, command.split())
            assert result.exit_code == 1
            assert re.fullmatch(f"error: {told}\n", result.stderr), result.stderr
