"""The AsyncAPI document, as AsyncAPI's own parser and Spectral judge it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONFIGURATION = ROOT / "deploy" / "schemas"
TOOLS = ROOT / ".tools" / "schemas"
DOCUMENT = ROOT / "schemas" / "generated" / "asyncapi.json"

_INSTALL_TIMEOUT = 600.0
_CHECK_TIMEOUT = 300.0


def run(*command: str, timeout: float = _CHECK_TIMEOUT) -> tuple[int, str]:
    done = subprocess.run(
        command,
        check=False,
        cwd=TOOLS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def tools() -> None:
    """Installed as the lock says, or the test is skipped; in CI it fails."""
    try:
        install()
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no AsyncAPI tools in CI: {error}", pytrace=False)
        pytest.skip(f"no AsyncAPI tools: {error}")


def install() -> None:
    """Raises OSError or SubprocessError when they cannot be installed: Node is missing, or its registry."""
    lock, installed = (CONFIGURATION / "package-lock.json").read_text(), TOOLS / "installed.json"
    shutil.copytree(CONFIGURATION, TOOLS, dirs_exist_ok=True)
    if installed.exists() and installed.read_text() == lock:
        return
    code, output = run("npm", "ci", timeout=_INSTALL_TIMEOUT)
    if code:
        raise OSError(f"npm ci: {output[-300:]}")
    installed.write_text(lock)


def judged(document: Path) -> tuple[tuple[int, str], tuple[int, str]]:
    """Exit code and output of the parser, and of Spectral."""
    spectral = "node_modules/.bin/spectral"
    return (
        run("node", "check.mjs", str(document)),
        run(spectral, "lint", "--ruleset", ".spectral.yaml", "--fail-severity", "hint", "--quiet", str(document)),
    )


@pytest.mark.usefixtures("tools")
def test_the_document_satisfies_asyncapis_parser_and_spectral() -> None:
    parser, spectral = judged(DOCUMENT)
    assert parser == (0, "")
    assert spectral[0] == 0, spectral[1]


@pytest.mark.usefixtures("tools")
def test_both_tools_see_a_mistake(tmp_path: Path) -> None:
    text, good = DOCUMENT.read_text(), '"action": "receive"'
    assert good in text
    broken = tmp_path / "asyncapi.json"
    broken.write_text(text.replace(good, '"action": "listen"'))
    parser, spectral = judged(broken)
    assert (parser[0], spectral[0]) == (1, 1)
    assert "action" in parser[1]
