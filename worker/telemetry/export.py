"""What spans and metrics share on their way out: whether, as whom, and for how long at the end."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Literal

import structlog
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

Signal = Literal["TRACES", "METRICS"]

_SERVICE = "terminal-operations-worker"

log = structlog.wrap_logger(logging.getLogger(__name__))


def wanted(signal: Signal) -> bool:
    """Whether the environment asks for this signal by OTLP: an endpoint is set, and nothing switches it off."""
    if _variable("OTEL_SDK_DISABLED") == "true" or "otlp" not in (_variable(f"OTEL_{signal}_EXPORTER") or "otlp"):
        return False
    endpoint = _variable(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or _variable("OTEL_EXPORTER_OTLP_ENDPOINT")
    protocol = _variable(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or _variable("OTEL_EXPORTER_OTLP_PROTOCOL")
    if endpoint and protocol not in ("", "http/protobuf"):
        log.warning("otlp_protocol_ignored", signal=signal.lower(), asked=protocol, sent="http/protobuf")
    return bool(endpoint)


def resource(version: str) -> Resource:
    """Who reports. What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say comes first."""
    detected = Resource.create()
    ours: dict[str, str] = {}
    if str(detected.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        ours[SERVICE_NAME] = _SERVICE
    if SERVICE_VERSION not in detected.attributes:
        ours[SERVICE_VERSION] = version
    return detected.merge(Resource(ours))


async def stop(shutdown: Callable[[], Any], timeout: float) -> None:
    """Sends what is left for at most `timeout` seconds, without blocking the loop; never raises."""

    def quietly() -> None:
        try:
            shutdown()
        except Exception:  # noqa: BLE001 - the SDK raises bare ones, and the end of telemetry fails nothing
            log.warning("telemetry_not_flushed")

    # The SDK waits for a dead collector as long as it likes. A daemon thread may be left behind at exit.
    thread = threading.Thread(target=quietly, name="telemetry-stop", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, timeout)


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip().lower()
