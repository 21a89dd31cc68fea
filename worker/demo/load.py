"""What the demo sends: mostly good requests, and some of everything that can go wrong with one."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from uuid import uuid4

import orjson
from confluent_kafka import Producer

ACCOUNT = "P11223351"
_OPERATIONS = ("end_of_day", "send_logs", "check_update", "open_menu")
_FLUSH_TIMEOUT = 10.0


class Kind(Enum):
    """What becomes of a record."""

    GOOD = "completed"
    REJECTED = "rejected by the API"
    FAILING = "failed on the terminal"
    TIMING_OUT = "timed out on the terminal"
    INVALID = "invalid, with a message ID"
    NAMELESS = "invalid, without a message ID"
    DUPLICATE = "sent twice"
    REUSED = "message ID reused for something else"


PATTERNS = {Kind.REJECTED: "*-T00[14]0", Kind.FAILING: "*-T00[14]1", Kind.TIMING_OUT: "*-T00[14]2"}
"""The terminals that are not good, as the simulator is told of them."""


@dataclass(frozen=True, slots=True)
class Sent:
    kind: Kind
    key: bytes
    value: bytes
    headers: dict[str, str] = field(default_factory=dict)


def load(count: int, terminals: int) -> list[Sent]:
    """`count` records over so many terminals, the same ones in the same order at each call but for message IDs."""
    chance = random.Random(7)
    names = [f"{ACCOUNT}-T{number:04}" for number in range(terminals)]
    extras = [Kind.INVALID, Kind.NAMELESS, Kind.DUPLICATE, Kind.REUSED]
    # None in the first tenth: a repeat needs something to repeat.
    special = dict(zip(chance.sample(range(count // 10, count), count // 20), extras * count, strict=False))
    good: list[Sent] = []
    sent: list[Sent] = []
    for number in range(count):
        terminal = chance.choice(names)
        message_id = str(uuid4())
        request = _request(_kind_of_terminal(terminal), terminal, message_id, chance.choice(_OPERATIONS))
        extra = special.get(number)
        if extra is None:
            good.append(request)
        sent.append(request if extra is None else _special(extra, request, chance.choice(good[-40:] or [request])))
    return sent


def _kind_of_terminal(terminal: str) -> Kind:
    return next((kind for kind, pattern in PATTERNS.items() if fnmatchcase(terminal, pattern)), Kind.GOOD)


def _request(kind: Kind, terminal: str, message_id: str, operation: str) -> Sent:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": message_id,
        "ce_source": "/demo",
        "ce_type": "terminal.operation.requested.v1",
        "content-type": "application/json",
    }
    value = {"terminal_id": terminal, "operation": operation}
    return Sent(kind, terminal.encode(), orjson.dumps(value), headers)


def _special(kind: Kind, fresh: Sent, earlier: Sent) -> Sent:
    match kind:
        case Kind.INVALID:
            return Sent(kind, fresh.key, b'{"terminal_id": 7, "operation": ["end_of_day"]}', fresh.headers)
        case Kind.NAMELESS:
            return Sent(kind, fresh.key, b"\xff\xfe this is not JSON")
        case Kind.DUPLICATE:
            return Sent(kind, earlier.key, earlier.value, earlier.headers)
        case _:
            other = {"terminal_id": earlier.key.decode(), "operation": "end_of_day", "parameters": {"operator_id": "7"}}
            return Sent(kind, earlier.key, orjson.dumps(other), earlier.headers)


def kinds(sent: Sequence[Sent]) -> Counter[Kind]:
    return Counter(record.kind for record in sent)


class Sender:
    """Produces to the requests topic, each key in the partition that Java's producer would choose."""

    def __init__(self, client: Mapping[str, str], topic: str) -> None:
        self._producer = Producer({**client, "partitioner": "murmur2_random", "linger.ms": 0})
        self._topic = topic

    def send(self, record: Sent) -> None:
        headers: list[tuple[str, str | bytes | None]] = list(record.headers.items())
        self._producer.produce(self._topic, record.value, record.key, headers=headers)
        self._producer.poll(0)

    def close(self) -> None:
        """Waits, for a while, until the broker has everything."""
        self._producer.flush(_FLUSH_TIMEOUT)
