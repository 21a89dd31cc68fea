"""The system on one machine: a valid file, whose parts fit each other and the worker."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.deploy.test_manifests import SETTINGS, TELEMETRY
from tests.deploy.tools import ROOT, TOOLS, run
from worker.cli.commands import app
from worker.settings import load

COMPOSE = ROOT / "deploy" / "compose"
_ADDRESS = re.compile(r"(?:https?://)?([a-z][a-z0-9-]*):\d{2,5}")


def read(name: str) -> Any:
    return yaml.safe_load((COMPOSE / name).read_text())


def parsed(file: Path) -> tuple[int, str]:
    return run(TOOLS / "bin" / "cmd", "-format", "json", file, folder=COMPOSE)


@pytest.fixture(scope="module")
def services(go_tools: None) -> dict[str, Any]:
    """Every service, as the Compose Specification's own reader understands it."""
    code, output = parsed(COMPOSE / "compose.yaml")
    assert code == 0, output
    services: dict[str, Any] = json.loads(output)["services"]
    return services


@pytest.fixture(scope="module")
def ours(services: dict[str, Any]) -> dict[str, Any]:
    """The services of our image."""
    return {name: service for name, service in services.items() if "build" in service}


@pytest.mark.usefixtures("go_tools")
def test_a_misspelt_field_is_noticed(tmp_path: Path) -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    assert "read_only:" in text
    broken = tmp_path / "compose.yaml"
    broken.write_text(text.replace("read_only:", "readonly:"))
    assert parsed(broken)[0] != 0


def test_the_whole_system_is_there(services: dict[str, Any]) -> None:
    wanted = {"kafka", "topics", "simulator", "worker", "otel-collector", "jaeger", "prometheus", "grafana"}
    assert wanted <= set(services)
    assert services["worker"]["deploy"]["replicas"] == 3


def test_every_service_that_one_waits_for_exists(services: dict[str, Any]) -> None:
    awaited = {name for service in services.values() for name in service.get("depends_on", {})}
    assert awaited >= {"kafka", "topics"}
    assert awaited <= set(services)


def test_every_file_and_folder_that_is_mounted_exists(services: dict[str, Any]) -> None:
    binds = [
        mount["source"]
        for service in services.values()
        for mount in service.get("volumes", [])
        if mount["type"] == "bind"
    ]
    assert len(binds) == 6
    secrets = [str(COMPOSE / secret["file"]) for secret in read("compose.yaml")["secrets"].values()]
    assert [path for path in binds + secrets if not Path(path).exists()] == []


def test_every_service_of_ours_runs_one_image_that_is_built_of_the_checkout(ours: dict[str, Any]) -> None:
    assert {service["image"] for service in ours.values()} == {"terminal-operations-worker:compose"}
    assert {Path(service["build"]["context"]) for service in ours.values()} == {ROOT}


def test_our_containers_write_nowhere_but_to_tmp_and_gain_no_rights(ours: dict[str, Any]) -> None:
    for service in ours.values():
        assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])  # noqa: S108
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_variable_of_our_containers_is_a_setting_and_all_are_accepted(
    ours: dict[str, Any], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for service in ours.values():
        environment = service["environment"]
        assert set(environment) <= SETTINGS | TELEMETRY
        assert environment["DINTERO_CLIENT_SECRET_FILE"] == "/run/secrets/dintero"
        load({**environment, "DINTERO_CLIENT_SECRET_FILE": str(secret)})


@pytest.mark.parametrize("name", ["topics", "simulator", "send"])
def test_every_command_has_options_that_exist(ours: dict[str, Any], name: str) -> None:
    service = ours[name]
    arguments = (service.get("entrypoint") or ["terminal-worker"])[1:] + (service.get("command") or [])
    # Options are read before help is shown: an unknown one fails.
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--nonsense", "--help"]).exit_code == 2


def test_every_port_is_published_on_loopback_alone(services: dict[str, Any]) -> None:
    published = [port["host_ip"] for service in services.values() for port in service.get("ports", [])]
    assert len(published) >= 5
    assert set(published) == {"127.0.0.1"}


def test_every_address_is_that_of_a_service(services: dict[str, Any]) -> None:
    texts = [path.read_text() for path in (COMPOSE / "collector.yaml", COMPOSE / "grafana" / "datasources.yaml")]
    texts += [value for service in services.values() for value in service.get("environment", {}).values() if value]
    named = {host for text in texts for host in _ADDRESS.findall(text)} - {"localhost"}
    assert len(named) >= 5
    assert named <= set(services)


def test_the_collector_uses_only_what_it_defines() -> None:
    configuration = read("collector.yaml")
    for pipeline in configuration["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert pipeline[part]
            assert set(pipeline[part]) <= set(configuration[part])


def test_prometheus_finds_every_worker(services: dict[str, Any], ours: dict[str, Any]) -> None:
    (job,) = read("prometheus.yaml")["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert set(discovery["names"]) <= set(services)
    settings = load({**ours["worker"]["environment"], "DINTERO_CLIENT_SECRET_FILE": ""}, dintero_client_secret="-")
    assert discovery["port"] == settings.worker_http_port
