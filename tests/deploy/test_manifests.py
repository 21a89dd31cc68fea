"""Every overlay, rendered: valid, complete in itself, safe, and of one mind with the worker."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from opentelemetry import environment_variables as api_variables
from opentelemetry.sdk import environment_variables as sdk_variables
from opentelemetry.sdk.resources import Resource

from schemas import PlainRequest
from tests.deploy.manifests import KUSTOMIZE, OVERLAYS, Document, Manifests, mounted
from tests.deploy.tools import TOOLS, run
from worker import __version__, runtime
from worker.settings import SECRETS, Settings, load
from worker.telemetry.metrics import Metrics, PartitionFigures

# The four that are supported.
VERSIONS = ("1.34", "1.35", "1.36", "1.37")
TYPES = {
    "keda.sh/v1alpha1": "keda/keda.sh/v1alpha1",
    "monitoring.coreos.com/v1": "prometheus-operator/monitoring.coreos.com/v1",
    # The newest that is published; what is used of it is the same in v1.
    "external-secrets.io/v1": "external-secrets/external-secrets.io/v1beta1",
}
# No npm package has these types: test_kafka.py reads them whole.
UNTYPED = "kafka.strimzi.io/v1"

SETTINGS = {name.upper() for name in Settings.model_fields} | {f"{name}_FILE" for name in SECRETS}
TELEMETRY = {name for name in {**vars(api_variables), **vars(sdk_variables)} if name.startswith("OTEL_")}


def problems_of(documents: list[Document], version: str) -> list[str]:
    found = []
    for document in documents:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{document['kind']}: {error.message}")
    return found


def is_custom(document: Document) -> bool:
    return document["apiVersion"] in {*TYPES, UNTYPED}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_with_no_field_unknown(manifests: Manifests, version: str) -> None:
    documents = [document for document in manifests if not is_custom(document)]
    assert len(documents) >= 6
    assert problems_of(documents, version) == []


def test_a_misspelt_field_is_noticed(production: Manifests) -> None:
    deployment = copy.deepcopy(production.the("Deployment"))
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    assert "terminationGracePeriod" in problems_of([deployment], VERSIONS[-1])[0]


def mistyped(documents: list[Document]) -> str:
    """What TypeScript's compiler says of them as values of their operators' types, unknown fields included."""
    lines = []
    for number, document in enumerate(documents):
        package = TYPES[document["apiVersion"]]
        typed = copy.deepcopy(document) | {"apiVersion": package.split("/", 1)[1]}
        # Newer than the published types (KEDA 2.17).
        behavior = typed["spec"].get("fallback", {}).pop("behavior", "currentReplicasIfHigher")
        assert behavior == "currentReplicasIfHigher"
        lines += [
            f'import type {{ I{document["kind"]} as T{number} }} from "@kubernetes-models/{package}";',
            f"export const resource{number}: T{number} = {json.dumps(typed)};",
        ]
    source = TOOLS / "manifests.ts"
    source.write_text("\n".join(lines))
    options = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--types", "")
    return run(TOOLS / "node_modules" / ".bin" / "tsc", *options, source)[1]


@pytest.mark.usefixtures("types")
def test_custom_resources_have_the_fields_and_types_of_their_operators(production: Manifests) -> None:
    custom = [document for document in production if document["apiVersion"] in TYPES]
    assert {document["kind"] for document in custom} >= {"ScaledObject", "PodMonitor", "ExternalSecret"}
    assert mistyped(custom) == ""
    for document in custom:
        broken = copy.deepcopy(document)
        broken["spec"]["misspelt"] = 1
        assert "misspelt" in mistyped([broken])


def test_nothing_critical_is_found_by_kube_score(manifests: Manifests) -> None:
    text = "\n---\n".join(json.dumps(document) for document in manifests)
    options = (
        # Throttled past its session timeout, a worker would be put out of the group.
        "--ignore-container-cpu-limit",
        # A registry that is down must not keep a worker from starting again.
        *("--ignore-test", "container-image-pull-policy"),
        *("--kubernetes-version", f"v{VERSIONS[-1]}"),
        *("--output-format", "ci"),
    )
    code, output = run(TOOLS / "bin" / "kube-score", "score", *options, "-", given=text)
    assert [line for line in output.splitlines() if line.startswith("[CRITICAL]")] == []
    assert code == 0


def test_all_resources_of_an_overlay_are_in_its_namespace(manifests: Manifests) -> None:
    assert len({document["metadata"].get("namespace") for document in manifests} - {None}) == 1
    assert all("namespace" in document["metadata"] for document in manifests)


def test_every_pod_runs_without_rights(manifests: Manifests) -> None:
    for template, container in manifests.pods:
        pod, own = template["spec"], container["securityContext"]
        assert pod["automountServiceAccountToken"] is False
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108


def test_every_pod_runs_the_image_of_this_version(manifests: Manifests) -> None:
    assert {container["image"] for _, container in manifests.pods} == {f"terminal-operations-worker:{__version__}"}


def test_every_variable_of_a_pod_is_a_setting(manifests: Manifests) -> None:
    for _, container in manifests.pods:
        environment = manifests.environment(container)
        used = {name for value in environment.values() for name in re.findall(r"\$\((\w+)\)", value)}
        assert set(environment) - used <= SETTINGS | TELEMETRY
        assert used <= set(environment)


def test_the_settings_of_every_pod_are_accepted(manifests: Manifests, tmp_path: Path) -> None:
    for template, container in manifests.pods:
        environment, files = manifests.environment(container), mounted(template)
        for name, value in environment.items():
            if value.startswith("/secrets/"):
                assert value in files
                secret = tmp_path / Path(value).name
                secret.write_text("secret")
                environment[name] = str(secret)
        settings = load(environment, api=container["name"] == "worker")
        assert (settings.kafka_security_protocol, settings.worker_delivery) == ("SASL_SSL", "exactly_once")
        users = [user["metadata"]["name"] for user in manifests.of_kind("KafkaUser")]
        # Strimzi's secret has its user's name.
        assert settings.kafka_sasl_username == files["/secrets/kafka-password"]
        assert settings.kafka_sasl_username in users


def test_every_secret_that_is_used_is_made_by_someone(manifests: Manifests) -> None:
    made = {user["metadata"]["name"] for user in manifests.of_kind("KafkaUser")}
    made |= {secret["spec"]["target"]["name"] for secret in manifests.of_kind("ExternalSecret")}
    # Strimzi makes this for its cluster.
    made |= {
        f"{topic['metadata']['labels']['strimzi.io/cluster']}-cluster-ca-cert"
        for topic in manifests.of_kind("KafkaTopic")
    }
    used = {secret for template, _ in manifests.pods for secret in mounted(template).values()}
    for authentication in manifests.of_kind("TriggerAuthentication"):
        used |= {reference["name"] for reference in authentication["spec"]["secretTargetRef"]}
    assert used
    assert used <= made


def test_a_pod_has_more_time_to_stop_than_the_worker_takes(manifests: Manifests) -> None:
    template, container = manifests.worker
    settings = Settings(
        kafka_bootstrap_servers="-",
        worker_shutdown_timeout=manifests.environment(container)["WORKER_SHUTDOWN_TIMEOUT"],  # type: ignore[arg-type]
    )
    # The API's connections, traces, metrics and the HTTP server are closed one after the other.
    longest = settings.worker_shutdown_timeout + runtime._CUT_OFF + 5 * runtime._CLOSE
    assert template["spec"]["terminationGracePeriodSeconds"] > longest
    assert "lifecycle" not in container


def test_a_worker_has_the_memory_that_full_partitions_take(production: Manifests) -> None:
    _, container = production.worker
    backlog = Settings.model_fields["worker_backlog_limit"].default
    assert "WORKER_BACKLOG_LIMIT" not in production.environment(container)
    partitions = production.the("KafkaTopic", "terminal-operations.requests")["spec"]["partitions"]
    workers = production.the("ScaledObject")["spec"]["minReplicaCount"]
    resources = container["resources"]
    # MiB, as worker/TUNING.md has them: a KiB a request, and twice its share for a restore and a neighbour's.
    assert mebibytes(resources["requests"]["memory"]) >= 100 + partitions * backlog / 1024
    assert mebibytes(resources["limits"]["memory"]) >= 2 * (100 + partitions / workers * backlog / 1024)
    assert "cpu" not in resources["limits"]


def mebibytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


def test_probes_ask_for_life_before_they_restart_and_for_readiness_before_they_count(manifests: Manifests) -> None:
    _, container = manifests.worker
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert container["ports"] == [{"name": "http", "containerPort": Settings.model_fields["worker_http_port"].default}]


def test_selectors_find_the_workers_and_nothing_else(production: Manifests) -> None:
    (worker, job) = (template["metadata"]["labels"] for template, _ in production.pods)
    budget, deployment = production.the("PodDisruptionBudget"), production.the("Deployment")
    monitor = production.the("PodMonitor")
    policy = production.the("NetworkPolicy", "terminal-operations-worker")
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors = [one["spec"]["selector"]["matchLabels"] for one in (budget, deployment, monitor)]
    selectors += [constraint["labelSelector"]["matchLabels"] for constraint in spread]
    selectors += [policy["spec"]["podSelector"]["matchLabels"]]
    for selector in selectors:
        assert selector.items() <= worker.items()
        assert not selector.items() <= job.items()
    everyone = production.the("NetworkPolicy", "terminal-operations-kafka")["spec"]["podSelector"]["matchLabels"]
    assert everyone.items() <= worker.items()
    assert everyone.items() <= job.items()


def test_the_scaler_asks_for_metrics_that_workers_have_in_their_own_namespace(production: Manifests) -> None:
    scaler = production.the("ScaledObject")
    (query,) = (t["metadata"]["query"] for t in scaler["spec"]["triggers"] if t["type"] == "prometheus")
    exposed = exposed_metrics()
    asked = re.findall(r"\b(terminal_operations_\w+)\{namespace=\"([^\"]+)\"\}", query)
    assert len(asked) == query.count("terminal_operations_") == 2
    assert {name for name, _ in asked} <= exposed
    assert {namespace for _, namespace in asked} == {scaler["metadata"]["namespace"]}


def exposed_metrics() -> set[str]:
    metrics = Metrics(
        Resource({}), requests_topic="r", outcomes_topic="o", dead_letters_topic="d", group_id="g", api_url="http://a"
    )
    metrics.observe(lambda: [PartitionFigures(0, pending=1, queued=1, paused=False)])
    return set(re.findall(r"^(\w+)\{", metrics.render().decode(), re.MULTILINE))


def test_the_scaler_leaves_workers_to_poll_and_starts_no_more_than_there_are_partitions(
    production: Manifests,
) -> None:
    spec = production.the("ScaledObject")["spec"]
    requests = production.the("KafkaTopic", "terminal-operations.requests")
    assert spec["minReplicaCount"] >= 2
    assert "idleReplicaCount" not in spec
    assert spec["maxReplicaCount"] == requests["spec"]["partitions"]
    assert "replicas" not in production.the("Deployment")["spec"]


def test_the_scaler_brings_no_storm_of_rebalances_and_keeps_workers_when_it_is_blind(production: Manifests) -> None:
    spec = production.the("ScaledObject")["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    for way, most, seconds in (("scaleUp", 2, 60), ("scaleDown", 1, 300)):
        (step,) = behavior[way]["policies"]
        assert (step["type"], step["value"]) == ("Pods", most)
        assert step["periodSeconds"] >= seconds
        assert behavior[way]["stabilizationWindowSeconds"] >= seconds
    assert spec["fallback"]["replicas"] >= spec["minReplicaCount"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_the_scaler_looks_at_the_workers_own_group_and_topic(production: Manifests) -> None:
    spec = production.the("ScaledObject")["spec"]
    _, container = production.worker
    environment = production.environment(container)
    (trigger,) = (t["metadata"] for t in spec["triggers"] if t["type"] == "kafka")
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert trigger["consumerGroup"] == environment.get("KAFKA_GROUP_ID", defaults["kafka_group_id"])
    assert trigger["topic"] == environment.get("KAFKA_REQUESTS_TOPIC", defaults["kafka_requests_topic"])
    assert trigger["bootstrapServersFromEnv"] in environment
    for reference in production.the("TriggerAuthentication")["spec"]["env"]:
        assert reference["containerName"] == container["name"]
        assert reference["name"] in environment
    assert spec["scaleTargetRef"]["name"] == production.the("Deployment")["metadata"]["name"]


def test_the_nightly_requests_are_requests(production: Manifests) -> None:
    template, container = next((t, c) for t, c in production.pods if c["name"] == "request")
    (volume,) = [volume for volume in template["spec"]["volumes"] if "configMap" in volume]
    (lines,) = production.the("ConfigMap", volume["configMap"]["name"])["data"].values()
    requests = [PlainRequest.model_validate_json(line) for line in lines.splitlines()]
    assert requests
    assert {request.operation for request in requests} == {"end_of_day"}
    assert len({request.terminal_id for request in requests}) == len(requests)
    assert "/requests/requests.jsonl" in container["args"][0]


def test_every_component_is_used_by_an_overlay() -> None:
    components: set[str] = {path.name for path in (KUSTOMIZE / "components").iterdir()}
    used: set[Any] = {
        name
        for overlay in OVERLAYS
        for name in re.findall(r"components/([\w-]+)$", (overlay / "kustomization.yaml").read_text(), re.MULTILINE)
    }
    assert used == components
