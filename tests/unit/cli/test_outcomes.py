"""How outcomes are chosen and shown, whatever is on the topic."""

from io import StringIO
from typing import Any

import orjson
import pytest
from rich.console import Console

from tests.unit.cli.published import published
from worker.cli.outcomes import Filter, print_outcome
from worker.domain.outcome import OutcomeType

ID = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"


def printed(record: Any, capsys: pytest.CaptureFixture[str], *, jsonl: bool = False, **console: Any) -> tuple[str, str]:
    print_outcome(record, Console(file=StringIO(), **{"width": 80, **console}), jsonl=jsonl)
    told = capsys.readouterr()
    return told.out, told.err


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (Filter(), [0, 1, 2]),
        (Filter(terminal="P1-T2"), [1, 2]),
        (Filter(message_id="a"), [0, 1]),
        (Filter(status=OutcomeType.FAILED), [2]),
        (Filter("P1-T2", "a", OutcomeType.COMPLETED), [1]),
        (Filter("P1-T1", "b"), []),
    ],
)
def test_filters_choose_what_fits_them_all(wanted: Filter, chosen: list[int]) -> None:
    records = [
        published("created", "a", terminal="P1-T1"),
        published("completed", "a", terminal="P1-T2"),
        published("failed", "b", terminal="P1-T2"),
    ]
    assert [number for number, record in enumerate(records) if wanted.wants(record)] == chosen


def test_an_outcome_is_a_line_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(published("completed", ID), capsys)
    assert out == f"09-21 14:13:21  P11223351-T0001  completed  {ID}\n"
    assert len(out) <= 81
    assert err == ""


def test_a_failed_one_has_its_reason_on_a_second_line_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, _ = printed(published("failed", ID), capsys, width=60)
    _, reason, end = out.split("\n")
    assert reason.strip() == r"end_of_day: rejected: the API said:\n\x1b[31"
    assert len(reason) == 60
    assert end == ""


def test_colours_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, _ = printed(published("failed", ID), capsys)
    coloured, _ = printed(published("failed", ID), capsys, force_terminal=True, color_system="standard")
    assert "\x1b" not in plain
    unwanted, _ = printed(published("failed", ID), capsys, force_terminal=True, color_system="standard", no_color=True)
    assert "\x1b[31mfailed" in coloured
    assert unwanted == plain


def test_jsonl_is_the_outcome_itself_on_one_line_with_members_we_do_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = orjson.loads(published("completed", ID).value) | {"new": [1, "é"]}
    out, _ = printed(
        published("completed", ID, value=orjson.dumps(value, option=orjson.OPT_INDENT_2)), capsys, jsonl=True
    )
    assert out.count("\n") == 1
    assert orjson.loads(out) == value


@pytest.mark.parametrize("jsonl", [False, True])
@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff\x00", b"NaN", b'{"status":"created"}', b"[" * 5000])
def test_a_record_that_is_no_outcome_is_one_line_of_its_own(
    value: bytes | None, jsonl: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = printed(published("created", ID, value=value), capsys, jsonl=jsonl)
    assert out == ""
    assert err.startswith("no outcome: outcomes partition 3 offset 7: ")
    assert err.count("\n") == 1


def test_what_only_some_readers_take_for_json_is_never_given_as_jsonl(capsys: pytest.CaptureFixture[str]) -> None:
    value = published("completed", ID).value[:-1] + b',"result":NaN}'
    out, err = printed(published("completed", ID, value=value), capsys, jsonl=True)
    assert out == ""
    assert err.startswith("no outcome: ")


def test_an_event_of_another_type_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    record = published("created", ID)
    record.headers = tuple((name, b"some.other.v1" if name == "ce_type" else value) for name, value in record.headers)
    assert printed(record, capsys) == ("", "")
