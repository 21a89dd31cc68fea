"""The Java SDK of CloudEvents at the other end, with its Kafka binding."""

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from schemas import example_messages, names
from schemas.example_messages import Example
from worker.domain.request import Record, Request
from worker.kafka.reader import Reader

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "deploy" / "schemas" / "CloudEvents.java"
POM = PROGRAM.with_name("pom.xml")
JARS = ROOT / ".tools" / "cloudevents-java"

ID = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
DATA = {"terminal_id": "P11223351-T0013", "operation": "end_of_day", "parameters": {"operator_id": "Zoë"}}
OUTCOMES = [example_messages.CREATED, example_messages.COMPLETED, example_messages.FAILED, example_messages.RESOLVED]

_INSTALL_TIMEOUT = 600.0
_RUN_TIMEOUT = 300.0

Event = tuple[list[tuple[str, str]], bytes]


def install() -> None:
    """Raises OSError or SubprocessError when it cannot be: Maven is missing, or its registry."""
    installed = JARS / "pom.xml"
    if installed.exists() and installed.read_text() == POM.read_text():
        return
    copy = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
    subprocess.run(copy, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=_INSTALL_TIMEOUT)
    installed.write_text(POM.read_text())


@pytest.fixture(scope="module")
def told() -> list[Event]:
    """What the program says: its two requests, then the outcomes as it sees them. In CI it must run."""
    records = [_lines(outcome) for outcome in OUTCOMES]
    command = ["java", "-cp", f"{JARS}/*", str(PROGRAM), ID, names.REQUESTED, json.dumps(DATA)]
    try:
        install()
        done = subprocess.run(
            command, check=True, input="\n\n".join(records) + "\n", capture_output=True, text=True, timeout=_RUN_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = f"no Java SDK: {error} {getattr(error, 'stderr', '')}"
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    return [_event(part) for part in done.stdout.strip().split("\n\n")]


def _lines(example: Example) -> str:
    value = base64.b64encode(json.dumps(example.value).encode()).decode()
    return "\n".join(f"{name} {text}" for name, text in {**example.headers, "=": value}.items())


def _event(lines: str) -> Event:
    *attributes, (_, value) = [(name, text) for name, _, text in (line.partition(" ") for line in lines.splitlines())]
    return attributes, base64.b64decode(value)


@pytest.mark.parametrize("mode", [0, 1], ids=["binary", "structured"])
def test_a_request_of_the_java_sdk_is_read_with_all_it_says(told: list[Event], mode: int) -> None:
    headers, value = told[mode]
    record = Record(0, 0, None, value, [(name, text.encode()) for name, text in headers])
    request = Reader(operations=names.OPERATIONS).read(record)
    assert isinstance(request, Request), request
    assert (request.message_id, request.key, request.correlation_id) == (ID, ID, "night")
    assert (request.terminal_id, request.operation) == ("P11223351-T0013", "end_of_day")
    assert json.loads(request.parameters or b"") == DATA["parameters"]


@pytest.mark.parametrize("number", range(len(OUTCOMES)))
def test_an_outcome_is_read_by_the_java_sdk_with_all_it_says(told: list[Event], number: int) -> None:
    example, (attributes, value) = OUTCOMES[number], told[2 + number]
    seen = {names.CE_PREFIX + name: text for name, text in attributes}
    seen[names.CONTENT_TYPE] = seen.pop("ce_datacontenttype")
    # It leaves out the seconds of a time on the minute.
    wanted = {name: text.replace(":00.000Z", "Z") for name, text in example.headers.items()}
    assert seen == wanted
    assert json.loads(value) == example.value
