"""Writes what is made from other files here: the dashboard, and the Prometheus operator's form of the rules.

.venv/bin/python deploy/observability/generate.py
"""

import json
from pathlib import Path

import yaml
from grafana_foundation_sdk.builders import dashboard, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, VariableRefresh
from panels import SOURCE, number, plot, quantiles

HERE = Path(__file__).parent
DASHBOARD = HERE / "dashboard.json"
RULES = HERE / "rules.yaml"
PROMETHEUS_RULE = HERE.parent / "kustomize" / "components" / "prometheus-rules" / "prometheusrule.yaml"


def main() -> None:
    DASHBOARD.write_text(dashboard_json())
    PROMETHEUS_RULE.parent.mkdir(exist_ok=True)
    PROMETHEUS_RULE.write_text(prometheus_rule())


def prometheus_rule() -> str:
    """rules.yaml as the operator's resource."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "terminal-operations-worker"},
        "spec": yaml.safe_load(RULES.read_text()),
    }
    head = "# Made by deploy/observability/generate.py from rules.yaml beside it: change that.\n"
    return head + yaml.safe_dump(resource, sort_keys=False, width=120)


def dashboard_json() -> str:
    built = (
        dashboard.Dashboard("Terminal operations")
        .uid("terminal-operations")
        .description("What people wait for, where it waits, and why.")
        .tags(["kafka", "terminal-operations"])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_job())
    )
    for title, panels in ROWS:
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(panel)
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _job() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("job")
        .label("Workers")
        .datasource(SOURCE)
        .query("label_values(terminal_operations_build_info, job)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
    )


ROWS: list[tuple[str, list[stat.Panel | timeseries.Panel]]] = [
    (
        "Now",
        [
            number(
                "Lag",
                "sum(job:terminal_operations_lag:sum{WORKERS})",
                warn=100,
                bad=10_000,
                says="Requests on the topic that no worker has taken in.",
            ),
            number(
                "Backlog",
                "sum(job:terminal_operations_backlog:sum{WORKERS})",
                says="Requests taken in and not finished.",
            ),
            number(
                "Oldest pending",
                "max(terminal_operations_oldest_pending_age_seconds{WORKERS})",
                "s",
                warn=600,
                bad=2700,
                says="How long the slowest terminal has not answered. After WORKER_COMPLETION_TIMEOUT: unconfirmed.",
            ),
            number(
                "Circuits open",
                "sum(job:terminal_operations_circuit_open:sum{WORKERS})",
                bad=1,
                says="Accounts whose API is not asked, counted in each worker.",
            ),
            number(
                "Partitions halted",
                'sum(terminal_operations_partitions{WORKERS, state="halted"})',
                bad=1,
                says="Stopped until a person decides; /status says why.",
            ),
            number(
                "Unconfirmed in 24 h",
                'round(sum(increase(terminal_operations_outcomes_total{WORKERS, reason="unconfirmed"}[24h])))',
                bad=1,
                says="Each may have run. A person looks: terminal-worker unconfirmed list.",
            ),
        ],
    ),
    (
        "Requests",
        [
            plot(
                "Outcomes",
                (
                    "sum by (status, reason) (job_status_reason:terminal_operations_outcomes:rate5m{WORKERS})",
                    "{{status}} {{reason}}",
                ),
                unit="cps",
                says="Events committed each second.",
            ),
            plot(
                "From request to final outcome",
                *quantiles("terminal_operations_operation_duration_seconds"),
                unit="s",
                says="From the time of the request's record. Terminals take seconds to minutes.",
            ),
            plot(
                "Where requests are",
                ("sum(terminal_operations_lag{WORKERS})", "on the topic"),
                ("sum(terminal_operations_queued{WORKERS})", "behind others of their terminal"),
                ("sum(terminal_operations_pending{WORKERS})", "pending on a terminal"),
                ("sum(terminal_operations_backlog{WORKERS})", "all that were taken in"),
                says="Lag is what was not taken in; the rest is in the ledger.",
            ),
            plot(
                "Oldest pending",
                ("max by (partition) (terminal_operations_oldest_pending_age_seconds{WORKERS})", "{{partition}}"),
                unit="s",
                says="By partition.",
            ),
            plot(
                "Taken in, and turned away",
                ("sum(rate(messaging_client_consumed_messages_total{WORKERS}[$__rate_interval]))", "consumed"),
                ("sum(rate(terminal_operations_duplicates_total{WORKERS}[$__rate_interval]))", "duplicates"),
                (
                    "sum by (reason) (rate(terminal_operations_dead_letters_total{WORKERS}[$__rate_interval]))",
                    "dead letters, {{reason}}",
                ),
                ("sum(rate(terminal_operations_misrouted_total{WORKERS}[$__rate_interval]))", "misrouted"),
                unit="cps",
                says="Misrouted requests break the order of their terminal: their key is not its id.",
            ),
            plot(
                "Partitions",
                ("sum by (state) (terminal_operations_partitions{WORKERS})", "{{state}}"),
                ("sum(terminal_operations_paused{WORKERS})", "full, paused"),
                says="One that is full takes nothing in until something of it ends.",
            ),
        ],
    ),
    (
        "The API",
        [
            plot(
                "Calls",
                (
                    "sum by (http_request_method, http_response_status_code, error_type) "
                    "(rate(http_client_request_duration_seconds_count{WORKERS}[$__rate_interval]))",
                    "{{http_request_method}} {{http_response_status_code}} {{error_type}}",
                ),
                unit="reqps",
                says="By what came of them; without a status nobody answered.",
                stacked=True,
            ),
            plot(
                "Time to answer",
                *quantiles("http_client_request_duration_seconds"),
                unit="s",
                says="Of all calls, the token's too.",
            ),
            plot(
                "Asked again",
                ("sum by (cause) (rate(terminal_operations_retries_total{WORKERS}[$__rate_interval]))", "{{cause}}"),
                unit="cps",
                says="By cause. circuit_open: not asked at all.",
                stacked=True,
            ),
            plot(
                "Circuits",
                ("max by (account) (terminal_operations_circuit_open{WORKERS})", "{{account}}"),
                says="1 while an account's API is not asked.",
            ),
            plot(
                "Budget",
                ("sum(terminal_operations_budget_limit{WORKERS})", "allowed at once"),
                ("sum(terminal_operations_budget_in_flight{WORKERS})", "under way"),
                ("sum(terminal_operations_budget_waiting{WORKERS})", "waiting"),
                says="Calls of all accounts. The limit halves on trouble and recovers step by step.",
            ),
        ],
    ),
    (
        "Kafka",
        [
            plot(
                "Commits",
                *quantiles("terminal_operations_commit_duration_seconds"),
                unit="s",
                says="A commit is one transaction.",
            ),
            plot("Records of a commit", *quantiles("terminal_operations_commit_size"), says="More under load."),
            plot(
                "From record to commit",
                *quantiles("messaging_process_duration_seconds"),
                unit="s",
                says="From a request's arrival until it is safe in the ledger.",
            ),
            plot(
                "Calls of the brokers that failed",
                (
                    "sum by (messaging_operation_name, error_type) "
                    '(rate(messaging_client_operation_duration_seconds_count{WORKERS, error_type!=""}[5m]))',
                    "{{messaging_operation_name}} {{error_type}}",
                ),
                unit="cps",
                says="send is a commit; commit is that of group offsets, whose failure costs nothing.",
            ),
            plot(
                "Engines ended by a doubt",
                ("sum by (kind) (increase(terminal_operations_engine_failures_total{WORKERS}[5m]))", "{{kind}}"),
                says="In five minutes. Each is followed by a restore.",
            ),
            plot(
                "Restores",
                *quantiles("terminal_operations_restore_duration_seconds"),
                unit="s",
                says="Reading a partition back from its ledger.",
            ),
        ],
    ),
]

if __name__ == "__main__":
    main()
