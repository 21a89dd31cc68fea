"""The status as a page for a person: one document, nothing loaded, nothing run, everything escaped."""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Any

import orjson

_STYLE = """
:root{color-scheme:light dark;--back:#f5f6f8;--card:#fff;--text:#1c2430;--faint:#5a6576;--line:#dfe3e9;
--good:#0b6b3a;--good-back:#e2f4e9;--bad:#a31621;--bad-back:#fbe6e8;--wait:#7a4d00;--wait-back:#fdf0d5;--accent:#2450b8}
@media (prefers-color-scheme:dark){:root{--back:#11151c;--card:#1a2029;--text:#e6eaf0;--faint:#9aa6b8;--line:#2c3542;
--good:#7ddba5;--good-back:#12351f;--bad:#ff9aa2;--bad-back:#45161b;--wait:#f3c969;--wait-back:#3d2d0a;--accent:#9db8ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:80rem;margin:0 auto;padding:2rem 1.25rem}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.5rem 1rem;margin-bottom:1.5rem}
h1{font-size:1.5rem;margin:0;letter-spacing:-.01em}
h2{font-size:1.05rem;margin:0 0 .75rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:1.25rem;margin-bottom:1.25rem}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:1rem;margin:0}
dt{color:var(--faint);font-size:.85rem}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{text-align:left;padding:.45rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap;
font-variant-numeric:tabular-nums}
thead th{color:var(--faint);font-size:.85rem;font-weight:600}
tbody tr:last-child>*{border-bottom:0}
td.number,th.number{text-align:right}
td.long{white-space:normal;min-width:12rem}
.badge{display:inline-block;padding:.05rem .6rem;border-radius:1rem;font-size:.85rem;font-weight:600}
.good{color:var(--good);background:var(--good-back)}
.bad{color:var(--bad);background:var(--bad-back)}
.wait{color:var(--wait);background:var(--wait-back)}
.empty,footer{color:var(--faint)}
a{color:var(--accent)}a:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
"""
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
"""Allows this style, and no other, by the content security policy."""

_PARTITION_COLUMNS = (
    "partition",
    "state",
    "position",
    "lag",
    "backlog",
    "queued",
    "creating",
    "pending",
    "lanes",
    "oldest_pending_age_s",
    "error",
)
_ACCOUNT_COLUMNS = ("account", "circuit", "in_flight", "limit", "waiting")
_TITLES = {"oldest_pending_age_s": "oldest pending", "in_flight": "in flight"}
_GOOD = frozenset({"running", "ready", "closed", "live"})
_BAD = frozenset({"halted", "failed", "lost", "open"})
_STATES = frozenset({"state", "circuit"})


def render(status: dict[str, Any], live: tuple[bool, str], ready: tuple[bool, str], *, refresh: bool) -> str:
    """The page. Members it does not know are shown too, after those it does. With `refresh` it reloads every 5 s."""
    worker = _object(status.get("worker"))
    partitions = status.get("partitions")
    rows = [_object(row) for row in partitions] if isinstance(partitions, list) else []
    accounts = [{"account": name, **_object(row)} for name, row in _object(status.get("accounts")).items()]
    rest = {key: value for key, value in status.items() if key not in ("worker", "partitions", "accounts")}
    again = '<meta http-equiv="refresh" content="5">' if refresh else ""
    link = '<a href="?pause">Pause refresh</a>' if refresh else '<a href="?">Refresh every 5 s</a>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{again}'
        f"<title>Terminal operations worker</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>Terminal operations worker</h1>{_probe('live', live)}{_probe('ready', ready)}</header>"
        f"<section><h2>Worker</h2>{_facts({**worker, **rest})}</section>"
        f"<section><h2>Partitions</h2>{_table('Partitions', rows, _PARTITION_COLUMNS, 'No partition is assigned.')}"
        f"</section><section><h2>Accounts</h2>{_table('Accounts', accounts, _ACCOUNT_COLUMNS, 'No account yet.')}"
        f'</section><footer>{link} · <a href="/status">JSON</a> · <a href="/metrics">Metrics</a></footer>'
        "</main></body></html>"
    )


def _probe(name: str, answer: tuple[bool, str]) -> str:
    good, reason = answer
    text = name if good else f"not {name}: {reason}"
    return f'<span class="badge {"good" if good else "bad"}">{escape(text)}</span>'


def _facts(facts: dict[str, Any]) -> str:
    if not facts:
        return '<p class="empty">Nothing is known yet.</p>'
    pairs = (f"<div><dt>{_title(key)}</dt><dd>{_text(key, value)}</dd></div>" for key, value in facts.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _table(caption: str, rows: list[dict[str, Any]], known: tuple[str, ...], empty: str) -> str:
    if not rows:
        return f'<p class="empty">{empty}</p>'
    present = dict.fromkeys(key for row in rows for key in row)
    columns = [key for key in known if key in present] + [key for key in present if key not in known]
    numeric = {key for key in columns if all(_is_number(row.get(key)) for row in rows)}
    head = "".join(f'<th scope="col"{_class(key, numeric)}>{_title(key)}</th>' for key in columns)
    body = "".join(f"<tr>{_cells(row, columns, numeric)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(row: dict[str, Any], columns: Iterable[str], numeric: set[str]) -> str:
    return "".join(f"<td{_class(key, numeric)}>{_text(key, row.get(key))}</td>" for key in columns)


def _class(key: str, numeric: set[str]) -> str:
    if key in numeric:
        return ' class="number"'
    return ' class="long"' if key == "error" else ""


def _text(key: str, value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in _STATES:
        word = str(value)
        kind = "good" if word in _GOOD else "bad" if word in _BAD else "wait"
        return f'<span class="badge {kind}">{escape(word)}</span>'
    if isinstance(value, int | float) and key.endswith("_s"):
        return _duration(value)
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, dict | list):
        return escape(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode())
    return escape(str(value))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _title(key: str) -> str:
    return escape(_TITLES.get(key, key.removesuffix("_s").replace("_", " ")))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _object(value: Any) -> dict[str, Any]:
    return {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}
