"""What the documents have people do, done as they say."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.support.command import terminal_worker
from tests.support.documents import ROOT, everything_typed, typed
from tests.support.records import Message
from tests.support.requests import assert_promises_kept, message_ids, request, terminals
from tests.support.system import System
from tests.support.waiting import until
from worker.demo.process import Process, clean_environment
from worker.settings import SECRETS, Settings

README = (ROOT / "README.md").read_text()
PAGE = README[README.index("## From a broker and credentials") : README.index("## What is promised")]
# Its commands in their order: one more or less is a change to look at here.
STEPS = ("topics", "check", "run", "request", "outcomes", "explain")
RUNBOOK = [each.words for each in everything_typed("terminal-worker") if each.document.endswith("RUNBOOK.md")]
SIMULATORS = {each.words for each in everything_typed("terminal-worker") if each.words[0] == "simulate"}


def steps() -> list[tuple[str, ...]]:
    """The page's commands in their order, without those that it only mentions."""
    return [each.words for each in typed("README", PAGE, "terminal-worker") if each.words[0] in STEPS]


def finish(system: System, requests: list[Message], **settings: str) -> None:
    """A worker of these settings runs the requests and stops."""
    worker = system.start_ready_worker(**settings)
    system.send(requests)
    system.outcomes_of(requests)
    worker.terminate()
    assert worker.wait() == 0


@pytest.mark.kafka
def test_the_readme_leads_from_a_broker_and_credentials_to_the_first_outcome(bare_system: System) -> None:
    environment = bare_system.environment(DINTERO_ACCOUNT_ID="T11223351")
    bare_system.simulator.wait_until_ready()
    told = {}
    assert tuple(words[0] for words in steps()) == STEPS
    for words in steps():
        if words == ("run",):
            bare_system.start_worker(DINTERO_ACCOUNT_ID="T11223351").wait_until_ready()
            continue
        done = terminal_worker(environment, *words)
        assert done.code == 0, (words, done.out, done.err)
        told[words[0]] = done.out
    assert told["topics"].count("created") == 4
    assert "problem" not in told["check"]
    assert "first" in told["request"]
    assert [line.split()[3:] for line in told["outcomes"].splitlines()[1:]] == [
        ["created", "first"],
        ["completed", "first"],
    ]
    assert re.search(r"^now +completed$", told["explain"], re.MULTILINE)


def test_the_readme_exports_settings_that_exist() -> None:
    exported = set(re.findall(r"export ((?:\w+=\S+ *)+)", PAGE))
    names = {word.partition("=")[0] for line in exported for word in line.split()} - {"PATH"}
    assert len(names) >= 4
    assert names <= {field.upper() for field in Settings.model_fields} | {f"{secret}_FILE" for secret in SECRETS}


def test_the_request_of_the_readme_is_good() -> None:
    (request,) = [words for words in steps() if words[0] == "request"]
    done = terminal_worker({**clean_environment(), "KAFKA_BOOTSTRAP_SERVERS": "nowhere:9092"}, *request, "--dry-run")
    assert (done.code, done.out) == (0, "first\n")


@pytest.mark.parametrize("words", sorted(SIMULATORS), ids=" ".join)
def test_every_simulator_that_is_shown_runs_until_it_is_asked_to_stop(words: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker", *words, "--port", "0"]
    with Process("the simulator", command, tmp_path / "simulator.log") as simulator:
        until(lambda: "simulating" in simulator.tail(), 30, simulator.tail)
        simulator.terminate()
        assert simulator.wait() == 0
    assert simulator.tail().splitlines()[-1] == "stopped"


@pytest.mark.kafka
def test_partitions_are_added_as_upgrading_says(system: System) -> None:
    before, after = ([request(terminal) for terminal in terminals(20)] for _ in range(2))
    finish(system, before)
    assert terminal_worker(system.environment(), "pending").out == "nothing is unfinished\n"
    admin = AdminClient({"bootstrap.servers": system.bootstrap})
    grown = admin.create_partitions([NewPartitions(name, 7) for name in (system.topics.requests, system.topics.state)])
    for each in grown.values():
        each.result(30)
    assert terminal_worker(system.environment(), "check").code == 0
    finish(system, after)
    assert system.executions() == dict.fromkeys(message_ids(before + after), 1)


@pytest.mark.kafka
def test_another_group_begins_where_upgrading_says(system: System) -> None:
    before, after = ([request(terminal) for terminal in terminals(8)] for _ in range(2))
    finish(system, before)
    system.topics = replace(system.topics, state=f"{system.topics.state}-2")
    renamed = {"KAFKA_GROUP_ID": f"{system.topics.requests}-2"}
    environment = system.environment(**renamed)
    create = ("topics", "create", "--partitions", "4", "--replication-factor", "1")
    assert terminal_worker(environment, *create).out.count("created") == 1
    for partition in range(4):
        done = terminal_worker(environment, "state", "reset", str(partition), "--from", "latest", "--yes")
        assert done.code == 0, done.err
    finish(system, after, **renamed)
    assert_promises_kept(before + after, system.outcomes_of(before + after))
    assert system.executions() == dict.fromkeys(message_ids(before + after), 1)


@pytest.mark.kafka
def test_every_command_of_the_runbook_runs_as_it_is_written(system: System) -> None:
    unconfirmed = [request(terminal) for terminal in terminals(3)]
    system.simulator.wait_until_ready()
    system.simulator.change({"completion_min": 600.0, "completion_max": 600.0})
    reused = replace(unconfirmed[0], value=b'{"terminal_id": "P11223351-T0000", "operation": "send_logs"}')
    system.send([unconfirmed[0], reused])
    finish(system, unconfirmed, WORKER_COMPLETION_TIMEOUT="1s", WORKER_POLL_INITIAL_DELAY="500ms")
    listed = terminal_worker(system.environment(), "dead-letters", "list").out
    (letter,) = re.findall(r"^(\d+:\d+) ", listed, re.MULTILINE)
    message_id = iter(message_ids(unconfirmed))
    for words in RUNBOOK:
        meant = [letter if word == "0:17" else next(message_id) if word == "MESSAGE_ID" else word for word in words]
        done = terminal_worker(system.environment(), *meant, typed="y\n")
        assert done.code == 0, (meant, done.out, done.err)
        assert done.out, meant
