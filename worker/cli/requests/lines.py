"""Lines of a file as documents: JSON, one a line, or CSV with a header. The first character tells which."""

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson

from schemas import PlainRequest

COLUMNS = tuple(PlainRequest.model_fields)
MAX_LINE = 1_048_576
_REQUIRED = [name for name, field in PlainRequest.model_fields.items() if field.is_required()]
_BOM = "\ufeff".encode()


class LineError(ValueError):
    """What is wrong with a line, for a person. Quotes no content."""


class Line(NamedTuple):
    """Where a document begins or ends, and the document: or why it is none."""

    number: int
    document: dict[str, Any] | LineError


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """Every document of a file; blank lines hold none. After a line that hides where the next begins, no more come."""
    lines = _physical(file)
    for number, line in lines:
        if isinstance(line, LineError):
            yield Line(number, line)
        elif first := line.removeprefix(_BOM if number == 1 else b"").strip():
            if first.startswith(b"{"):
                yield Line(number, _from_json(first))
                yield from _json_lines(lines)
            else:
                yield from _csv_rows(first, number, lines)
            return


def _physical(file: BinaryIO) -> Iterator[tuple[int, bytes | LineError]]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            yield number, LineError(f"expected at most {MAX_LINE} bytes in a line")
            return
        yield number, line


def _json_lines(lines: Iterator[tuple[int, bytes | LineError]]) -> Iterator[Line]:
    for number, line in lines:
        if isinstance(line, LineError):
            yield Line(number, line)
        elif text := line.strip():
            yield Line(number, _from_json(text))


def _from_json(text: bytes) -> dict[str, Any] | LineError:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return LineError("expected a JSON object in UTF-8")
    return document if isinstance(document, dict) else LineError("expected a JSON object")


def _csv_rows(header: bytes, number: int, lines: Iterator[tuple[int, bytes | LineError]]) -> Iterator[Line]:
    head = header.decode(errors="replace")
    delimiter = ";" if head.count(";") > head.count(",") else ","  # as spreadsheets write it in half of Europe
    at = number

    def texts() -> Iterator[str]:
        nonlocal at
        for reached, line in lines:
            at = reached
            if isinstance(line, LineError):
                raise line
            # What is no UTF-8 is refused with its member's name, when the document is checked.
            yield line.decode(errors="surrogateescape")

    try:
        names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter, strict=True))]
        if problem := _wrong_header(names):
            yield Line(number, problem)
            return
        for row in csv.reader(texts(), delimiter=delimiter, strict=True):
            if any(map(str.strip, row)):
                yield Line(at, _from_row(names, row))
    except (csv.Error, LineError) as error:
        yield Line(at, LineError(str(error)))


def _wrong_header(names: list[str]) -> LineError | None:
    if set(names) <= set(COLUMNS) and set(_REQUIRED) <= set(names) and len(set(names)) == len(names):
        return None
    optional = ", ".join(name for name in COLUMNS if name not in _REQUIRED)
    return LineError(
        f"expected JSON objects, or a CSV header with {' and '.join(_REQUIRED)}, and at most {optional} besides"
    )


def _from_row(names: list[str], row: list[str]) -> dict[str, Any] | LineError:
    if len(row) != len(names):
        return LineError(f"expected {len(names)} fields, as the header has; found {len(row)}")
    document: dict[str, Any] = {name: field.strip() for name, field in zip(names, row, strict=True) if field.strip()}
    if "parameters" in document:
        try:
            document["parameters"] = orjson.loads(document["parameters"])
        except orjson.JSONDecodeError:
            return LineError("parameters: expected a JSON object")
    return document
