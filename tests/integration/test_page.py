"""The status page in a real browser: what a person sees of a worker."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import CHROMIUM, Browser, browser
from tests.support.requests import request
from tests.support.system import System
from worker.http import Server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as /usr/bin/chromium for instance")

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"
LONG = "P11223351-" + "x" * 1014
TODAY = datetime.now(UTC).isoformat()
STATUS: dict[str, Any] = {
    "worker": {
        "version": "0.1.0",
        "host": "pod-7",
        "uptime_s": 3725,
        "ready": False,
        "reason": "partition 1 is halted",
    },
    "partitions": [
        {"partition": 0, "state": "running", "offset": 1_204_311, "lag": 12, "backlog": 857, "paused": True}
        | {"queued": 94, "creating": 3, "pending": 221, "lanes": 224, "oldest_pending_age_s": 438.2},
        {"partition": 1, "state": "halted", "error": f"of another group: {HOSTILE}"},
        {"partition": 2, "state": "backing_off", "error": "KafkaConnectionError"},
    ],
    "accounts": {
        "P11223351": {"circuit": "closed", "in_flight": 37, "limit": 64, "waiting": 2},
        "P11223352": {"circuit": "open", "in_flight": 0, "limit": 1, "waiting": 431},
    },
    "outcomes": {"interval_s": 5, "completed": [600] * 24, "failed": [0] * 23 + [6]},
    "oldest_lanes": [
        {"partition": 0, "terminal_id": terminal_id, "state": "pending", "operation": "end_of_day"}
        | {"message_id": f"m-{number}", "age_s": 1230.9, "behind": 9}
        for number, terminal_id in enumerate((HOSTILE, LONG))
    ],
    "last_failures": [
        {"occurred_at": TODAY, "partition": 0, "terminal_id": "P11223351-T7", "operation": "end_of_day"}
        | {"message_id": "m-unconfirmed", "reason": "unconfirmed", "message": "it may have run"},
        {"occurred_at": "2026-01-02T12:00:00.000Z", "partition": 0, "terminal_id": None, "operation": None}
        | {"message_id": LONG, "reason": "invalid_request", "message": LONG},
    ],
}

UNKNOWN_FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"worker": None, "partitions": None, "accounts": None, "outcomes": None, "oldest_lanes": None},
    {"worker": [], "partitions": [7, {}, {"3": HOSTILE}], "accounts": {"P1": None}, "later": HOSTILE},
    {"partitions": [{"state": {"x": HOSTILE}, "lag": "many"}], "outcomes": {"interval_s": 0, "completed": ["x", None]}},
    {"last_failures": [{"occurred_at": HOSTILE}, {"occurred_at": 1e300}], "oldest_lanes": [{"age_s": -1e300}]},
)

ASK = "ask()"  # what the page does every two seconds
ASK_NO_MORE = "ask().then(() => clearTimeout(next))"  # by itself: from then on only a test does
ROWS = (
    "(id => [...document.querySelectorAll(`#${id} tbody tr`)].map(row => [...row.cells].map(cell => cell.innerText)))"
)
TOO_WIDE = """[...document.querySelectorAll('main, section, table, svg, li, p')]
    .filter(node => node.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map(node => node.id || node.className)"""
# The contrast of every text with what lies behind it, as WCAG counts it: those that are too low.
FAINT = """(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = node => {
    const colour = node ? getComputedStyle(node).backgroundColor : 'rgb(255, 255, 255)';
    return colour === 'rgba(0, 0, 0, 0)' ? behind(node.parentElement) : colour;
  };
  const nodes = [...document.querySelectorAll('body *')]
    .filter(node => node.checkVisibility() && [...node.childNodes].some(child => child.data?.trim()));
  const ratio = node => {
    const [dark, bright] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => a - b);
    return (bright + .05) / (dark + .05);
  };
  return {texts: nodes.length, faint: nodes.filter(node => ratio(node) < 4.5).map(node => node.innerText)};
})()"""


class Scripted:
    """A view that shows what a test says, and counts how often it was asked."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = STATUS
        self.asked = 0

    def ready(self) -> tuple[bool, str]:
        return True, "ready"

    def metrics(self) -> bytes:
        return b""

    def status(self) -> dict[str, Any]:
        self.asked += 1
        return self.shown


@pytest.fixture
def view() -> Scripted:
    return Scripted()


