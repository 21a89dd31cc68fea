"""The release: one version, packages of the worker alone, and a wheel that works by itself, outside the checkout."""

import json
import os
import re
import sys
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from schemas import files
from tests.deploy.tools import ROOT, run
from worker import __version__
from worker.demo.process import clean_environment

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD_LOCK = ROOT / "requirements-build.lock"
LOCK = ROOT / "requirements.lock"
PACKAGES = ("worker", "schemas")
# All that is in the wheel beside Python and what describes the wheel.
OTHERS = {"schemas/py.typed", "worker/py.typed", "worker/http/page.css", "worker/http/page.html", "worker/http/page.js"}

_UV = ROOT / ".tools" / "bin" / "uv"
_TIMEOUT = 300.0
# It lasts a minute, and longer on a machine under load.
_DEMO_TIMEOUT = 300.0


def done(*command: str | Path, folder: Path = ROOT, timeout: float = _TIMEOUT) -> str:
    """What the command says, once it has ended well."""
    code, output = run(*command, folder=folder, timeout=timeout)
    assert code == 0, output
    return output


def build(into: Path, lock: Path = BUILD_LOCK) -> tuple[int, str]:
    """A wheel straight from the checkout."""
    options = ("--wheel", "--require-hashes", "--build-constraints", lock, "--out-dir", into)
    return run(_UV, "build", *options, ROOT, folder=ROOT, timeout=_TIMEOUT)


def locked(lock: Path) -> dict[str, str]:
    """Version by package, of those that Linux gets."""
    return dict(re.findall(r"^([\w.-]+)==(\S+) \\$", lock.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def dist() -> Path:
    """What is released."""
    done("make", "dist")
    return ROOT / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


class Installed:
    """An environment with nothing but the wheel and what is locked for it, and a folder of its own to work in."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self._wheel = wheel
        self._hash = sha256(wheel.read_bytes()).hexdigest()
        self._environment = folder / "environment"
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        done(_UV, "venv", "--python", sys.executable, self._environment)
        self.install()

    def install(self, extra: str = "", *options: str | Path) -> None:
        """The wheel as well is taken by its hash; what it depends on is in the locks, or the installation fails."""
        wanted = self.folder / "wheel.txt"
        wanted.write_text(f"terminal-operations-worker{extra} @ {self._wheel.as_uri()} --hash=sha256:{self._hash}\n")
        hashed = ("--python", self.python, "--require-hashes", "--requirements", LOCK, "--requirements", wanted)
        done(_UV, "pip", "install", *hashed, *options)

    @property
    def python(self) -> Path:
        return self._environment / "bin" / "python"

    @property
    def packages(self) -> set[str]:
        return {path.name for path in self._environment.glob("lib/python3*/site-packages/*")}

    def run(self, *arguments: str, timeout: float = _TIMEOUT) -> tuple[int, str]:
        """Exit code and output of the installed `terminal-worker`, without any setting."""
        clean = ("env", "--ignore-environment", *(f"{name}={value}" for name, value in clean_environment().items()))
        program = self._environment / "bin" / "terminal-worker"
        return run(*clean, program, *arguments, folder=self.folder, timeout=timeout)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


# -- the version ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["pyproject.toml", "Makefile", "Dockerfile", "deploy/compose/compose.yaml"])
def test_the_version_is_kept_in_the_code_alone(file: str) -> None:
    assert re.search(rf"(?<![\d.!]){re.escape(__version__)}\b", (ROOT / file).read_text()) is None


def test_the_image_is_tagged_and_labelled_with_the_version() -> None:
    command = done("make", "--dry-run", "image")
    assert f"--tag terminal-operations-worker:{__version__} --build-arg VERSION={__version__} " in command


def test_the_newest_of_the_changelog_is_this_version_with_its_date() -> None:
    released = re.findall(r"^## (\S+) - \d{4}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)
    assert released[0] == __version__
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= kinds


def test_the_notes_have_the_changes_of_this_version_and_every_package(dist: Path) -> None:
    notes = (dist / "RELEASE_NOTES.md").read_text()
    newest = re.split(r"^## .+\n", CHANGELOG, flags=re.MULTILINE)[1]
    assert newest.strip() in notes
    rows = re.findall(r"^\| ([\w.-]+) \| (\S+) \| (.+) \| (.+) \|$", notes, re.MULTILINE)
    assert {name: version for name, version, *_ in rows} == locked(LOCK) | {"package": "version"}
    assert {row[0] for row in rows if "**the worker**" in row[3]} == {
        re.split(r"[><=]", dependency)[0] for dependency in PROJECT["project"]["dependencies"]
    }


def test_the_bill_of_materials_names_every_package(dist: Path) -> None:
    bill = json.loads((dist / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert locked(LOCK).items() <= {part["name"]: part["version"] for part in bill["components"]}.items()


# -- the packages ---------------------------------------------------------------------------------------------------


def test_the_wheel_has_the_code_and_the_page_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"terminal_operations_worker-{__version__}-py3-none-any.whl"
    code = {str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    about = f"terminal_operations_worker-{__version__}.dist-info/"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if not name.startswith(about)} == code | OTHERS
    assert f"{about}licenses/LICENSE" in names


def test_the_wheel_made_of_the_sdist_is_the_one_made_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    # `make dist` builds the wheel from its sdist.
    code, output = build(tmp_path)
    assert code == 0, output
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_a_build_tool_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    assert set(PROJECT["build-system"]["requires"]) <= set(PROJECT["dependency-groups"]["build"])
    tampered = tmp_path / "requirements-build.lock"
    text = BUILD_LOCK.read_text()
    start = text.index("hatchling==")
    tampered.write_text(text[:start] + re.sub(r"sha256:\w{8}", "sha256:00000000", text[start:], count=2))
    code, output = build(tmp_path, tampered)
    assert code != 0
    assert "Hash mismatch" in output


# -- the wheel in use -----------------------------------------------------------------------------------------------


def test_the_installed_wheel_tells_its_version(installed: Installed) -> None:
    assert installed.run("--version") == (0, f"terminal-worker {__version__}\n")


def test_the_installed_wheel_writes_the_schemas(installed: Installed) -> None:
    code, output = installed.run("schemas", "--output", "schemas")
    assert code == 0, output
    written = {file.name: file.read_text() for file in (installed.folder / "schemas").iterdir()}
    assert written == files()


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="takes a minute: make release-check")
def test_the_demo_of_the_installed_wheel_keeps_every_promise_and_leaves_nothing_behind(installed: Installed) -> None:
    code, output = installed.run("demo")
    assert code == 1
    assert "pip install 'terminal-operations-worker[demo]'" in output
    installed.install("[demo]", "--constraints", ROOT / "requirements-dev.lock")
    before = installed.packages
    code, output = installed.run("demo", timeout=_DEMO_TIMEOUT)
    assert code == 0, output
    # The real Kafka is the checkout's: without it the demo says so, and goes on.
    assert re.search(r"(needs the project's checkout|Java is).*So: an embedded broker", output, re.DOTALL)
    assert "Every promise was kept." in output
    assert installed.packages == before
