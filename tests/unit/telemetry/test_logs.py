"""Log lines, as a collector reads them."""

import json
import logging
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
import structlog

from worker.telemetry import logs

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs._NOISY}
    yield
    root.handlers, root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.err == ""
    return [orjson.loads(line) for line in captured.out.splitlines()]


def test_a_line_is_one_json_object_with_identity_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger("worker.engine").info("create_retried", message_id="17\n", partition=3, trace_id="4bf9")
    (line,) = lines(capsys)
    timestamp = line.pop("timestamp")
    assert isinstance(timestamp, str)
    assert timestamp.endswith("Z")
    assert line == {
        "event": "create_retried",
        "level": "info",
        "message_id": "17\n",
        "partition": 3,
        "trace_id": "4bf9",
    }


def test_libraries_speak_through_the_same_lines_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")
    logging.getLogger("aiokafka.consumer").info("chatter")
    logging.getLogger("uvicorn.error").info("chatter")
    logging.getLogger("aiokafka.consumer").warning("Heartbeat of %s failed", "group")
    logging.getLogger("worker").debug("ours")
    heartbeat, ours = lines(capsys)
    assert (heartbeat["event"], heartbeat["logger"]) == ("Heartbeat of group failed", "aiokafka.consumer")
    assert (ours["event"], ours["level"]) == ("ours", "debug")


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    structlog.get_logger().info("unheard")
    logging.getLogger("worker").info("unheard")
    assert lines(capsys) == []


@pytest.mark.parametrize("format_", ["json", "console"])
def test_secrets_are_struck_out_wherever_they_are(format_: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json" if format_ == "json" else "console")
    deep: object = "hunter2"
    for _ in range(20):
        deep = [deep]
    structlog.get_logger().warning(
        "request",
        Authorization="Bearer hunter2",
        headers={
            "Proxy-Authorization": "hunter2",
            "body": [{"client_secret": "hunter2"}, ({"Set-Cookie": "hunter2"},)],
        },
        sasl_plain_password="hunter2",
        access_token="hunter2",
        deep=deep,
        kept="visible",
    )
    logging.getLogger("httpx").warning("sent", extra={"password": "hunter2"})
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err
    assert "visible" in captured.out + captured.err


def test_the_console_shows_errors_without_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "console")
    secret = "hunter" + str(2)
    try:
        raise RuntimeError("it broke")
    except RuntimeError:
        structlog.get_logger().exception("failed", length=len(secret))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "it broke" in captured.err
    assert secret not in captured.err


def test_an_error_keeps_its_traceback_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise RuntimeError("it broke")
    except RuntimeError:
        structlog.get_logger().exception("failed")
        logging.getLogger("worker").exception("failed too")
    for line in lines(capsys):
        assert "RuntimeError: it broke" in str(line["exception"])


def test_values_that_json_cannot_take_do_not_lose_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger().info("odd", big=2**70, surrogate="\ud800", key=b"\xff", where={1: object})
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["big"] == 2**70


class Told:
    """What passes the limit, at a time that the test sets."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = 0.0
        self._capsys = capsys
        logs.configure("info", "json")
        (handler,) = logging.getLogger().handlers
        handler.filters = [logs.Limit(lambda: self.now)]

    def events(self) -> list[str]:
        return [str(line["event"]) for line in lines(self._capsys)]


def test_a_broker_or_collector_that_is_down_is_two_lines_in_ten_minutes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Told(capsys)
    for delay in range(2000):
        logging.getLogger("aiokafka.conn").warning("Transient error, retrying in %ss", delay)
        logging.getLogger("opentelemetry.exporter").warning("Transient error, retrying in %ss", delay)
    assert told.events() == ["Transient error, retrying in 0s"] * 2
    told.now = 600.0
    structlog.get_logger("worker").info("anything")
    one, other, anything = lines(capsys)
    assert anything["event"] == "anything"
    assert [(line["event"], line["level"], line["lines"]) for line in (one, other)] == [
        ("lines_left_out", "warning", 1999)
    ] * 2
    assert (one["of"], one["by"]) == ("Transient error, retrying in %ss", "aiokafka.conn")
    logging.getLogger("aiokafka.conn").warning("Transient error, retrying in %ss", 3)
    assert told.events() == ["Transient error, retrying in 3s"]


def test_our_own_warnings_of_one_kind_are_ten_a_minute_and_the_number_of_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Told(capsys)
    log = structlog.get_logger("worker.engine")
    for offset in range(10_000):
        log.warning("dead_letter", offset=offset)
    log.error("partition_halted")
    assert told.events() == ["dead_letter"] * 10 + ["partition_halted"]
    told.now = 60.0
    log.warning("dead_letter", offset=10_000)
    left_out, letter = lines(capsys)
    assert (left_out["of"], left_out["lines"]) == ("dead_letter", 9_990)
    assert letter["offset"] == 10_000


def test_what_was_not_too_much_is_not_summed_up_and_what_is_no_warning_is_never_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Told(capsys)
    log = structlog.get_logger("worker.engine")
    for _ in range(100):
        log.info("outcome_published")
    log.warning("consumer_ended")
    told.now = 1000.0
    log.info("worker_stopped")
    assert told.events() == ["outcome_published"] * 100 + ["consumer_ended", "worker_stopped"]


def test_what_was_said_is_remembered_within_bounds() -> None:
    limit = logs.Limit(lambda: 0.0)
    for number in range(10_000):
        limit.filter(logging.LogRecord("opentelemetry", logging.WARNING, "", 0, f"text {number}", (), None))
    assert len(limit._told) <= 256


def test_sighup_adds_debug_lines_and_takes_them_away_again_with_those_of_libraries_unheard(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(capsys)
    before = signal.getsignal(signal.SIGHUP)
    monkeypatch.setattr("sys.stdin", None)
    try:
        logs.debug_on_sighup()
        log = structlog.get_logger("worker.engine")
        log.debug("unheard")
        signal.raise_signal(signal.SIGHUP)
        log.debug("heard")
        logging.getLogger("aiokafka").debug("unheard")
        signal.raise_signal(signal.SIGHUP)
        log.debug("unheard")
        log.info("at last")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert told.events() == ["log_level_changed", "heard", "log_level_changed", "at last"]


def test_a_terminal_that_is_closed_still_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    before = signal.getsignal(signal.SIGHUP)
    logs.debug_on_sighup()
    assert signal.getsignal(signal.SIGHUP) is before


def test_the_trace_id_of_a_line_is_that_of_the_traceparent_if_there_is_one() -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert logs.traced(traceparent) == {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert logs.traced(None) == {}


def test_every_event_is_in_the_table_with_its_level_and_nothing_else_is() -> None:
    """The names are what people search and alert on: to change one is to change the table."""
    said = {
        (event, level.replace("exception", "error"))
        for file in (ROOT / "worker").rglob("*.py")
        for level, event in re.findall(
            r'\b(?:log|say)\.?(debug|info|warning|error|exception)?\(\s*"(\w+)"', file.read_text()
        )
        if level
    }
    table = (ROOT / "worker" / "telemetry" / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (debug|info|warning|error) \|", table, re.MULTILINE)
    assert len(said) > 20
    assert set(listed) == said
    assert len(listed) == len(set(listed))
