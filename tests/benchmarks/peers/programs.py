"""The programs that are compared, and the API they call: how each is built and started."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.topics import Topics
from tests.support.waiting import until
from worker.demo.process import Process, clean_environment

_HERE = Path(__file__).parent
_BUILD_TIMEOUT = 900.0
_START_TIMEOUT = 30.0
OPERATION_TAKES = 0.2
POLL_DELAY = 0.5
"""Seconds from `created` to the poll, for every program. The operation has ended by then: one poll is enough."""
_NEVER = "50m"
"""No poll while a run lasts. Under the completion timeout of an hour."""
IN_FLIGHT = 64


Mode = Literal["create", "lifecycle"]


class NotBuiltError(Exception):
    """The message tells a person what is missing."""


@dataclass(frozen=True, slots=True)
class Program:
    """`build` makes what is needed in a folder and gives the command. `share`: of the requests, at full load."""

    name: str
    build: Callable[[Path], list[str]]
    share: float = 1.0
    modes: tuple[Mode, ...] = ("create", "lifecycle")


class Running(Process):
    """A program, or the API."""

    @property
    def pid(self) -> int:
        return self._popen.pid

    def assert_running(self) -> None:
        if not self.running:
            raise self.failure(f"ended with code {self.wait()}")


def start_api(command: list[str], log: Path) -> tuple[Running, str]:
    """The stand-in and its address, which ends the first line it prints."""
    api = Running("the API", command, log, clean_environment())
    try:
        address = until(lambda: _first_line(log), _START_TIMEOUT, api.tail).split()[-1]
    except BaseException:
        api.stop()
        raise
    return api, address


def build_api(folder: Path) -> list[str]:
    """The stand-in in Go; the simulator where Go is missing, whose `updated_at` is when the operation ended."""
    seconds = str(OPERATION_TAKES)
    try:
        return [_go("api", folder), "-after", f"{seconds}s"]
    except NotBuiltError as error:
        print(f"The simulator stands in for the API: {error}", file=sys.stderr)
        options = ["--no-busy", "--completion-min", seconds, "--completion-max", seconds]
        return [sys.executable, "-m", "worker", "simulate", "--port", "0", *options]


def environment(bootstrap: str, topics: Topics, api: str, *, lifecycle: bool) -> dict[str, str]:
    """Of every program: the worker's own settings, and for the others one more."""
    delay = f"{POLL_DELAY}s" if lifecycle else _NEVER
    return {
        **clean_environment(),
        **topics.environment(),
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA_GROUP_ID": topics.requests,
        "DINTERO_BASE_URL": api,
        "DINTERO_ACCOUNT_ID": "P11223351",
        "DINTERO_CLIENT_ID": "client",
        "DINTERO_CLIENT_SECRET": "secret",
        "DINTERO_MAX_IN_FLIGHT": str(IN_FLIGHT),
        "WORKER_POLL_INITIAL_DELAY": delay,
        "WORKER_POLL_MAX_DELAY": delay,
        "WORKER_BACKLOG_LIMIT": "100000",
        "WORKER_HTTP_HOST": "127.0.0.1",
        "WORKER_HTTP_PORT": "0",
        "WORKER_LOG_LEVEL": "WARNING",
        "OTEL_SDK_DISABLED": "true",
        "POLL_DELAY": str(POLL_DELAY) if lifecycle else "0",
    }


def _bento(folder: Path) -> list[str]:
    return [_go("bento", folder), "run", str(_HERE / "bento" / "config.yaml")]


def _parallel_consumer(folder: Path) -> list[str]:
    source, out = _HERE / "parallel_consumer", folder / "parallel_consumer"
    jars = f"-DoutputDirectory={out / 'jars'}"
    _run(["mvn", "-q", "-B", "-f", str(source / "pom.xml"), "dependency:copy-dependencies", jars])
    _run(["javac", "-cp", f"{out / 'jars'}/*", "-d", str(out), str(source / "Peer.java")])
    return [
        "java",
        "-Xmx512m",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        f"{out}:{out / 'jars'}/*",
        "Peer",
    ]


def _go(name: str, folder: Path) -> str:
    binary = folder / name
    _run(["go", "build", "-trimpath", "-o", str(binary), "."], _HERE / name)
    return str(binary)


def _run(command: list[str], folder: Path | None = None) -> None:
    if shutil.which(command[0]) is None:
        raise NotBuiltError(f"{command[0]} is missing")
    try:
        subprocess.run(command, cwd=folder, env=os.environ, check=True, capture_output=True, timeout=_BUILD_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise NotBuiltError(f"{command[0]} took over {_BUILD_TIMEOUT:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise NotBuiltError((error.stderr + error.stdout).decode(errors="replace").strip()[-600:]) from None


def _first_line(log: Path) -> str | None:
    text = log.read_text()
    return text.partition("\n")[0] if "\n" in text else None


def _module(name: str) -> Callable[[Path], list[str]]:
    return lambda _: [sys.executable, "-m", name]


WORKER = Program("worker", lambda _: [sys.executable, "-m", "worker", "run"])
FLOOR = Program("floor", _module("tests.benchmarks.peers.floor"))
FASTSTREAM = Program("FastStream", _module("tests.benchmarks.peers.faststream_worker"), share=0.1)
BENTO = Program("Bento", _bento, modes=("create",))
PARALLEL_CONSUMER = Program("Parallel Consumer", _parallel_consumer, modes=("create",))
