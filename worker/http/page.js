"use strict";
// Asks for /status again and again and shows it. Whatever comes is text: nodes are made here, never read from markup.

const PERIOD = 2000;
const PATIENCE = 5000;
const MOST_ROWS = 100;
const MOST_NAMES = 6;
const GOOD = new Set(["running", "closed"]);
const BAD = new Set(["halted", "open"]);
const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

// -- what a status holds, whatever its form ------------------------------------------------------------------------

const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});
const rows = (value) => (Array.isArray(value) ? value.map(object) : []);
const amount = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

function text(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (amount(value) !== null) return NUMBER.format(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Short enough for a phone, however many there are. */
const count = (value) => (Math.abs(amount(value) ?? 0) < 100_000 ? text(value) : SHORT.format(value));
const rate = (value) => (amount(value) === null ? "–" : NUMBER.format(value < 100 ? value : Math.round(value)));

function duration(seconds) {
  if (amount(seconds) === null) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [86_400, 3_600, 60].map((unit) => Math.floor(whole / unit));
  const and = (rest, unit) => (rest ? ` ${rest} ${unit}` : "");
  if (days) return `${NUMBER.format(days)} d${and(hours % 24, "h")}`;
  if (hours) return `${hours} h${and(minutes % 60, "min")}`;
  return minutes ? `${minutes} min${and(whole % 60, "s")}` : `${whole} s`;
}

const clock = (time) => time.toLocaleTimeString("en-GB");

/** The time of day, and the day under it unless it is today. */
function moment(value) {
  const time = new Date(value);
  if (Number.isNaN(time.getTime())) return "–";
  const [day, today] = [time, new Date()].map((date) => date.toLocaleDateString("en-CA"));
  return [clock(time), day === today ? "" : day];
}

const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

/** The sum of a member; null when no row has it. */
function sum(list, member) {
  const known = list.map((row) => amount(row[member])).filter((value) => value !== null);
  return known.length ? total(known) : null;
}

function names(list) {
  const more = list.length - MOST_NAMES;
  return list.slice(0, MOST_NAMES).map(text).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

const kind = (state) => (GOOD.has(state) ? "good" : BAD.has(state) ? "bad" : "wait");
const words = (state) => text(state).replaceAll("_", " ");

// -- nodes: only what differs is changed, so that a selected id stays selected ----------------------------------------

const node = (id) => document.getElementById(id);

function add(parent, name, className = "") {
  const made = parent.appendChild(document.createElement(name));
  made.className = className;
  return made;
}

function say(shown, words, className = shown.className) {
  if (shown.textContent !== words) shown.textContent = words;
  if (shown.className !== className) shown.className = className;
}

/** Makes `parent` have `count` children; `make` adds one. */
function resize(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) make(parent);
}

/** A column is its title, its kind of cell, and what a row shows there: the text, what stands under it, a state. */
function table(id, columns, list, nothing) {
  const shown = node(id);
  if (!shown.tHead) {
    const head = shown.createTHead().insertRow();
    for (const [title, className] of columns) {
      const cell = add(head, "th", className);
      cell.scope = "col";
      cell.textContent = title;
    }
    shown.createTBody();
    add(shown.createTFoot().insertRow(), "td", "faint").colSpan = columns.length;
  }
  const more = list.length - MOST_ROWS;
  say(shown.tFoot.rows[0].cells[0], list.length ? (more > 0 ? `and ${more} more` : "") : nothing);
  shown.tHead.hidden = !list.length;
  shown.tFoot.hidden = list.length > 0 && more <= 0;
  resize(shown.tBodies[0], Math.min(list.length, MOST_ROWS), (body) => row(body, columns));
  Array.from(shown.tBodies[0].rows).forEach((made, index) => {
    columns.forEach(([, , show], at) => fill(made.cells[at], ...[show(list[index])].flat()));
  });
}

function row(body, columns) {
  const made = add(body, "tr");
  columns.forEach(([, className], at) => {
    const cell = add(made, at ? "td" : "th", className);
    if (!at) cell.scope = "row";
    add(cell, "span");
    add(cell, "small");
  });
}

function fill(cell, words, under = "", state = "") {
  const [main, small] = cell.children;
  say(main, words, state && `state ${state}`);
  say(small, under);
  small.hidden = !under;
  const whole = under ? `${words}\n${under}` : words;
  if (whole.length > 60) cell.title = whole;
  else cell.removeAttribute("title");
}

// -- the parts of the page -------------------------------------------------------------------------------------------

const PARTITION = [
  ["Partition", "", (row) => text(row.partition)],
  ["State", "", (row) => [words(row.state), row.paused === true ? "paused" : "", kind(row.state)]],
  ["Lag", "number", (row) => count(row.lag)],
  ["Backlog", "number", (row) => count(row.backlog)],
  ["Queued", "number", (row) => count(row.queued)],
  ["Creating", "number wide", (row) => count(row.creating)],
  ["Pending", "number", (row) => count(row.pending)],
  ["Oldest pending", "number wide", (row) => duration(row.oldest_pending_age_s)],
  ["Lanes", "number wide", (row) => count(row.lanes)],
  ["Offset", "number wide", (row) => text(row.offset)],
];
const ACCOUNT = [
  ["Account", "name", (row) => row.account],
  ["Circuit", "", (row) => [words(row.circuit), "", kind(row.circuit)]],
  ["In flight", "number", (row) => count(row.in_flight)],
  ["Limit", "number", (row) => count(row.limit)],
  ["Waiting", "number", (row) => count(row.waiting)],
];
const LANE = [
  ["Terminal", "name terminal", (row) => [text(row.terminal_id), text(row.message_id)]],
  ["Message ID", "name id wide", (row) => text(row.message_id)],
  ["Operation", "name wide", (row) => text(row.operation)],
  ["State", "brief wide", (row) => words(row.state)],
  ["Waiting", "number", (row) => duration(row.age_s)],
  ["Behind it", "number brief", (row) => count(row.behind)],
];
const FAILURE = [
  ["Time", "brief", (row) => moment(row.occurred_at)],
  ["Terminal", "name terminal", (row) => [text(row.terminal_id), text(row.message_id)]],
  ["Message ID", "name id wide", (row) => text(row.message_id)],
  ["Reason", "name reason", (row) => [text(row.reason), text(row.message), row.reason === "unconfirmed" ? "bad" : ""]],
  ["Message", "name wide", (row) => text(row.message)],
];

/** What is wrong, the worst first: a sentence for each kind, with those that have it. */
function troubles(worker, partitions, accounts) {
  const found = new Map();
  const note = (what, whose, className) => found.set(what, { className, named: [...(found.get(what)?.named ?? []), whose] });
  for (const { partition, state, error, paused } of partitions) {
    if (!GOOD.has(state)) note(`${words(state)}${error ? `: ${text(error)}` : ""}`, partition, kind(state));
    if (paused === true) note("takes nothing in: the backlog is full", partition, "wait");
  }
  const sentences = [...found].map(([what, { named, className }]) => [`Partition ${names(named)} · ${what}`, className]);
  found.clear();
  for (const { account, circuit } of accounts) {
    if (!GOOD.has(circuit)) note(`circuit ${words(circuit)}`, account, kind(circuit));
  }
  sentences.push(...[...found].map(([what, { named, className }]) => [`Account ${names(named)} · ${what}`, className]));
  if (worker.ready === false && !sentences.length) sentences.push([`Not ready: ${text(worker.reason)}`, "bad"]);
  return sentences.sort(([, one], [, other]) => (one < other ? -1 : one > other ? 1 : 0)).slice(0, MOST_ROWS);
}

function showTroubles(sentences) {
  const list = node("troubles");
  resize(list, sentences.length, (parent) => add(parent, "li"));
  sentences.forEach(([sentence, className], at) => say(list.children[at], sentence, `trouble ${className}`));
}

function showTotals(partitions, accounts) {
  const oldest = Math.max(...partitions.map((row) => amount(row.oldest_pending_age_s) ?? -1));
  const totals = [
    ["Lag", sum(partitions, "lag"), "not yet taken in"],
    ["Backlog", sum(partitions, "backlog"), "taken in, unfinished"],
    ["Queued", sum(partitions, "queued"), "behind others"],
    ["Pending", sum(partitions, "pending"), oldest >= 0 ? `oldest ${duration(oldest)}` : "at the terminals"],
    ["Calls in flight", sum(accounts, "in_flight"), `of ${count(sum(accounts, "limit"))}`],
    ["Calls waiting", sum(accounts, "waiting"), "for the budget"],
  ];
  const list = node("totals");
  resize(list, totals.length, (parent) => {
    const group = add(parent, "div");
    add(group, "dt");
    const value = add(group, "dd");
    add(value, "span");
    add(value, "small");
  });
  totals.forEach(([title, value, under], at) => {
    const [term, shown] = list.children[at].children;
    say(term, title);
    say(shown.children[0], count(value));
    say(shown.children[1], under);
  });
}

function showPlot(name, counts, interval) {
  const list = (Array.isArray(counts) ? counts : []).map((count) => amount(count) ?? 0);
  const last = list.slice(-Math.ceil(60 / interval));
  const now = last.length ? total(last) / (last.length * interval) : null;
  const most = Math.max(0, ...list);
  const peak = `peak ${rate(most / interval)}`;
  const span = duration(list.length * interval);
  say(node(`${name}-rate`), rate(now));
  say(node(`${name}-peak`), list.length ? `last minute · ${peak} · ${text(total(list))} in ${span}` : "");
  const plot = node(`${name}-plot`);
  plot.setAttribute("viewBox", `0 0 ${Math.max(1, list.length)} 100`);
  plot.setAttribute("aria-label", `${name} a second over the last ${span}: now ${rate(now)}, ${peak}`);
  plot.firstElementChild.setAttribute("d", outline(list, most));
  say(plot.nextElementSibling.firstElementChild, list.length ? `${span} ago` : "");
}

/** Steps over each run of intervals that are not empty; one alone among thousands can still be seen. */
function outline(counts, most) {
  let path = "";
  counts.forEach((count, at) => {
    if (!count) return;
    if (!counts[at - 1]) path += `M${at} 100`;
    path += `V${Math.round(98 - Math.max(4, (count / most) * 96))}H${at + 1}`;
    if (!counts[at + 1]) path += "V100Z";
  });
  return path;
}

function show(status) {
  const worker = object(status.worker);
  const partitions = rows(status.partitions);
  const accounts = Object.entries(object(status.accounts)).map(([account, row]) => ({ ...object(row), account }));
  const outcomes = object(status.outcomes);
  const interval = amount(outcomes.interval_s) || 1;
  const urgency = (row) => (GOOD.has(row.circuit) ? 0 : 1e9) + (amount(row.waiting) ?? 0) + (amount(row.in_flight) ?? 0);
  accounts.sort((one, other) => urgency(other) - urgency(one));

  showState(...(worker.ready === true ? ["Ready", "good"] : ["Not ready", "bad"]), worker.host);
  const facts = [worker.host, `version ${text(worker.version)}`, `group ${text(worker.group)}`, `topic ${text(worker.topic)}`];
  say(node("worker"), [...facts.map(text), words(worker.delivery), `up ${duration(worker.uptime_s)}`].join(" · "));
  showTroubles(troubles(worker, partitions, accounts));
  showTotals(partitions, accounts);
  showPlot("completed", outcomes.completed, interval);
  showPlot("failed", outcomes.failed, interval);
  table("partitions", PARTITION, partitions, "No partition is assigned.");
  table("accounts", ACCOUNT, accounts, "No account is known yet.");
  table("lanes", LANE, rows(status.oldest_lanes), "No terminal waits.");
  table("failures", FAILURE, rows(status.last_failures), "Nothing failed since the start.");
}

function showState(words, className, host) {
  say(node("state"), words, `state ${className}`);
  document.title = `${words} · ${host ? text(host) : "terminal operations worker"}`;
}

// -- asking ------------------------------------------------------------------------------------------------------------

let paused = false;
let answeredAt = null;
let next = 0;

async function ask() {
  if (paused || document.hidden) return;
  const status = await answer();
  clearTimeout(next);
  next = setTimeout(ask, PERIOD);
  if (!status || paused) return;
  answeredAt = clock(new Date());
  document.body.classList.remove("stale");
  say(node("told"), `as of ${answeredAt}`);
  show(status);
}

/** What the worker tells, or null once the page has said that it tells nothing. */
async function answer() {
  try {
    const response = await fetch("status", { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
    if (!response.ok) throw new Error(`it answers ${response.status}`);
    return object(await response.json());
  } catch (error) {
    document.body.classList.add("stale");
    showState("No answer", "bad");
    const since = answeredAt ? ` The figures are of ${answeredAt}.` : "";
    showTroubles([[`The worker does not answer (${error.message}).${since}`, "bad"]]);
    return null;
  }
}

node("pause").addEventListener("click", () => {
  paused = !paused;
  say(node("pause"), paused ? "Resume" : "Pause");
  if (paused) say(node("told"), `paused, as of ${answeredAt ?? "the start"}`);
  else ask();
});
document.addEventListener("visibilitychange", ask);
ask();
