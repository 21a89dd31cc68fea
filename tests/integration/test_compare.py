"""The comparison with other programs measures what it says, and its stand-in keeps to the API."""

import json
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.benchmarks.compare import compare
from tests.benchmarks.peers import report
from tests.benchmarks.peers.load import Read, timed
from tests.benchmarks.peers.programs import FLOOR, OPERATION_TAKES, WORKER, build_api, start_api
from tests.contract import test_service as service_tests
from tests.contract.test_service import Service
from tests.unit.dintero.support import ACCOUNT, CREDENTIALS
from worker.demo.broker import KafkaBroker

CREATED = b'{"status":"created"}'


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("api")
    api, address = start_api(build_api(folder), folder / "api.log")
    with api:
        yield address


@pytest.fixture
def service(stand_in: str) -> Service:
    return Service(stand_in, ACCOUNT, CREDENTIALS, f"{ACCOUNT}-T0013", OPERATION_TAKES / 2)


# What the simulator is asked, asked of the stand-in.
caller = service_tests.caller
test_the_stand_in_runs_a_key_once_and_ends_its_operation = (
    service_tests.test_an_operation_is_run_once_for_its_key_and_followed_to_its_end
)
test_the_stand_in_knows_only_its_own_operations = service_tests.test_an_operation_it_does_not_know_ends_nothing


@pytest.mark.kafka
def test_the_worker_and_the_floor_are_compared_in_one_run(kafka: KafkaBroker, tmp_path: Path) -> None:
    results = compare(kafka.bootstrap, [WORKER, FLOOR], count=100, seconds=0.4, rounds=1, seed=1)
    report.write(results, tmp_path, {"seed": 1})
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((tmp_path / "compare.json").read_bytes())["results"]
    loads = {(each["program"], each["mode"], each["load"]): each for each in told}
    for program in ("worker", "floor"):
        for mode in ("create", "lifecycle"):
            assert loads[program, mode, "full"]["cpu_us"] > 0
            steady = loads[program, mode, "50/s"]
            assert 0 < steady["created_ms"]["p50"] <= steady["created_ms"]["p99"]
            assert (steady["completed_ms"] is not None) == (mode == "lifecycle")
    assert "| lifecycle | full | worker |" in report.table(results)


def test_latencies_are_of_each_request_from_its_own_beginning() -> None:
    sent = {b"a": 10.0, b"b": 20.0}
    read = [Read(20.5, b"b", CREATED), Read(21.0, b"a", CREATED), _completed(25.0, b"a"), _completed(25.0, b"b")]
    told = timed(sent, read, outcomes=2)
    assert told.to_created == [11.0, 0.5]
    assert told.to_completed == pytest.approx([5.0, 5.0])


@pytest.mark.parametrize(
    "read",
    [
        [Read(1, b"a", CREATED)],
        [Read(1, b"a", CREATED), Read(1, b"a", CREATED), Read(1, b"b", CREATED)],
        [Read(1, b"a", CREATED), Read(1, b"b", CREATED), Read(1, b"c", CREATED)],
    ],
    ids=["missing", "repeated", "unasked"],
)
def test_a_program_that_does_not_do_the_work_is_not_measured(read: list[Read]) -> None:
    with pytest.raises(AssertionError):
        timed({b"a": 0.0, b"b": 0.0}, read, outcomes=1)


def _completed(at: float, key: bytes) -> Read:
    operation = {"updated_at": "1970-01-01T00:00:20.000000Z"}
    return Read(at, key, orjson.dumps({"status": "completed", "terminal_operation": operation}))
