"""The tools that judge the manifests: locked, installed once into `.tools/deploy`, called with a time limit."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "deploy"

_LOCKS = Path(__file__).parent / "tools"
_GO_LOCKS = ("go.mod", "go.sum")
_GO_INSTALL = ("go", "install", "tool")
_PYTHON_LOCK = "requirements.lock"
_UV = str(ROOT / ".tools" / "bin" / "uv")
# Go compiles them from source, once.
_INSTALL_TIMEOUT = 1200.0
_TIMEOUT = 300.0


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
    _install("", _GO_LOCKS, {"GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=readonly"}, _GO_INSTALL)


def install_promtool() -> None:
    """Prometheus' own checker. Of its ways to find what to scrape it has one: all of them are most of its code."""
    flags = "-mod=readonly -tags=remove_all_sd,enable_dns_sd"
    _install("promtool", _GO_LOCKS, {"GOBIN": str(TOOLS / "bin"), "GOFLAGS": flags}, _GO_INSTALL)


def install_types() -> None:
    """The operators' types and the compiler of TypeScript."""
    _install("", ("package.json", "package-lock.json", ".npmrc"), {}, ("npm", "ci"))


def install_checkov() -> None:
    """checkov, in an environment of its own: its hundred packages would hold back the project's."""
    make = (_UV, "venv", "--quiet", "--clear", "--python", sys.executable, ".venv")
    safe = ("--require-hashes", "--only-binary", ":all:")
    fill = (_UV, "pip", "sync", "--quiet", "--python", ".venv", *safe, _PYTHON_LOCK)
    _install("checkov", (_PYTHON_LOCK,), {}, make, fill)


def _install(part: str, locks: tuple[str, ...], environment: Mapping[str, str], *commands: tuple[str, ...]) -> None:
    given, folder = _LOCKS / part, TOOLS / part
    folder.mkdir(parents=True, exist_ok=True)
    locked = "".join((given / name).read_text() for name in locks)
    with (TOOLS / "lock").open("w") as file:
        # Another run may be installing: its own time limit ends the wait.
        fcntl.flock(file, fcntl.LOCK_EX)
        tool = commands[0][0]
        installed = folder / f"installed-{Path(tool).name}"
        if installed.exists() and installed.read_text() == locked:
            return
        if shutil.which(tool) is None:
            raise ToolError(f"{tool} is missing")
        for name in locks:
            shutil.copy(given / name, folder)
        for command in commands:
            code, output = run(*command, folder=folder, timeout=_INSTALL_TIMEOUT, environment=environment)
            if code:
                raise ToolError(f"{' '.join(command)}: {output[-300:]}")
        installed.write_text(locked)
