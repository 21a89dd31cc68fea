"""What a person gives and sees."""

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from worker.cli import shown

NOW = 1_767_304_800_000


@pytest.mark.parametrize(
    ("text", "time"),
    [("30s", NOW - 30_000), ("7d", NOW - 7 * 86_400_000), ("2026-01-01T22:00:00+01:00", NOW - 3_600_000)],
)
def test_a_time_is_a_duration_before_now_or_a_moment(monkeypatch: pytest.MonkeyPatch, text: str, time: int) -> None:
    monkeypatch.setattr(shown, "now", lambda: NOW)
    assert shown._moment(text) == time


@pytest.mark.parametrize("text", ["", "soon", "2026-01-01", "-5s", "1e9d"])
def test_what_is_no_time_is_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        shown._moment(text)


@pytest.mark.parametrize(
    ("passed", "text"),
    [(-5, "0s"), (59_999, "59s"), (450_000, "7m30s"), (7_500_000, "2h05m"), (273_600_000, "3d04h")],
)
def test_an_age_is_in_its_two_largest_units(passed: int, text: str) -> None:
    assert shown.age(passed) == text


@pytest.mark.parametrize("time", [-(10**30), 10**30])
def test_a_time_that_no_clock_showed_is_still_shown(time: int) -> None:
    assert shown.moment(time).endswith("Z")


@given(st.text() | st.binary())
def test_no_text_of_others_reaches_the_terminal_as_control(value: str | bytes) -> None:
    assert shown.harmless(value).isprintable()


def test_text_is_shown_as_it_is_and_what_is_not_printable_as_its_escape() -> None:
    assert shown.harmless("Zürich") == "Zürich"
    assert shown.harmless("a\x1b[2J\u202eb") == r"a\x1b[2J\u202eb"
    assert shown.harmless(b"\xff") == r"\xff"


def test_a_table_folds_what_is_long_and_reads_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    shown.table(("ID", "TEXT"), [("1", "x" * 200), ("2", "[red]no[/red]")])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("x") == 200
    assert "[red]no[/red]" in out
