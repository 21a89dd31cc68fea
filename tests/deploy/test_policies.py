"""Every overlay, held to checkov's policies: what it finds is mended, or a deliberate exception."""

import copy
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.deploy import tools
from tests.deploy.manifests import OVERLAYS, Manifests, render
from tests.deploy.tools import TOOLS, run

WORKER, JOB = "Deployment/terminal-operations-worker", "CronJob/end-of-day"

_THROTTLED = "Throttled past its session timeout, a worker would be put out of the group."
_UNNAMED = "The registry is the user's, and gives the digest, which an overlay then names."
_PULLED = "A registry that is down must not keep a pod from starting; with a digest this passes."
EXCEPTIONS = {
    ("CKV_K8S_11", WORKER): _THROTTLED,
    ("CKV_K8S_15", WORKER): _PULLED,
    ("CKV_K8S_15", JOB): _PULLED,
    ("CKV_K8S_43", WORKER): _UNNAMED,
    ("CKV_K8S_43", JOB): _UNNAMED,
}


class Verdict(NamedTuple):
    """What checkov says of one rendering: the policies that failed, each with its resource, and how many did not."""

    failed: set[tuple[str, str]]
    passed: int
    # By annotations of the resources, which would be exceptions that nobody sees.
    skipped: int
    unread: int


def judge(manifests: Manifests, folder: Path) -> Verdict:
    """Alone: one rendering's network policies would stand for another's. Asks no network, reads no user's settings."""
    given = folder / "manifests.yaml"
    given.write_text("\n---\n".join(json.dumps(document) for document in manifests))
    options = ("--framework", "kubernetes", "--skip-download", "--quiet", "--compact", "--output", "json")
    environment = {"BC_API_KEY": "", "CKV_SKIP_PACKAGE_UPDATE_CHECK": "true", "HOME": str(folder)}
    command = (TOOLS / "checkov" / ".venv" / "bin" / "checkov", *options, "--output-file-path", folder, "--file", given)
    code, output = run(*command, environment=environment)
    assert code in (0, 1), output
    report = json.loads((folder / "results_json.json").read_text())
    failed = set()
    for check in report["results"]["failed_checks"]:
        kind, _, name = check["resource"].split(".", 2)
        failed.add((check["check_id"], f"{kind}/{name}"))
    summary = report["summary"]
    return Verdict(failed, summary["passed"], summary["skipped"], summary["parsing_errors"])


@pytest.fixture(scope="session")
def checkov() -> None:
    tools.require(tools.install_checkov)


@pytest.fixture(scope="session")
def verdicts(go_tools: None, checkov: None, tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    """Of every overlay."""
    return [judge(render(overlay), tmp_path_factory.mktemp(overlay.name)) for overlay in OVERLAYS]


def test_no_policy_is_broken_but_by_a_deliberate_exception(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        assert verdict.failed - set(EXCEPTIONS) == set()
        assert (verdict.skipped, verdict.unread) == (0, 0)
        assert verdict.passed > 50


def test_every_exception_is_still_needed(verdicts: list[Verdict]) -> None:
    assert set(EXCEPTIONS) - set().union(*(verdict.failed for verdict in verdicts)) == set()


@pytest.mark.usefixtures("checkov")
def test_a_privileged_container_is_refused(production: Manifests, tmp_path: Path) -> None:
    broken = Manifests(copy.deepcopy(document) for document in production if document["kind"] != "NetworkPolicy")
    _, container = broken.worker
    container["securityContext"]["privileged"] = True
    del container["resources"]["limits"]
    found = {check for check, _ in judge(broken, tmp_path).failed - set(EXCEPTIONS)}
    # Privileged, without a limit on memory, and open to every pod.
    assert found == {"CKV_K8S_16", "CKV_K8S_13", "CKV2_K8S_6"}
