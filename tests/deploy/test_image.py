"""The image: small, without tools, and a worker that needs nothing but /tmp and stops when it is told."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import tools
from tests.deploy.container import Container, ContainerProcess, build
from tests.support.requests import request, statuses, terminals
from tests.support.system import System
from worker import __version__

DOCKERFILE = (tools.ROOT / "Dockerfile").read_text()
# With 125 MB of the official base, under 200 MB.
_MOST_ADDED = 75_000_000


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    try:
        build()
        container = Container()
    except tools.ToolError as error:
        # In CI too: these are a Debian's packages, and not of every machine.
        pytest.skip(str(error))
    yield container
    container.close()


def run(container: Container, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        container.command(*command), check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def test_hadolint_finds_nothing_to_say() -> None:
    assert tools.run(Path(sys.executable).parent / "hadolint", tools.ROOT / "Dockerfile") == (0, "")


def test_the_base_is_pinned_and_uv_is_that_of_the_checkout() -> None:
    assert re.search(r"^ARG BASE=docker\.io/\S+:3\.13-slim@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}"}
    (version,) = re.findall(r"^UV_VERSION := (\S+)", (tools.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"ARG UV_VERSION={version}\n" in DOCKERFILE


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_every_locked_package_has_a_wheel_for_both_architectures(architecture: str, tmp_path: Path) -> None:
    options = ("--dry-run", "--quiet", "--require-hashes", "--only-binary", ":all:", "--target", tmp_path)
    platform = ("--python-platform", f"{architecture}-manylinux_2_28", "--python-version", "3.13")
    uv = tools.ROOT / ".tools" / "bin" / "uv"
    assert tools.run(
        uv, "pip", "install", *options, *platform, "--requirements", tools.ROOT / "requirements.lock", folder=tmp_path
    ) == (0, "")


def test_it_is_described_and_runs_the_worker_as_nobody_in_particular(container: Container) -> None:
    config = container.config
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("10001:10001", ["terminal-worker"], ["run"])
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert "Healthcheck" not in config
    assert run(container, "id", "-u").stdout == "10001\n"


def test_only_tmp_can_be_written(container: Container) -> None:
    assert run(container, "touch", "/tmp/file").returncode == 0  # noqa: S108
    for place in ("/file", "/app/file", "/home/file", "/var/tmp/file"):  # noqa: S108
        assert "Read-only file system" in run(container, "touch", place).stderr


def test_what_builds_and_installs_is_not_in_it(container: Container) -> None:
    tools_of_the_build = ("pip", "pip3", "uv", "gcc", "cc", "ld", "strip", "git")
    found = run(container, "sh", "-c", f"command -v {' '.join(tools_of_the_build)}; python3 -m pip; ls /uv /build")
    assert found.stdout == ""
    assert "No module named pip" in found.stderr
    packages = {path.name.split("-")[0] for path in container.root.glob("app/lib/python3*/site-packages/*.dist-info")}
    assert {"aiokafka", "terminal_operations_worker"} <= packages
    assert packages.isdisjoint({"pip", "setuptools", "hatchling", "pytest", "mypy", "confluent_kafka"})


def test_it_adds_little_to_its_base(container: Container) -> None:
    files = [path for path in container.root.joinpath("app").rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < _MOST_ADDED


@pytest.mark.kafka
def test_it_runs_requests_and_on_sigterm_it_drains_and_exits_with_0(
    container: Container, system: System, tmp_path: Path
) -> None:
    names = ("KAFKA_", "DINTERO_", "WORKER_")
    environment = {name: value for name, value in system.environment().items() if name.startswith(names)}
    with ContainerProcess(container, tmp_path / "image.log", environment) as worker:
        worker.wait_until_answers("/livez", 30)
        system.simulator.wait_until_ready()
        worker.wait_until_answers("/readyz", 30)
        requests = [request(terminal) for terminal in terminals(5)]
        system.send(requests)
        outcomes = system.outcomes_of(requests)
        assert list(statuses(outcomes).values()) == [["created", "completed"]] * 5
        worker.terminate()
        assert worker.wait() == 0
        assert '"worker_stopped"' in worker.tail()
