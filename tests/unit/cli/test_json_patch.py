"""JSON Patch: the examples of RFC 6902 that have to do with adding, replacing and removing; and what it refuses."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli import json_patch
from worker.cli.json_patch import PatchError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~0", max_size=2), inner, max_size=3),
    max_leaves=8,
)


def patched(document: Any, *operations: dict[str, Any]) -> Any:
    return json_patch.apply(document, json_patch.parse(orjson.dumps(operations).decode()))


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"foo": "bar", "baz": "qux"}),
        ({"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "qux"}, {"foo": ["bar", "qux", "baz"]}),
        ({"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": [1]}, {"foo": ["bar", [1]]}),
        ({"foo": "bar"}, {"op": "add", "path": "/foo", "value": None}, {"foo": None}),
        ({"baz": 1, "foo": 2}, {"op": "remove", "path": "/baz"}, {"foo": 2}),
        ({"foo": [1, 2, 3]}, {"op": "remove", "path": "/foo/1"}, {"foo": [1, 3]}),
        ({"baz": 1}, {"op": "replace", "path": "/baz", "value": {"a": 2}}, {"baz": {"a": 2}}),
        ({"~1": 1, "/": 2}, {"op": "replace", "path": "/~01", "value": 3}, {"~1": 3, "/": 2}),
        ({"a/b": 1}, {"op": "remove", "path": "/a~1b"}, {}),
        ({"": 1}, {"op": "replace", "path": "/", "value": 2}, {"": 2}),
        ({"foo": 1}, {"op": "replace", "path": "", "value": []}, []),
    ],
)
def test_an_operation_does_what_the_standard_says(document: Any, operation: dict[str, Any], expected: Any) -> None:
    assert patched(document, operation) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/baz/bat", "value": 1},
        {"op": "add", "path": "/foo/3", "value": 1},
        {"op": "add", "path": "/foo/01", "value": 1},
        {"op": "add", "path": f"/foo/{'9' * 5000}", "value": 1},
        {"op": "replace", "path": "/foo/-", "value": 1},
        {"op": "replace", "path": "/new", "value": 1},
        {"op": "remove", "path": "/new"},
        {"op": "remove", "path": "/foo/0/x"},
        {"op": "remove", "path": ""},
    ],
)
def test_a_place_that_does_not_exist_is_refused(operation: dict[str, Any]) -> None:
    document = {"foo": [1, 2]}
    with pytest.raises(PatchError):
        patched(document, operation)
    assert document == {"foo": [1, 2]}


def test_a_patch_that_fails_half_way_leaves_the_document_as_it_was() -> None:
    document = {"foo": [1, 2]}
    with pytest.raises(PatchError):
        patched(document, {"op": "remove", "path": "/foo/0"}, {"op": "remove", "path": "/new"})
    assert document == {"foo": [1, 2]}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[1]", '[{"op": "move", "from": "/a", "path": "/b"}]', '[{"op": "add", "path": "/a"}]'),
        *('[{"op": "remove", "path": "a"}]', '[{"op": "remove", "path": "/~2"}]', '[{"op": "test", "path": "/a"}]'),
    ],
)
def test_what_is_no_patch_of_these_operations_is_refused(text: str) -> None:
    with pytest.raises(PatchError):
        json_patch.parse(text)


@given(st.dictionaries(st.text("a/~0", max_size=3), JSON), st.text("a/~0", max_size=3), JSON)
def test_what_is_added_is_there_and_removed_it_is_gone(document: dict[str, Any], name: str, value: Any) -> None:
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    added = patched(document, {"op": "add", "path": path, "value": value})
    assert added == {**document, name: value}
    assert patched(added, {"op": "remove", "path": path}) == {k: v for k, v in document.items() if k != name}
