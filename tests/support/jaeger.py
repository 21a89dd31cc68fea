"""A real tracing backend: Jaeger, built from its Go module, on loopback while it is entered."""

import json
from pathlib import Path
from typing import Any, cast

import httpx

from tests.deploy.tools import TOOLS, ToolError, run
from tests.support.spans import Seen
from tests.support.waiting import until
from worker.demo.process import Process, clean_environment, free_ports

_VERSION = "v1.76.0"
_SUM = "h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g="
_MODULE = "github.com/jaegertracing/jaeger"
_PROGRAM = TOOLS / "bin" / f"jaeger-{_VERSION}"
_BUILD_TIMEOUT = 1200.0
_TIMEOUT = 30.0
# Its own health, gRPC, and formats older than OTLP: ports that it opens in any case.
_UNUSED = ("admin.http", "collector.grpc-server", "collector.http-server", "collector.otlp.grpc", "query.grpc-server")


def install() -> None:
    """Builds it, the first time, which takes Go some minutes. Raises ToolError."""
    if _PROGRAM.exists():
        return
    _PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    code, told = run("go", "mod", "download", "-json", f"{_MODULE}@{_VERSION}", timeout=_BUILD_TIMEOUT)
    module = json.loads(told[told.find("{") :]) if code == 0 else {}
    if module.get("Sum") != _SUM:
        raise ToolError(f"{_MODULE}@{_VERSION} cannot be had, or is not what it was: {told[-300:]}")
    # Where Go keeps it: as a dependency it would lose the replacements that its own go.mod makes.
    command = ("go", "build", "-mod=readonly", "-buildvcs=false", "-o", _PROGRAM, "./cmd/all-in-one")
    code, told = run(*command, folder=Path(module["Dir"]), timeout=_BUILD_TIMEOUT)
    if code:
        raise ToolError(f"{' '.join(map(str, command))}: {told[-300:]}")


class Jaeger(Process):
    """Takes spans by OTLP over HTTP at `url`."""

    def __init__(self, log: Path) -> None:
        otlp, query, *unused = free_ports(2 + len(_UNUSED))
        self.url, self._query = f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{query}"
        ports = {"collector.otlp.http": otlp, "query.http-server": query, **dict(zip(_UNUSED, unused, strict=True))}
        options = [f"--{server}.host-port=127.0.0.1:{port}" for server, port in ports.items()]
        # Else it sends traces of its own, to a collector on the usual port.
        options.append("--query.enable-tracing=false")
        super().__init__("jaeger", [str(_PROGRAM), *options], log, clean_environment())

    def wait_until_ready(self) -> None:
        until(lambda: self._get("/api/services"), _TIMEOUT, self.tail)

    def trace(self, trace_id: str) -> list[Seen]:
        """What it has of a trace so far."""
        traces = self._get(f"/api/traces/{trace_id}").get("data") or []
        return [_seen(span, trace["processes"][span["processID"]]) for trace in traces for span in trace["spans"]]

    def found(self, service: str, tags: dict[str, str]) -> set[str]:
        """The ids of the traces that a search for a service's spans with these tags finds."""
        found = self._get("/api/traces", service=service, tags=json.dumps(tags), lookback="1h")
        return {trace["traceID"] for trace in found.get("data") or []}

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        """Its answer; empty where it has none, and for a trace it does not know."""
        try:
            answer = httpx.get(self._query + path, params=query, timeout=5, trust_env=False)
        except httpx.HTTPError:
            return {}
        return cast("dict[str, Any]", answer.json()) if answer.status_code == httpx.codes.OK else {}


def _seen(span: dict[str, Any], process: dict[str, Any]) -> Seen:
    references = [(each["refType"], each["spanID"]) for each in span["references"]]
    links = tuple(of for kind, of in references if kind == "FOLLOWS_FROM")
    # A link to the parent is told in the place of the parent.
    parents = [of for kind, of in references if kind == "CHILD_OF"] or list(links)
    attributes = _tags(span["tags"])
    return Seen(
        span["operationName"],
        str(attributes.pop("span.kind")).upper(),
        span["traceID"],
        span["spanID"],
        parents[0] if parents else "",
        links,
        attributes,
        attributes.get("error") is True,
        span["duration"] / 1e6,
        {"service.name": process["serviceName"], **_tags(process["tags"])},
    )


def _tags(tags: list[dict[str, Any]]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags}
