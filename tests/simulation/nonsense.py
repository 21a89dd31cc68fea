"""What no API should say, in the place of an answer."""

from random import Random
from typing import Any

import orjson

Answer = tuple[int, dict[str, str], Any]
"""Status, headers and JSON, or bytes as they are."""

_DEEP = b"[" * 200 + b"]" * 200
_LARGE = orjson.dumps({"x": "x" * 300_000})
_BODIES: tuple[bytes, ...] = (
    *(b"", b"null", b"[]", b"{}", b"[[]]", b"42", b'"PENDING"', b"{", b"\xff\xfe", b"<html>busy</html>"),
    *(b'{"id":null}', b'[{"id":1,"status":"COMPLETED"}]', b'{"id":"","status":"COMPLETED"}', _DEEP, _LARGE),
)
_RETRY_AFTER = ("-1", "0", "soon", "1e3", "9" * 19, "Thu, 01 Jan 1970 00:00:00 GMT")


def about(random: Random, body: dict[str, Any]) -> Answer:
    """Instead of an operation: another's, a broken one, one of a strange status, or nothing of the kind."""
    forged: dict[str, Any] = {
        **body,
        **random.choice(
            (
                {"terminal_id": "P1-other"},
                {"operation": "explode", "status": "COMPLETED"},
                {"status": "THINKING"},
                {"status": None},
                {"status": ["COMPLETED"]},
                {"id": "x" * 10_000, "status": "COMPLETED"},
                {"deep": orjson.loads(_DEEP)},
            )
        ),
    }
    content = random.choice((random.choice(_BODIES), orjson.dumps(forged), orjson.dumps([forged])))
    return random.choice((200, 201, 204, 207)), {}, content


def failure(random: Random) -> Answer:
    """An error that says nothing of whether it ran."""
    headers = {"retry-after": random.choice(_RETRY_AFTER)} if random.random() < 0.3 else {}
    return random.choice((302, 408, 425, 500, 502, 504, 599)), headers, random.choice(_BODIES)
