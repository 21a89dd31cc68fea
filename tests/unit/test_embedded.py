"""The worker as a library, where no Kafka answers."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import worker
from worker import Settings, SettingsError, StartError, Worker, load_settings
from worker.runtime import Runtime

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "DINTERO_ACCOUNT_ID": "P11223351",
    "DINTERO_CLIENT_ID": "client",
    "DINTERO_CLIENT_SECRET": "hunter2-hunter2",
}


def test_every_public_name_is_there_and_no_other() -> None:
    assert [getattr(worker, name) for name in worker.__all__] == [
        *(Settings, SettingsError, StartError, Worker, load_settings)
    ]
    with pytest.raises(AttributeError, match="no attribute 'Engine'"):
        worker.Engine  # noqa: B018 - asking is the test


def test_importing_the_package_loads_nothing_of_it() -> None:
    heavy = "import sys, worker; print([m for m in sys.modules if m.partition('.')[0] in {'aiokafka', 'pydantic'}])"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, check=True, text=True).stdout == "[]\n"


async def test_a_start_ends_when_no_broker_answers_and_leaves_nothing_running() -> None:
    tasks = asyncio.all_tasks()
    embedded = Worker(load_settings(ENVIRONMENT))
    with pytest.raises(StartError, match=r"no answer from 127\.0\.0\.1:1: .*, for 3 s"):
        await embedded.start(timeout=3)
    assert not embedded.ready
    assert asyncio.all_tasks() == tasks


async def test_a_start_that_is_cancelled_leaves_nothing_running() -> None:
    tasks = asyncio.all_tasks()
    start = asyncio.create_task(Worker(load_settings(ENVIRONMENT)).start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert asyncio.all_tasks() == tasks


async def test_a_start_that_is_cancelled_as_it_succeeds_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a timeout around it may: nobody then has a worker to stop.
    async def verified_and_cancelled(runtime: Runtime) -> bool:
        await asyncio.sleep(0)
        start.cancel()
        return True

    monkeypatch.setattr(Runtime, "_verify_topics", verified_and_cancelled)
    tasks = asyncio.all_tasks()
    start = asyncio.create_task(Worker(load_settings({**ENVIRONMENT, "WORKER_SHUTDOWN_TIMEOUT": "1s"})).start())
    with pytest.raises(asyncio.CancelledError):
        await start
    assert asyncio.all_tasks() == tasks


async def test_a_start_without_readable_accounts_is_refused_and_shows_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_text('{"P1": {"client_id": "", "client_secret": "hunter2-hunter2"}}')
    embedded = Worker(load_settings({**ENVIRONMENT, "DINTERO_ACCOUNTS_FILE": str(file)}))
    with pytest.raises(StartError, match="DINTERO_ACCOUNTS_FILE") as refused:
        await embedded.start()
    assert "hunter2" not in str(refused.value)


async def test_a_start_that_is_refused_leaves_no_thread_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    file = tmp_path / "accounts.json"
    file.write_text("{}")
    embedded = Worker(load_settings({**ENVIRONMENT, "DINTERO_ACCOUNTS_FILE": str(file)}))
    before = set(threading.enumerate())
    with pytest.raises(StartError, match="DINTERO_ACCOUNTS_FILE"):
        await embedded.start()
    assert set(threading.enumerate()) <= before


async def test_a_worker_is_started_once() -> None:
    embedded = Worker(load_settings(ENVIRONMENT))
    with pytest.raises(StartError):
        await embedded.start(timeout=0.1)
    with pytest.raises(StartError, match="make another"):
        await embedded.start()


async def test_a_worker_that_was_not_started_is_not_ready_and_stops_at_once() -> None:
    embedded = Worker(load_settings(ENVIRONMENT))
    assert not embedded.ready
    await embedded.stop()
    await embedded.wait()
    with pytest.raises(RuntimeError, match="not started"):
        embedded.status()
