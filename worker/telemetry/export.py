"""What spans and metrics share on their way out: whether, as whom, how it goes, and for how long at the end."""

import asyncio
import logging
import os
import threading
import time
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider

Signal = Literal["TRACES", "METRICS"]

_SERVICE = "terminal-operations-worker"
# The SDK's own pause between two batches: a collector that needs longer for one keeps the next waiting.
_SLOW = 5.0
# They tell of every try and every span lost; `Session` tells when it begins and when it ends.
_TALKATIVE = ("opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal")

log = structlog.wrap_logger(logging.getLogger(__name__))


class Session(requests.Session):
    """The exporter's way to the collector. One line tells that it is not taking what it is sent, or takes too long,
    and one that it does again: until then what does not fit the exporter's queue is lost, and the work goes on.
    """

    def __init__(self, signal: Signal) -> None:
        super().__init__()
        self._signal = signal.lower()
        self._failing_since: float | None = None
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def request(self, method: str, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        began = time.monotonic()
        why: str | None = None
        try:
            response = super().request(method, url, *args, **options)
            if response.status_code >= 300:
                why = f"http_{response.status_code}"
            elif time.monotonic() - began > _SLOW:
                why = "slow"
            return response
        except requests.RequestException as error:
            why = type(error).__name__
            raise
        finally:
            self._tell(why, url if isinstance(url, str) else url.decode())

    def _tell(self, why: str | None, url: str) -> None:
        since, now = self._failing_since, time.monotonic()
        if why is not None and since is None:
            self._failing_since = now
            # Without what a URL may hold of secrets: a collector's path can be one.
            to = urlsplit(url).netloc.rpartition("@")[2]
            log.warning("telemetry_not_taken", signal=self._signal, why=why, to=to)
        elif why is None and since is not None:
            self._failing_since = None
            log.info("telemetry_taken_again", signal=self._signal, after_s=round(now - since, 1))


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


async def stop(provider: TracerProvider | MeterProvider, timeout: float) -> None:
    """Sends what is left for at most `timeout` seconds, without blocking the loop; never raises."""

    def shutdown() -> None:
        try:
            provider.shutdown()
        except Exception:  # noqa: BLE001 - the SDK raises bare ones, and the end of telemetry fails nothing
            log.warning("telemetry_not_flushed")

    # The SDK waits for a dead collector as long as it likes. A daemon thread may be left behind at exit.
    thread = threading.Thread(target=shutdown, name="telemetry-stop", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, timeout)


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip().lower()
