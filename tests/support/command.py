"""The command line as a user runs it: a process, its output and its exit code."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    def rows(self) -> list[dict[str, Any]]:
        """What was printed as a JSON object a line."""
        return [orjson.loads(line) for line in self.out.splitlines()]


def terminal_worker(environment: Mapping[str, str], *arguments: str, typed: str = "") -> Done:
    """Runs `terminal-worker`, with `typed` at its standard input; fails when it takes too long."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        check=False,
        capture_output=True,
        encoding="utf-8",
        env=dict(environment),
        input=typed,
        timeout=_TIMEOUT,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)
