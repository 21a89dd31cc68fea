"""The tools that judge the manifests: locked, installed once into `.tools/deploy`, called with a time limit."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "deploy"

_LOCKS = Path(__file__).parent / "tools"
_GO_LOCKS = ("go.mod", "go.sum")
_GO_INSTALL = ("go", "install", "tool")
# Go compiles them from source, once.
_INSTALL_TIMEOUT = 1200.0
_TIMEOUT = 60.0


class ToolError(Exception):
    """The tool could not be run or installed, or did not end in time; the message tells a person why."""


def run(
    *command: str | Path,
    given: str = "",
    folder: Path = TOOLS,
    timeout: float = _TIMEOUT,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Exit code and output of a command that gets `given` to read. Raises ToolError."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            check=False,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]}: {error}") from error
    return done.returncode, done.stdout


def require(install: Callable[[], None]) -> None:
    """Skips the test where a tool cannot be had; in CI, where all of these can, it fails."""
    try:
        install()
    except ToolError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"missing in CI: {error}", pytrace=False)
        pytest.skip(str(error))


def install_go_tools() -> None:
    """kustomize, kube-score, and compose-go's own command, which goes by the name of `cmd`."""
    _install("", _GO_LOCKS, _GO_INSTALL, {"GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=readonly"})


def install_promtool() -> None:
    """Prometheus' own checker. Of its ways to find what to scrape it has one: all of them are most of its code."""
    flags = "-mod=readonly -tags=remove_all_sd,enable_dns_sd"
    _install("promtool", _GO_LOCKS, _GO_INSTALL, {"GOBIN": str(TOOLS / "bin"), "GOFLAGS": flags})


def install_types() -> None:
    """The operators' types and the compiler of TypeScript."""
    _install("", ("package.json", "package-lock.json", ".npmrc"), ("npm", "ci"), {})


def _install(part: str, locks: tuple[str, ...], command: tuple[str, ...], environment: Mapping[str, str]) -> None:
    given, folder = _LOCKS / part, TOOLS / part
    folder.mkdir(parents=True, exist_ok=True)
    locked = "".join((given / name).read_text() for name in locks)
    with (TOOLS / "lock").open("w") as file:
        # Another run may be installing: its own time limit ends the wait.
        fcntl.flock(file, fcntl.LOCK_EX)
        installed = folder / f"installed-{command[0]}"
        if installed.exists() and installed.read_text() == locked:
            return
        if shutil.which(command[0]) is None:
            raise ToolError(f"{command[0]} is missing")
        for name in locks:
            shutil.copy(given / name, folder)
        code, output = run(*command, folder=folder, timeout=_INSTALL_TIMEOUT, environment=environment)
        if code:
            raise ToolError(f"{' '.join(command)}: {output[-300:]}")
        installed.write_text(locked)
