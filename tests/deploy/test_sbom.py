"""The bill of materials tells what the lock installs, and nothing else."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.deploy.tools import ROOT
from worker import __version__

SBOM = runpy.run_path(str(ROOT / "deploy" / "sbom.py"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    output: Path = tmp_path_factory.mktemp("release") / "sbom.cdx.json"
    SBOM["main"](output)
    return output.read_text()


@pytest.fixture(scope="module")
def bill(written: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(written)
    return made


def test_it_is_a_bill_as_the_standard_has_it(written: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None


def test_it_names_this_version_and_every_package_that_linux_installs(bill: dict[str, Any]) -> None:
    assert bill["metadata"]["component"]["version"] == __version__
    lock = (ROOT / "requirements.lock").read_text()
    everywhere = dict(re.findall(r"^(\S+)==(\S+) \\", lock, re.MULTILINE))
    assert {part["name"]: part["version"] for part in bill["components"]} == everywhere


def test_each_package_has_the_hashes_of_the_lock(bill: dict[str, Any]) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    told = [
        each["content"]
        for part in bill["components"]
        for reference in part["externalReferences"]
        for each in reference["hashes"]
    ]
    assert len(told) == len(set(told)) > len(bill["components"])
    assert all(f"--hash=sha256:{content}" in lock for content in told)


def test_everything_is_there_because_the_worker_needs_it(bill: dict[str, Any]) -> None:
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    reached: set[str] = set()
    waiting = [bill["metadata"]["component"]["bom-ref"]]
    while waiting:
        if (one := waiting.pop()) not in reached:
            reached.add(one)
            waiting += needs[one]
    assert reached == needs.keys()


def test_a_package_that_is_installed_in_another_version_is_refused() -> None:
    made = {"components": [{"name": "Typing_Extensions", "version": "1.0", "bom-ref": "one", "purl": "pkg:one"}]}
    told = r"typing-extensions 1\.0 is installed, and 2\.0 is locked: run `make install`"
    with pytest.raises(ValueError, match=told):
        SBOM["bill"](made, {"typing-extensions": ("2.0", [])})
