"""JSON Patch (RFC 6902), as much as mending a dead letter takes: `add`, `replace`, `remove`."""

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

_INDEX = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_Path = Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$")]


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Literal["add", "replace"]
    path: _Path
    value: JsonValue


class _Removal(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Literal["remove"]
    path: _Path


_Operation = Annotated[_Change | _Removal, Field(discriminator="op")]
Patch = Sequence[_Change | _Removal]
_PATCH: TypeAdapter[list[_Change | _Removal]] = TypeAdapter(list[_Operation])


class PatchError(ValueError):
    """The patch is none, or does not fit the document. The message names the place."""


def parse(text: str) -> Patch:
    try:
        return _PATCH.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the patch"
        raise PatchError(f"{place}: {problem['msg']}") from None


def apply(document: Any, patch: Patch) -> Any:
    """The changed document; the one given stays as it is. Raises PatchError when a place does not exist."""
    changed = {"": deepcopy(document)}  # a holder, so that the whole document has a parent too
    for operation in patch:
        parent, name = _place(changed, operation.path)
        if isinstance(operation, _Removal):
            _present(parent, name, operation.path)
            del parent[name]
        elif operation.op == "replace":
            _present(parent, name, operation.path)
            parent[name] = deepcopy(operation.value)
        elif isinstance(parent, list):
            if name > len(parent):
                raise PatchError(f"{operation.path}: there is no such place")
            parent.insert(name, deepcopy(operation.value))
        else:
            parent[name] = deepcopy(operation.value)
    if "" not in changed:
        raise PatchError("the whole document cannot be removed")
    return changed[""]


def _place(holder: Any, path: str) -> tuple[Any, Any]:
    """The object or array a path leads into, and the name or index there."""
    *steps, last = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]
    place = holder
    for step in steps:
        at = _at(place, step, path)
        _present(place, at, path)
        place = place[at]
    return place, _at(place, last, path)


def _at(place: Any, step: str, path: str) -> Any:
    if isinstance(place, dict):
        return step
    if isinstance(place, list):
        if step == "-":
            return len(place)
        if _INDEX.fullmatch(step):
            return int(step)
    raise PatchError(f"{path}: there is no such place")


def _present(place: Any, at: Any, path: str) -> None:
    if at not in place if isinstance(place, dict) else at >= len(place):
        raise PatchError(f"{path}: there is no such place")
