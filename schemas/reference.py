"""The reference for people, in Markdown: the AsyncAPI document as tables, so that the two cannot differ."""

import json
import re
from collections.abc import Iterator
from typing import Any

_JSON_OBJECT = dict[str, Any]
_LINKED = re.compile(r'"#/components/schemas/(\w+)"')


def text(asyncapi: _JSON_OBJECT) -> str:
    return "\n".join(_lines(asyncapi)).rstrip() + "\n"


def _lines(asyncapi: _JSON_OBJECT) -> Iterator[str]:
    components = asyncapi["components"]
    schemas = components["schemas"]
    yield from (f"# {asyncapi['info']['title']}", "", asyncapi["info"]["description"], "")
    for channel in asyncapi["channels"].values():
        yield from (f"## `{channel['address']}`", "", channel["description"], "")
        for name in channel["messages"]:
            message = components["messages"][name]
            yield from (f"### {message['title']}", "")
            if "headers" in message:
                yield from _table("header", message["headers"])
            if "payload" in message:
                yield from _table("member", schemas[_referred(message["payload"])])
            yield from _example(message["examples"][0])
    yield from ("## Types", "")
    for name in sorted(set(_LINKED.findall(json.dumps(schemas)))):
        yield from (f"### {name}", "", *_prose(schemas[name]))
        # A type without members holds whatever the API gives.
        yield from _table("member", schemas[name]) if "properties" in schemas[name] else ("Any JSON.", "")


def _prose(schema: _JSON_OBJECT) -> Iterator[str]:
    if "description" in schema:
        yield from (schema["description"], "")


def _table(what: str, schema: _JSON_OBJECT) -> Iterator[str]:
    required = schema.get("required", ())
    yield from (f"| {what} | required | type | |", "|---|---|---|---|")
    for name, member in schema["properties"].items():
        cells = (f"`{name}`", "yes" if name in required else "", _type(member), member.get("description", ""))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _type(schema: _JSON_OBJECT) -> str:
    if "$ref" in schema:
        name = _referred(schema)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(choice) for choice in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    return str(schema.get("format", schema.get("type", "any")))


def _referred(schema: _JSON_OBJECT) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _example(example: _JSON_OBJECT) -> Iterator[str]:
    headers = [f"{name}: {value}" for name, value in example.get("headers", {}).items()]
    value = json.dumps(example["payload"], indent=2, ensure_ascii=False)
    yield from ("```", *headers, *([""] if headers else []), *value.splitlines(), "```", "")
