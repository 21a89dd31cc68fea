"""Logs: one line an event, ours and the libraries' alike, with secrets struck out."""

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_NOISY = ("aiokafka", "asyncio", "httpcore", "httpx", "opentelemetry", "urllib3", "uvicorn")

_SECRET = re.compile(r"authorization|cookie|password|client_?secret|access_?token", re.IGNORECASE)
_STRUCK_OUT = "[redacted]"
# Deeper than this, nothing is written: what cannot be looked through must not get out.
_MAX_DEPTH = 8

_REPETITIVE = ("aiokafka", "opentelemetry")
_REMIND_AFTER = 600.0
_MOST_REMEMBERED = 256


def configure(level: str, format: Literal["json", "console"]) -> None:  # noqa: A002 - the word of the setting
    """Sets up structlog and the standard library's logging for the process: JSON to stdout, console to stderr.

    Libraries are heard from WARNING on, whatever `level` is; the same of aiokafka or OpenTelemetry once in ten minutes.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout if format == "json" else sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(format)],
        )
    )
    handler.addFilter(SayOnce(time.monotonic))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)


def _renderers(format: Literal["json", "console"]) -> list[Processor]:  # noqa: A002
    if format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_serialize)]
    # Plain tracebacks: the pretty ones show local variables, and secrets are among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Strikes out the value of every key that names a secret, at any depth."""
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = _STRUCK_OUT
        elif isinstance(value, dict | list | tuple):
            event[key] = _redacted(value, _MAX_DEPTH)
    return event


def _redacted(value: Any, levels: int) -> Any:
    if not isinstance(value, dict | list | tuple):
        return value
    if levels == 0:
        return _STRUCK_OUT
    if isinstance(value, dict):
        return {
            key: _STRUCK_OUT if _SECRET.search(str(key)) else _redacted(inner, levels - 1)
            for key, inner in value.items()
        }
    return [_redacted(inner, levels - 1) for inner in value]


def _serialize(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        # Lone surrogates and integers over 64 bits: seldom, and no reason to lose the line.
        return json.dumps(event, default=str)


class SayOnce(logging.Filter):
    """Lets each complaint about brokers or a collector through once in ten minutes: what is down stays so a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_REPETITIVE):
            return True
        # The template, not the text: the text may hold a delay or a count that differs every time.
        key = (record.name, str(record.msg)[:128])
        now = self._clock()
        said = self._said.get(key)
        if said is not None and now - said < _REMIND_AFTER:
            return False
        if len(self._said) >= _MOST_REMEMBERED:
            self._said.clear()
        self._said[key] = now
        return True
