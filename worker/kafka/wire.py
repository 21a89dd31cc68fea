"""The four requests of a transaction, packed by hand: aiokafka's own structures take three times as long.

Each is what `AIOKafkaClient.send` takes for a request, and what the connection below it asks of one. An answer is read
as far as it is wanted: its error codes. Brokers know these versions since Apache Kafka 2.1; 4.x has not dropped them.
"""

from collections.abc import Iterable, Mapping
from io import BytesIO
from struct import Struct, pack, unpack_from
from typing import Any, ClassVar, NamedTuple, Self

from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion

_ALL_REPLICAS = -1

_header = Struct(">hhi").pack
_int = Struct(">i").pack
_two_ints = Struct(">ii").pack
_length_at = Struct(">h").unpack_from
_count_at = Struct(">i").unpack_from
_code_at = Struct(">ih").unpack_from

Codes = dict[TopicPartition, int]
"""The error code of each partition."""


class Identity(NamedTuple):
    """Of a producer: brokers refuse all that comes with an older epoch."""

    transactional_id: str
    producer_id: int
    epoch: int

    @property
    def packed(self) -> bytes:
        return _text(self.transactional_id) + pack(">qh", self.producer_id, self.epoch)


class Request:
    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]
    RESPONSE_TYPE: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        cls.RESPONSE_TYPE = cls  # so that `decode` can stand beside `encode`

    def encode(self) -> bytes:
        raise NotImplementedError

    @staticmethod
    def decode(answer: BytesIO) -> Any:
        raise NotImplementedError

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:
        """For a broker that takes these versions."""
        oldest, newest = versions.get(self.API_KEY, (-1, -1))
        if not oldest <= self.API_VERSION <= newest:
            raise IncompatibleBrokerVersion(
                f"{type(self).__name__} of version {self.API_VERSION} is none of {oldest} to {newest}"
            )
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> "_Header":
        return _Header(_header(self.API_KEY, self.API_VERSION, correlation_id) + _text(client_id))

    def parse_response_header(self, answer: BytesIO) -> "_AnswerHeader":
        return _AnswerHeader(*_count_at(answer.read(4)))


class _Header(NamedTuple):
    packed: bytes

    def encode(self) -> bytes:
        return self.packed


class _AnswerHeader(NamedTuple):
    correlation_id: int


class Begun(NamedTuple):
    code: int
    producer_id: int
    epoch: int


class InitProducerId(Request):
    """Fences every earlier producer of the id, and aborts what it left open."""

    API_KEY = 22
    API_VERSION = 0

    def __init__(self, transactional_id: str, transaction_timeout_ms: int) -> None:
        self.transactional_id = transactional_id
        self._transaction_timeout_ms = transaction_timeout_ms

    def encode(self) -> bytes:
        return _text(self.transactional_id) + _int(self._transaction_timeout_ms)

    @staticmethod
    def decode(answer: BytesIO) -> Begun:
        return Begun(*unpack_from(">hqh", answer.read(), 4))


class AddPartitions(Request):
    """Tells the coordinator of partitions before the first record goes to them."""

    API_KEY = 24
    API_VERSION = 0

    def __init__(self, identity: Identity, places: Iterable[TopicPartition]) -> None:
        self.identity = identity
        self.places = places

    def encode(self) -> bytes:
        topics: dict[str, list[int]] = {}
        for place in self.places:
            topics.setdefault(place.topic, []).append(place.partition)
        parts = [self.identity.packed, _int(len(topics))]
        for topic, partitions in topics.items():
            parts += (_text(topic), pack(f">{len(partitions) + 1}i", len(partitions), *partitions))
        return b"".join(parts)

    @staticmethod
    def decode(answer: BytesIO) -> Codes:
        return _codes(answer.read(), at=4, length=6)


class Produce(Request):
    """One batch for each of some partitions that one broker leads."""

    API_KEY = 0
    API_VERSION = 7

    def __init__(self, identity: Identity, batches: Mapping[TopicPartition, bytes], timeout_ms: int) -> None:
        self.identity = identity
        self.batches = batches
        self._timeout_ms = timeout_ms

    def encode(self) -> bytes:
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for place, batch in self.batches.items():
            topics.setdefault(place.topic, []).append((place.partition, batch))
        parts = [_text(self.identity.transactional_id), pack(">hii", _ALL_REPLICAS, self._timeout_ms, len(topics))]
        for topic, batches in topics.items():
            parts += (_text(topic), _int(len(batches)))
            for partition, batch in batches:
                parts += (_two_ints(partition, len(batch)), batch)
        return b"".join(parts)

    @staticmethod
    def decode(answer: BytesIO) -> Codes:
        return _codes(answer.read(), at=0, length=30)


class EndTransaction(Request):
    """Commits it. It says of no transaction which one it means: one that comes late ends whatever is open."""

    API_KEY = 26
    API_VERSION = 0

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def encode(self) -> bytes:
        return self.identity.packed + b"\x01"

    @staticmethod
    def decode(answer: BytesIO) -> int:
        return int(unpack_from(">h", answer.read(), 4)[0])


def _text(text: str) -> bytes:
    packed = text.encode()
    return pack(">h", len(packed)) + packed


def _codes(answer: bytes, *, at: int, length: int) -> Codes:
    """Topics from `at` on, each with partitions of that length, which begin with their number and their code."""
    codes: Codes = {}
    (topics,) = _count_at(answer, at)
    at += 4
    for _ in range(topics):
        (name,) = _length_at(answer, at)
        topic = answer[at + 2 : at + 2 + name].decode()
        at += 2 + name
        (partitions,) = _count_at(answer, at)
        at += 4
        for _ in range(partitions):
            partition, code = _code_at(answer, at)
            codes[TopicPartition(topic, partition)] = code
            at += length
    return codes
