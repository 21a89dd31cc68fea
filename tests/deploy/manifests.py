"""Rendered manifests, and the questions that tests ask of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import ROOT, TOOLS, run

KUSTOMIZE = ROOT / "deploy" / "kustomize"
OVERLAYS = sorted(path for path in (KUSTOMIZE / "overlays").iterdir() if path.is_dir())

Document = dict[str, Any]


class Manifests(list[Document]):
    """The resources of one rendering."""

    def of_kind(self, kind: str) -> list[Document]:
        return [document for document in self if document["kind"] == kind]

    def the(self, kind: str, name: str | None = None) -> Document:
        (found,) = [one for one in self.of_kind(kind) if name in (None, one["metadata"]["name"])]
        return found

    @property
    def pods(self) -> Iterator[tuple[Document, Document]]:
        """The template of every pod, and its one container."""
        for document in self:
            spec = document.get("spec", {})
            template = spec.get("jobTemplate", document)["spec"].get("template") if spec else None
            if template:
                (container,) = template["spec"]["containers"]
                yield template, container

    def environment(self, container: Document) -> dict[str, str]:
        """The container's environment, ConfigMaps first as Kubernetes has it. Fields of the pod are their path."""
        environment: dict[str, str] = {}
        for source in container.get("envFrom", []):
            environment |= self.the("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container.get("env", []):
            environment[variable["name"]] = variable.get("value") or variable["valueFrom"]["fieldRef"]["fieldPath"]
        return environment

    @property
    def worker(self) -> tuple[Document, Document]:
        return next((template, container) for template, container in self.pods if container["name"] == "worker")


def render(folder: Path) -> Manifests:
    code, output = run(TOOLS / "bin" / "kustomize", "build", folder)
    assert code == 0, output
    return Manifests(yaml.safe_load_all(output))


def mounted(template: Document) -> dict[str, str]:
    """The secret behind each file that a pod finds in its volumes: `/secrets/kafka-password` is of which one."""
    (container,) = template["spec"]["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    return {
        f"{paths[volume['name']]}/{item['path']}": source["secret"]["name"]
        for volume in template["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }
