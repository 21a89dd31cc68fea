"""Rules, dashboard and runbook: current, of one mind with each other and with what a running worker shows."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy import tools
from tests.deploy.tools import ROOT, TOOLS
from tests.support.records import Message
from tests.support.requests import request, terminals
from tests.support.system import System
from tests.support.waiting import until
from worker.domain.outcome import Reason

OBSERVABILITY = ROOT / "deploy" / "observability"
COMPOSE = ROOT / "deploy" / "compose"
RULES = OBSERVABILITY / "rules.yaml"
TESTS = OBSERVABILITY / "rules_test.yaml"
RUNBOOK = (OBSERVABILITY / "RUNBOOK.md").read_text()

_NAME = re.compile(r"\b(?:\w+:)?(?:terminal_operations|messaging|http_client)_[\w:]+")
_CONDITIONS = re.compile(r"by \([^)]*\)|{[^}]*}")
_LABELS = re.compile(r"by \(([^)]*)\)|(\w+)\s*(?:=~|!=|=)\s*\"")
# What Prometheus adds to every series, and to histograms.
_ADDED = {"job", "namespace", "le"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in rules() if "record" in rule}


def dashboard_expressions() -> list[str]:
    dashboard = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    panels = [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", []))]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def sections() -> dict[str, str]:
    """The text under each heading of the second level, by the heading."""
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def promtool() -> Path:
    tools.require(tools.install_promtool)
    return TOOLS / "bin" / "promtool"


# -- what is generated ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "made_by"), [("DASHBOARD", "dashboard_json"), ("PROMETHEUS_RULE", "prometheus_rule")])
def test_what_is_generated_is_current(file: str, made_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(OBSERVABILITY)
    generator = runpy.run_path(str(OBSERVABILITY / "generate.py"))
    assert generator[file].read_text() == generator[made_by](), "run deploy/observability/generate.py"


def test_no_two_panels_lie_on_each_other() -> None:
    panels = json.loads((OBSERVABILITY / "dashboard.json").read_text())["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(panels) > 20
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


# -- rules ----------------------------------------------------------------------------------------------------------


def test_the_rules_are_valid_and_each_alert_fires_when_it_should_and_only_then(promtool: Path) -> None:
    for command in (("check", "rules", RULES), ("test", "rules", TESTS)):
        code, output = tools.run(promtool, *command)
        assert code == 0, output
        assert "SUCCESS" in output


def test_an_alert_that_would_come_too_early_is_noticed(promtool: Path, tmp_path: Path) -> None:
    text = RULES.read_text()
    assert text.count("for: 5m") == 2
    (tmp_path / "rules.yaml").write_text(text.replace("for: 5m", "for: 1m"))
    (tmp_path / "rules_test.yaml").write_text(TESTS.read_text())
    code, output = tools.run(promtool, "test", "rules", tmp_path / "rules_test.yaml")
    assert code != 0
    assert "TerminalOperationsCircuitOpen" in output
    assert "TerminalOperationsNoPartitionOwned" in output


def test_every_alert_is_tested_both_ways() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS)


def test_only_two_severities_are_used_and_unconfirmed_calls_a_person() -> None:
    assert {alert["labels"]["severity"] for alert in ALERTS.values()} == {"critical", "warning"}
    assert ALERTS["TerminalOperationsUnconfirmed"]["labels"]["severity"] == "critical"


# -- runbook --------------------------------------------------------------------------------------------------------


def test_every_alert_and_every_reason_has_its_section_and_there_is_no_other() -> None:
    assert list(sections()) == [*ALERTS, *(reason.value for reason in Reason)]


def test_every_section_says_what_it_means_where_to_look_and_what_to_do() -> None:
    for heading, text in sections().items():
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Means", "Look", "Do"], heading


def test_every_alert_leads_to_its_section() -> None:
    for name, alert in ALERTS.items():
        file, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert ROOT / file == OBSERVABILITY / "RUNBOOK.md"
        assert anchor == name.lower()


# -- a running worker -----------------------------------------------------------------------------------------------


@pytest.fixture
def metrics(system: System) -> str:
    """`/metrics` of a worker that has met a bit of everything."""
    worker = system.start_ready_worker()
    system.simulator.change({"error_before_rate": 1})
    good = [request(terminal) for terminal in terminals(3)]
    system.send([*good, Message(b"", b"no request", (("message-id", b"bad"),))])
    until(lambda: "terminal_operations_retries_total{" in worker.get("/metrics"), 20)
    system.simulator.change({"error_before_rate": 0})
    system.outcomes_of(good)
    system.dead_letters(1)
    text: str = worker.get("/metrics")
    return text


@pytest.mark.kafka
def test_every_expression_names_only_what_a_running_worker_shows(metrics: str, promtool: Path, tmp_path: Path) -> None:
    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    names = {sample.name for sample in samples} | set(RECORDED)
    labels = {label for sample in samples for label in sample.labels} | _ADDED
    expressions = [rule["expr"] for rule in rules()] + dashboard_expressions()
    assert len(expressions) > 50
    for expression in expressions:
        named = set(_NAME.findall(_CONDITIONS.sub("", expression)))
        assert named, expression
        assert named <= names, expression
        used = {label.strip() for by, one in _LABELS.findall(expression) for label in (by or one).split(",")}
        assert used <= labels, expression

    code, output = tools.run(promtool, "check", "metrics", given=metrics)
    assert (code, output) == (0, "")
    # The dashboard's expressions are PromQL, once Grafana has put its own words in.
    ready = [one.replace("$__rate_interval", "5m").replace("$job", ".*") for one in dashboard_expressions()]
    file = tmp_path / "dashboard.yaml"
    file.write_text(
        json.dumps(
            {
                "groups": [
                    {
                        "name": "dashboard",
                        "rules": [{"record": "x", "expr": one, "labels": {"n": str(n)}} for n, one in enumerate(ready)],
                    }
                ]
            }
        )
    )
    code, output = tools.run(promtool, "check", "rules", file)
    assert code == 0, output


# -- where they are used --------------------------------------------------------------------------------------------


def test_compose_loads_the_rules_and_the_dashboard(promtool: Path) -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    mounted = {
        service: {
            target: (COMPOSE / source).resolve()
            for source, target, _ in (v.split(":") for v in services[service]["volumes"])
        }
        for service in ("prometheus", "grafana")
    }
    configuration = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())
    assert [mounted["prometheus"][path] for path in configuration["rule_files"]] == [RULES]
    (provider,) = yaml.safe_load((COMPOSE / "grafana" / "dashboards.yaml").read_text())["providers"]
    shown = [
        file for path, file in mounted["grafana"].items() if Path(path).parent == Path(provider["options"]["path"])
    ]
    assert shown == [OBSERVABILITY / "dashboard.json"]
    code, output = tools.run(promtool, "check", "config", "--syntax-only", COMPOSE / "prometheus.yaml")
    assert code == 0, output
