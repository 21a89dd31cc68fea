"""The OTLP exporters' way to a collector. Imported only where there is one: it brings `requests` along."""

import logging
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import structlog

from worker.telemetry.export import Signal

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