@pytest.fixture
async def server(view: Scripted) -> AsyncIterator[Server]:
    server = Server("127.0.0.1", 0, view)
    await server.start()
    yield server
    await server.stop(2)


@pytest.fixture
async def page(server: Server, tmp_path: Path) -> AsyncIterator[Browser]:
    """The page, once it shows the first answer."""
    async with browser(tmp_path) as opened:
        await opened.open(f"http://127.0.0.1:{server.port}/")
        await opened.until("document.readyState === 'complete' && told.textContent.startsWith('as of')")
        yield opened


async def test_every_figure_of_the_status_is_there(page: Browser) -> None:
    seen = await page.evaluate("document.body.innerText")
    for told in (
        "Not ready",
        "pod-7",
        "up 1 h 2 min",
        "Partition 1 · halted: of another group",
        "Account P11223352 · circuit open",
    ):
        assert told in seen
    assert await page.evaluate("document.title") == "Not ready · pod-7"
    first, second, _ = await page.evaluate(f"{ROWS}('partitions')")
    assert first == ["0", "running\npaused", "12", "857", "94", "3", "221", "7 min 18 s", "224", "1,204,311"]
    assert second == ["1", "halted", *["–"] * 8]
    assert await page.evaluate(f"{ROWS}('accounts')") == [
        ["P11223352", "open", "0", "1", "431"],  # the one in trouble comes first
        ["P11223351", "closed", "37", "64", "2"],
    ]
    lane = (await page.evaluate(f"{ROWS}('lanes')"))[1]
    assert lane == [LONG, "m-1", "end_of_day", "pending", "20 min 30 s", "9"]
    today, older = await page.evaluate(f"{ROWS}('failures')")
    assert today[1:] == ["P11223351-T7", "m-unconfirmed", "unconfirmed", "it may have run"]
    assert older[0].endswith("\n2026-01-02")
    assert "120 completed a second last minute · peak 120 · 14,400 in 2 min" in seen
    assert "0.1 failed a second last minute · peak 1.2 · 6 in 2 min" in seen
    assert await page.evaluate("document.querySelector('#completed-plot path').getBBox().width") == 24
    assert await page.evaluate("document.querySelector('#failed-plot path').getBBox().x") == 23
    assert page.complaints == []


async def test_names_stay_text_whatever_they_are(page: Browser) -> None:
    assert (await page.evaluate(f"{ROWS}('lanes')"))[0][0] == HOSTILE
    assert await page.evaluate("document.querySelectorAll('script, img, iframe').length") == 1
    assert page.complaints == []


async def test_the_policy_refuses_what_an_injected_name_could_try(page: Browser) -> None:
    tries = (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.appendChild(document.createElement('script')).text = ''",
    )
    for attempt in tries:
        refused = await page.evaluate(
            f"(() => {{ try {{ {attempt}; return '' }} catch (error) {{ return error.name }} }})()"
        )
        assert refused == "TypeError", attempt
    assert await page.evaluate("fetch('http://127.0.0.2:1/').then(() => '', error => error.name)") == "TypeError"
    told = json.dumps(page.complaints)
    assert "TrustedHTML" in told
    assert "connect-src 'self'" in told


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
async def test_it_fits_the_screen_and_can_be_read(page: Browser, scheme: str, width: int) -> None:
    await page.look(width, 800, scheme)
    assert await page.evaluate("innerWidth") == width
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert await page.evaluate(TOO_WIDE) == []
    assert await page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.offsetWidth <= t.parentElement.clientWidth)"
    )
    contrast = await page.evaluate(FAINT)
    assert contrast["texts"] > 60
    assert contrast["faint"] == []
    back = (await page.evaluate("getComputedStyle(document.body).backgroundColor"))[4:-1].split(", ")
    assert (sum(map(int, back)) < 3 * 64) is (scheme == "dark")
    assert page.complaints == []


async def test_what_a_screen_reader_needs_is_there(page: Browser) -> None:
    tables = await page.evaluate(
        "[...document.querySelectorAll('table')].map(t => [t.getAttribute('aria-labelledby'), "
        "[...t.tHead.rows[0].cells].every(c => c.scope === 'col'), "
        "[...t.tBodies[0].rows].every(r => r.cells[0].scope === 'row')])"
    )
    assert [
        (await page.evaluate(f"document.getElementById('{label}').innerText"), *rest) for label, *rest in tables
    ] == [
        ("Terminals that wait longest", True, True),
        ("Last failures", True, True),
        ("The API, by account", True, True),
        ("Partitions", True, True),
    ]
    assert await page.evaluate("document.documentElement.lang") == "en"
    label = await page.evaluate("document.getElementById('failed-plot').getAttribute('aria-label')")
    assert label == "failed a second over the last 2 min: now 0.1, peak 1.2"


