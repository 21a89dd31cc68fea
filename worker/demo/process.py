"""The processes of the demo and of the tests: started, watched, killed and always ended by their owner."""

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

_STOP_TIMEOUT = 20.0
_POLL = 0.05
# Nothing here uses TLS, and the authorities that httpx would load cost 25 ms of CPU at each call.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

_given: set[int] = set()


class ProcessFailedError(Exception):
    """A process ended, or did not get ready in time. The message ends with its last words."""


class Process:
    """A child process that runs from now on. Its output is added to the file `log`."""

    def __init__(self, name: str, command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Else Ctrl-C ends it at once, before those who still need it.
            )

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def wait(self, timeout: float = _STOP_TIMEOUT) -> int:
        """The exit code, negative for a signal. Raises ProcessFailedError if it still runs after `timeout` seconds."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still runs after {timeout:.0f} s") from None

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def terminate(self) -> None:
        """Asks it to end, and does not wait."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it, by force if asking does not help. Safe to call twice."""
        self.terminate()
        self.resume()  # A paused process would not see the first signal.
        try:
            self._popen.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def failure(self, what: str) -> ProcessFailedError:
        return ProcessFailedError(f"{self.name} {what}. Its last words: {self.tail() or 'none'}")

    def tail(self, size: int = 2000) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read().decode(errors="replace").strip()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            self._popen.send_signal(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class HttpProcess(Process):
    """A `terminal-worker` command that answers HTTP at `url`."""

    module = "worker"

    def __init__(self, name: str, arguments: list[str], port: int, log: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, [sys.executable, "-m", self.module, *arguments], log, environment)
        self.url = f"http://127.0.0.1:{port}"

    def wait_until_answers(self, path: str, timeout: float) -> None:
        """Returns when `path` answers 200. Raises ProcessFailedError if it ends first, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.running:
                raise self.failure(f"ended with code {self.wait()}")
            if self.get(path) is not None:
                return
            time.sleep(_POLL)
        raise self.failure(f"did not answer {path} within {timeout:.0f} s")

    def get(self, path: str) -> Any:
        """The JSON (else the text) at `path`, or None when there is no good answer now."""
        try:
            answer = httpx.get(f"{self.url}{path}", timeout=10, trust_env=False, verify=_NO_AUTHORITIES)
        except httpx.HTTPError:
            return None
        if answer.status_code != httpx.codes.OK:
            return None
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.json() if is_json else answer.text


class WorkerProcess(HttpProcess):
    """`terminal-worker run` with this environment."""

    def __init__(self, name: str, log: Path, environment: Mapping[str, str]) -> None:
        (port,) = free_ports(1)
        served = {"WORKER_HTTP_HOST": "127.0.0.1", "WORKER_HTTP_PORT": str(port)}
        super().__init__(name, ["run"], port, log, {**environment, **served})

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        self.wait_until_answers("/readyz", timeout)


class SimulatorProcess(HttpProcess):
    """`terminal-worker simulate` with these options: the API, on loopback."""

    def __init__(self, log: Path, *options: str) -> None:
        (port,) = free_ports(1)
        arguments = ["simulate", "--host", "127.0.0.1", "--port", str(port), *options]
        super().__init__("the simulator", arguments, port, log, clean_environment())

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        self.wait_until_answers("/_simulator", timeout)

    def change(self, settings: Mapping[str, Any]) -> None:
        """Gives it other settings, by their names in `worker.simulator.settings`; the rest stay."""
        httpx.put(f"{self.url}/_simulator", json=dict(settings), timeout=30, trust_env=False).raise_for_status()


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the worker: what a child gets is said by its starter alone.

    Without proxies too: what a child asks for is on loopback.
    """
    ours = ("KAFKA_", "DINTERO_", "WORKER_", "OTEL_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}


def free_ports(count: int) -> list[int]:
    """Loopback ports, free just now, below the range of outgoing connections.

    From within that range, a client that keeps calling a stopped server can be given the server's own port and
    connect to itself: the server could not come back. None is given twice: it may not be listened on yet.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            ports.append(port)
    return ports
