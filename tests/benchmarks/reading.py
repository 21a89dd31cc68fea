"""What it costs to read a record: every shape, beside the floor, which is `orjson.loads` of its value.

    python -m tests.benchmarks.reading

CPU of this process, the least of several runs: the machine is shared.
"""

import base64
import time
from collections.abc import Callable
from functools import partial

import orjson

from tests.unit.wire import DATA, ENVELOPE, ID, READER, STRUCTURED, TRACEPARENT, binary, record
from worker.domain.request import Invalid, Record

_RUNS = 15
_READS = 3_000

_TRACED = [("traceparent", TRACEPARENT), ("content-type", b"application/json"), ("ce_time", b"2026-01-02T03:04:05Z")]
_FULL = {**DATA, "parameters": {"operator_id": "x"}, "expires_at": "2026-01-02T03:04:05.678901+01:00"}
SHAPES: dict[str, Record] = {
    "binary": record(),
    "binary, traced": record(headers=[*binary(), *_TRACED]),
    "binary, all members": record(_FULL),
    "binary, no UUID": record(headers=binary(ce_id=b"17")),
    "structured": record({**ENVELOPE, "data": DATA}, STRUCTURED),
    "structured, base64": record(
        {**ENVELOPE, "data_base64": base64.b64encode(orjson.dumps(DATA)).decode()}, STRUCTURED
    ),
    "plain, header": record(DATA, [("message-id", ID.encode())]),
    "plain, member": record({**DATA, "message_id": ID}, []),
    "refused": record({**DATA, "operation": "reboot"}),
}


def main() -> None:
    print(f"{'shape':<20} {'us a read':>10} {'floor':>7} {'ratio':>6}")
    for name, sample in SHAPES.items():
        assert isinstance(READER.read(sample), Invalid) == (name == "refused")
        value = sample.value or b""
        cost, floor = _least(partial(READER.read, sample)), _least(partial(orjson.loads, value))
        print(f"{name:<20} {cost:>10.2f} {floor:>7.2f} {cost / floor:>6.1f}")


def _least(run: Callable[[], object]) -> float:
    """Microseconds of one call."""
    took = []
    for _ in range(_RUNS):
        began = time.process_time()
        for _ in range(_READS):
            run()
        took.append(time.process_time() - began)
    return min(took) / _READS * 1e6


if __name__ == "__main__":
    main()
