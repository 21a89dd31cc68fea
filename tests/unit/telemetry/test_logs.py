"""Log lines, as a collector reads them."""

import json
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog

from worker.telemetry import logs


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
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


def test_a_collector_or_broker_that_is_down_is_reported_once_in_ten_minutes() -> None:
    now = 0.0
    once = logs.SayOnce(lambda: now)

    def complaint(logger: str, delay: float) -> logging.LogRecord:
        return logging.LogRecord(logger, logging.WARNING, "", 0, "Transient error, retrying in %ss", (delay,), None)

    assert once.filter(complaint("opentelemetry.exporter", 1))
    assert not once.filter(complaint("opentelemetry.exporter", 2))
    assert once.filter(complaint("opentelemetry.sdk", 1))
    assert once.filter(complaint("aiokafka.conn", 1))
    assert not once.filter(complaint("aiokafka.conn", 2))
    assert once.filter(complaint("uvicorn", 1))
    assert once.filter(complaint("uvicorn", 1))
    now = 600.0
    assert once.filter(complaint("opentelemetry.exporter", 1))


def test_what_was_said_is_remembered_within_bounds() -> None:
    once = logs.SayOnce(lambda: 0.0)
    for number in range(10_000):
        once.filter(logging.LogRecord("opentelemetry", logging.WARNING, "", 0, f"text {number}", (), None))
    assert len(once._said) <= 256
