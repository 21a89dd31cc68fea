"""Logs: one line an event, ours and the libraries' alike, with secrets struck out."""

import json
import logging
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_NOISY = ("aiokafka", "asyncio", "httpcore", "httpx", "opentelemetry", "urllib3", "uvicorn")

_SECRET = re.compile(r"authorization|cookie|password|client_?secret|access_?token", re.IGNORECASE)
_STRUCK_OUT = "[redacted]"
# Deeper than this, nothing is written: what cannot be looked through must not get out.
_MAX_DEPTH = 8

# Warnings and errors of one kind: so many in so many seconds. What is down makes libraries complain at every try.
_LIBRARIES = ("aiokafka", "opentelemetry")
_OF_LIBRARIES = (1, 600.0)
_OF_OTHERS = (10, 60.0)
_MOST_KINDS = 256

log = structlog.wrap_logger(logging.getLogger(__name__))


def configure(level: str, format: Literal["json", "console"]) -> None:  # noqa: A002 - the word of the setting
    """Sets up structlog and the standard library's logging for the process: JSON to stdout, console to stderr.

    Libraries are heard from WARNING on, whatever `level` is.
    """
    shared: list[Processor] = [
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
    handler.addFilter(Limit(time.monotonic))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)
    # No line tells of the place it was written at or of threads: logging's own advice on what to leave out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def debug_on_sighup() -> None:
    """From now on SIGHUP adds our debug lines, and the next one takes them away. For the main thread.

    Not in a terminal: there it says that the terminal was closed, and must end the process.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        return
    root = logging.getLogger()
    usual = root.level

    def toggle(*_: object) -> None:
        root.setLevel(usual if root.level == logging.DEBUG else logging.DEBUG)
        log.info("log_level_changed", to=logging.getLevelName(root.level))

    signal.signal(signal.SIGHUP, toggle)


def traced(traceparent: str | None) -> dict[str, str]:
    """The trace id of a traceparent whose form was checked, as lines show it: none where there is none."""
    return {} if traceparent is None else {"trace_id": traceparent[3:35]}


def _renderers(format: Literal["json", "console"]) -> list[Processor]:  # noqa: A002
    if format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_serialize)]
    # Plain tracebacks: the pretty ones show local variables, and secrets are among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


@lru_cache(maxsize=512)
def _names_secret(key: str) -> bool:
    return _SECRET.search(key) is not None


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Strikes out the value of every key that names a secret, at any depth."""
    for key, value in event.items():
        if _names_secret(key):
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
            key: _STRUCK_OUT if _names_secret(str(key)) else _redacted(inner, levels - 1)
            for key, inner in value.items()
        }
    return [_redacted(inner, levels - 1) for inner in value]


def _serialize(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        # Lone surrogates and integers over 64 bits: seldom, and no reason to lose the line.
        return json.dumps(event, default=str)


@dataclass(slots=True)
class _Told:
    until: float
    most: int
    lines: int = 0


class Limit(logging.Filter):
    """Lets the first warnings and errors of a kind through, and tells of the others by their number.

    The number comes with the first line of any kind once their time is over: an outage is two lines, not thousands.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, str], _Told] = {}
        self._next_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        if now >= self._next_until:
            self._sum_up(now)
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, _kind(record))
        told = self._told.get(kind)
        if told is None:
            if len(self._told) >= _MOST_KINDS:
                self._told.clear()
            most, seconds = _OF_LIBRARIES if record.name.startswith(_LIBRARIES) else _OF_OTHERS
            told = self._told[kind] = _Told(now + seconds, most)
            self._next_until = min(self._next_until, told.until)
        told.lines += 1
        return told.lines <= told.most

    def _sum_up(self, now: float) -> None:
        ended = {kind: told for kind, told in self._told.items() if told.until <= now}
        for kind in ended:
            del self._told[kind]
        self._next_until = min((told.until for told in self._told.values()), default=float("inf"))
        for (logger, what), told in ended.items():
            if told.lines > told.most:
                log.warning("lines_left_out", of=what, by=logger, lines=told.lines - told.most)


def _kind(record: logging.LogRecord) -> str:
    """An event's name, or a library's template: its text may hold a delay or a count that differs every time."""
    what = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
    return str(what)[:128]
