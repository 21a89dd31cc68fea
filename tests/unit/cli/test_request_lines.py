"""Files of requests: what is read from them, and what is told of lines that hold none."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli.requests.lines import MAX_LINE, LineError, read_lines

TWO = [{"terminal_id": "T1", "operation": "end_of_day"}, {"terminal_id": "T2", "operation": "send_logs"}]


def read(content: bytes) -> list[tuple[int, Any]]:
    return [(line.number, line.document) for line in read_lines(io.BytesIO(content))]


def documents(content: bytes) -> list[Any]:
    return [document for _, document in read(content)]


def problem(content: bytes) -> tuple[int, str]:
    ((number, told),) = [found for found in read(content) if isinstance(found[1], LineError)]
    return number, str(told)


@pytest.mark.parametrize(
    "content",
    [
        b'{"terminal_id":"T1","operation":"end_of_day"}\n\n{"terminal_id":"T2","operation":"send_logs"}',
        b"terminal_id,operation\nT1,end_of_day\nT2,send_logs\n",
        b"\xef\xbb\xbfterminal_id;operation\r\nT1;end_of_day\r\n\r\nT2;send_logs\r\n",
        b"\n operation , terminal_id,expires_at\n end_of_day , T1,\nsend_logs,T2,\n",
    ],
    ids=["json lines", "csv", "csv as a European spreadsheet writes it", "csv with blanks"],
)
def test_the_first_character_tells_the_format(content: bytes) -> None:
    assert documents(content) == TWO


def test_parameters_in_csv_are_json_and_may_hold_line_ends() -> None:
    content = b'terminal_id,operation,parameters\nT1,end_of_day,"{""a"":\n 1}"\nT2,send_logs,{}\n'
    assert read(content) == [
        (3, {"terminal_id": "T1", "operation": "end_of_day", "parameters": {"a": 1}}),
        (4, {"terminal_id": "T2", "operation": "send_logs", "parameters": {}}),
    ]


@pytest.mark.parametrize(
    ("content", "number", "told"),
    [
        (b"terminal_id\nT1", 1, "operation"),
        (b"terminal_id,operation,expire_at\nT1,end_of_day,", 1, "expires_at"),
        (b"terminal_id,operation,operation\nT1,a,b", 1, "header"),
        (b"[1]\n", 1, "header"),
        (b"terminal_id,operation\nT1\n", 2, "expected 2 fields"),
        (b"terminal_id,operation,parameters\nT1,end_of_day,{a\n", 2, "parameters"),
        (b'terminal_id,operation\nT1,"end', 2, ""),
        (b'{"terminal_id":"T1"}\n\n{"a":', 3, "JSON object"),
        (b'{"terminal_id":"T1"}\n[]', 2, "JSON object"),
        (b'{"a":"\xff"}', 1, "UTF-8"),
        (b'{"a":1}\n' + b"x" * (MAX_LINE + 1), 2, "at most"),
        (b"terminal_id,operation\n" + b"x" * (MAX_LINE + 1), 2, "at most"),
    ],
)
def test_a_line_that_holds_no_request_is_told_by_its_number(content: bytes, number: int, told: str) -> None:
    at, why = problem(content)
    assert at == number
    assert told in why


def test_json_lines_after_a_bad_one_are_still_read() -> None:
    assert documents(b'{"a":1}\nnonsense\n{"a":2}\n')[::2] == [{"a": 1}, {"a": 2}]


def test_no_line_end_makes_no_endless_line() -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            buffer[:] = b"{" * len(buffer)
            return len(buffer)

    (only,) = read_lines(io.BufferedReader(Endless()))
    assert isinstance(only.document, LineError)


@given(st.binary(max_size=400) | st.text(alphabet='{}",;\n\r\\ab\x00é', max_size=60).map(str.encode))
def test_whatever_is_in_a_file_is_a_document_or_a_problem(content: bytes) -> None:
    for number, document in read(content):
        assert number >= 1
        assert isinstance(document, dict | LineError)
