"""Ctrl-C at any moment ends a command without a traceback: also while Python still loads it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_TIMEOUT = 30.0
_SETTINGS = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "DINTERO_ACCOUNT_ID": "P11223351",
    "DINTERO_CLIENT_ID": "client",
    "DINTERO_CLIENT_SECRET": "secret",
    "WORKER_HTTP_HOST": "127.0.0.1",
    "WORKER_HTTP_PORT": "0",
}
LOADING = ("typer.main", "pydantic.main", "aiokafka.conn", "worker.cli.request")


# Python loads it before all else. The signal comes from within: one from outside could come when the command is over.
_AT_THE_MOMENT = """
import os, signal, sys

class Moment:
    def find_spec(self, name, *_):
        if name == os.environ["MOMENT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Moment())
"""


def interrupted(arguments: str, moment: str, folder: Path) -> tuple[int, str]:
    """The exit code of a command that gets SIGINT when it begins to load a module of that name, and what it said."""
    (folder / "sitecustomize.py").write_text(_AT_THE_MOMENT)
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments.split()],
        check=False,
        env={**os.environ, **_SETTINGS, "PYTHONPATH": str(folder), "MOMENT": moment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("moment", LOADING)
@pytest.mark.parametrize("arguments", ["run", "--help"])
def test_a_command_that_is_interrupted_while_it_loads_says_nothing(arguments: str, moment: str, tmp_path: Path) -> None:
    assert interrupted(arguments, moment, tmp_path) == (130, "")


@pytest.mark.parametrize("moment", ["uvicorn.config", "worker.engine", "worker.runtime"])
def test_a_worker_that_is_interrupted_while_it_starts_ends_in_order(moment: str, tmp_path: Path) -> None:
    code, said = interrupted("run", moment, tmp_path)
    assert code in (0, 130)
    assert "Traceback" not in said


def test_a_simulator_that_is_interrupted_stops(tmp_path: Path) -> None:
    code, said = interrupted("simulate --port 0", "worker.cli.commands", tmp_path)
    assert code in (0, 130)
    assert "Traceback" not in said


def test_a_command_whose_caller_ignores_ctrl_c_goes_on(tmp_path: Path) -> None:
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it runs in the background
    try:
        code, told = interrupted("schemas asyncapi.json", LOADING[0], tmp_path)
    finally:
        signal.signal(signal.SIGINT, ours)
    assert code == 0
    assert "asyncapi" in told
