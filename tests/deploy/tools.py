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
    _install(("go.mod", "go.sum"), ("go", "install", "tool"), {"GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=readonly"})


def install_types() -> None:
    """The operators' types and the compiler of TypeScript."""
    _install(("package.json", "package-lock.json", ".npmrc"), ("npm", "ci"), {})


def _install(files: tuple[str, ...], command: tuple[str, ...], environment: Mapping[str, str]) -> None:
    TOOLS.mkdir(parents=True, exist_ok=True)
    locked = "".join((_LOCKS / name).read_text() for name in files)
    with (TOOLS / "lock").open("w") as file:
        # Another run may be installing: its own time limit ends the wait.
        fcntl.flock(file, fcntl.LOCK_EX)
        installed = TOOLS / f"installed-{command[0]}"
        if installed.exists() and installed.read_text() == locked:
            return
        if shutil.which(command[0]) is None:
            raise ToolError(f"{command[0]} is missing")
        for name in files:
            shutil.copy(_LOCKS / name, TOOLS)
        code, output = run(*command, timeout=_INSTALL_TIMEOUT, environment=environment)
        if code:
            raise ToolError(f"{' '.join(command)}: {output[-300:]}")
        installed.write_text(locked)
