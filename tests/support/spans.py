"""A collector that keeps what it is sent: OTLP over HTTP, protobuf."""

import gzip
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it was sent. Ids are as in a traceparent; links are the span ids of what it links to."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    failed: bool
    seconds: float
    resource: dict[str, Any]


class SpanSink:
    """Listens on a loopback port while it is entered. It answers with `status`, after `delay` seconds."""

    def __init__(self, port: int = 0, *, status: int = 200, delay: float = 0.0) -> None:
        self.status = status
        self.delay = delay
        self.asked = 0
        self.spans: list[Seen] = []
        self._closing = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                sink.asked += 1
                sink._closing.wait(sink.delay)
                if self.path == "/v1/traces" and sink.status == 200:
                    sink.spans += _spans(ExportTraceServiceRequest.FromString(body))
                self.send_response(sink.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
                """Nothing on the console."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Who gave up waiting for a slow answer is no error here."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def of_trace(self, trace_id: str, count: int, timeout: float = 15.0) -> list[Seen]:
        """The spans of a trace, once there are `count`; what there is after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = [span for span in list(self.spans) if span.trace_id == trace_id]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


def _spans(request: ExportTraceServiceRequest) -> list[Seen]:
    return [
        Seen(
            span.name,
            otlp.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            tuple(link.span_id.hex() for link in span.links),
            _attributes(span.attributes),
            span.status.code == otlp.Status.STATUS_CODE_ERROR,
            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            _attributes(resource.resource.attributes),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(given: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in given}