async def test_it_follows_the_worker_and_keeps_what_a_person_has_selected(page: Browser, view: Scripted) -> None:
    select = "getSelection().selectAllChildren(document.querySelector('#failures tbody tr').cells[2].firstChild)"
    await page.evaluate(select)
    await page.evaluate(ASK_NO_MORE)
    view.shown = {**STATUS, "worker": {**STATUS["worker"], "ready": True}, "partitions": []}
    await page.evaluate(ASK)
    assert await page.evaluate("document.title") == "Ready · pod-7"
    assert "No partition is assigned." in await page.evaluate("document.getElementById('partitions').innerText")
    assert "halted" not in await page.evaluate("document.body.innerText")
    assert (await page.evaluate("getSelection().toString()")).strip() == "m-unconfirmed"
    assert page.complaints == []


async def test_it_says_when_the_worker_no_longer_answers_and_when_it_does_again(
    page: Browser, view: Scripted, server: Server
) -> None:
    await server.stop(2)
    await page.evaluate(ASK)
    assert await page.evaluate("document.title") == "No answer · terminal operations worker"
    told = await page.evaluate("document.getElementById('troubles').innerText")
    assert told.startswith("The worker does not answer")
    assert "The figures are of " in told
    again = Server("127.0.0.1", server.port, view)
    await again.start()
    try:
        await page.until("document.title === 'Not ready · pod-7'")  # by itself
    finally:
        await again.stop(2)


async def test_the_keyboard_pauses_it_and_lets_it_go_on(page: Browser, view: Scripted) -> None:
    await page.evaluate(ASK_NO_MORE)
    await page.press("Tab")
    assert await page.evaluate("document.activeElement.innerText") == "Pause"
    await page.press("Enter", "\r")
    await page.until("document.activeElement.innerText === 'Resume' && told.textContent.startsWith('paused')")
    asked = view.asked
    await page.evaluate(ASK)
    assert view.asked == asked
    await page.press("Enter", "\r")
    await page.until("document.activeElement.innerText === 'Pause' && told.textContent.startsWith('as of')")
    assert view.asked > asked


async def test_an_answer_on_its_way_when_it_is_paused_changes_nothing(page: Browser, view: Scripted) -> None:
    await page.evaluate(ASK_NO_MORE)
    view.shown = {**STATUS, "worker": {**STATUS["worker"], "host": "other"}}
    await page.evaluate(f"(() => {{ const asked = {ASK}; document.getElementById('pause').click(); return asked }})()")
    assert await page.evaluate("told.textContent.startsWith('paused')")
    assert await page.evaluate("document.title") == "Not ready · pod-7"


async def test_a_status_of_unknown_form_is_shown_as_far_as_it_goes(page: Browser, view: Scripted) -> None:
    await page.evaluate(ASK_NO_MORE)
    for status in UNKNOWN_FORMS:
        view.shown = status
        await page.evaluate(ASK)
        assert await page.evaluate("document.getElementById('state').innerText") == "Not ready"
        assert await page.evaluate("document.querySelectorAll('script, img').length") == 1
    assert page.complaints == []


@pytest.mark.kafka
async def test_a_real_worker_shows_its_work(system: System, tmp_path: Path) -> None:
    worker = await asyncio.to_thread(system.start_ready_worker)
    done, refused = request("P11223351-T1"), request("P99999999-T1")  # an account without credentials
    await asyncio.to_thread(system.send, [done, refused])
    await asyncio.to_thread(system.outcomes_of, [done, refused])
    async with browser(tmp_path) as page:
        await page.open(f"{worker.url}/")
        await page.until("document.title.startsWith('Ready')")
        await page.until("document.getElementById('completed-peak').innerText.includes('1 in')")
        assert [row[:2] for row in await page.evaluate(f"{ROWS}('partitions')")] == [
            [str(n), "running"] for n in range(4)
        ]
        (failure,) = await page.evaluate(f"{ROWS}('failures')")
        assert (failure[1], failure[3]) == ("P99999999-T1", "rejected")
        assert page.complaints == []
