"""The worker inside a program of its user, on a real Kafka."""

import asyncio
import gc
import logging
import re
import signal
import sys
from pathlib import Path

import pytest
import structlog

from tests.support.requests import assert_promises_kept, message_ids, request, terminals
from tests.support.system import System
from tests.support.waiting import until
from worker import StartError, Worker, load_settings
from worker.demo.process import Process

pytestmark = pytest.mark.kafka

README = Path(__file__).parents[2] / "worker" / "README.md"


def worker_of(system: System) -> Worker:
    return Worker(load_settings(system.environment()))


async def ready(*workers: Worker) -> None:
    async with asyncio.timeout(30):
        while not all(worker.ready and worker.status()["partitions"] for worker in workers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def of_the_program() -> tuple[object, ...]:
    """What belongs to the whole process."""
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    root = logging.getLogger()
    collector = (gc.get_threshold(), gc.get_freeze_count())
    return signals, (list(root.handlers), root.level), collector, structlog.is_configured()


async def test_a_program_runs_a_worker_sees_an_outcome_and_stops_it(
    system: System, capfd: pytest.CaptureFixture[str]
) -> None:
    before, tasks = of_the_program(), asyncio.all_tasks()
    sent = [request(terminal) for terminal in terminals(3)]
    system.simulator.wait_until_ready()
    async with worker_of(system) as worker:
        assert worker.status()["worker"]["group"] == system.topics.requests
        await ready(worker)
        await asyncio.to_thread(system.send, sent)
        outcomes = await asyncio.to_thread(system.outcomes_of, sent)
        assert b"terminal_operations_" in worker.metrics()
        assert of_the_program() == before
    await worker.wait()
    await worker.stop()
    assert not worker.ready
    assert_promises_kept(sent, outcomes)
    assert asyncio.all_tasks() == tasks
    assert capfd.readouterr().out == ""


async def test_two_workers_of_one_program_share_the_partitions(system: System) -> None:
    sent = [request(terminal) for terminal in terminals(20)]
    system.simulator.wait_until_ready()
    async with worker_of(system) as first, worker_of(system) as second:
        await ready(first, second)
        await asyncio.to_thread(system.send, sent)
        await asyncio.to_thread(system.outcomes_of, sent)
    assert system.executions() == dict.fromkeys(message_ids(sent), 1)


async def test_a_program_that_is_cancelled_stops_its_worker_in_order(system: System) -> None:
    tasks = asyncio.all_tasks()
    started = asyncio.Event()

    async def program() -> None:
        async with worker_of(system) as worker:
            await ready(worker)
            started.set()
            await worker.wait()

    system.simulator.wait_until_ready()
    task = asyncio.create_task(program())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == tasks


async def test_a_start_without_topics_fails_and_says_what_makes_them(bare_system: System) -> None:
    tasks = asyncio.all_tasks()
    worker = worker_of(bare_system)
    with pytest.raises(StartError) as refused:
        await worker.start()
    assert bare_system.topics.state in str(refused.value)
    assert "terminal-worker topics create" in str(refused.value)
    assert asyncio.all_tasks() == tasks


def test_the_program_of_the_readme_runs_until_sigterm(system: System, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    sent = [request("P11223351-T0001")]
    system.simulator.wait_until_ready()
    with Process("the program", [sys.executable, "-c", program], tmp_path / "program.log", system.environment()) as run:
        system.send(sent)
        assert_promises_kept(sent, system.outcomes_of(sent))
        until(lambda: "running" in run.tail(), 10, run.tail)
        run.terminate()
        assert run.wait() == 0
