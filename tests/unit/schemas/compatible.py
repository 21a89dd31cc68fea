"""The rule of compatible change within a version: both old and new readers understand both old and new writers.

An object may gain optional members. Whatever else a schema says of the values it takes stays as it is; titles,
descriptions and examples are for people and may change.
"""

from collections.abc import Iterator
from typing import Any

_FOR_PEOPLE = ("title", "description", "examples")
_MEMBERS = ("properties", "$defs")


def problems(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """What breaks someone, each with its place in the schema."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield f"{path}: {old!r} became {new!r}"
        return
    for name in _rules(old) | _rules(new):
        place = f"{path}/{name}"
        if name in _MEMBERS:
            yield from _members(old.get(name, {}), new.get(name, {}), place)
        elif name == "required":
            # Its order says nothing.
            yield from problems(sorted(old.get(name, ())), sorted(new.get(name, ())), place)
        elif isinstance(old.get(name), list) and isinstance(new.get(name), list) and len(old[name]) == len(new[name]):
            for index, (before, after) in enumerate(zip(old[name], new[name], strict=True)):
                yield from problems(before, after, f"{place}/{index}")
        else:
            yield from problems(old.get(name), new.get(name), place)


def _rules(schema: dict[str, Any]) -> set[str]:
    return {name for name in schema if name not in _FOR_PEOPLE}


def _members(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[str]:
    """Members by name: a name is no rule, also where it is `title`. A new one is optional, as `required` is held."""
    for name, schema in old.items():
        if name in new:
            yield from problems(schema, new[name], f"{path}/{name}")
        else:
            yield f"{path}/{name}: is gone"
