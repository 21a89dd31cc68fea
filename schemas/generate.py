"""The documents for those who do not speak Python, as files."""

import json
from typing import Any

from schemas import asyncapi, json_schema, reference


def files() -> dict[str, str]:
    """Each file's text by its name: a JSON Schema for each message, the AsyncAPI document, the reference to read."""
    documents = json_schema.documents()
    texts = {f"{name}.json": _text(document) for name, document in documents.items()}
    described = asyncapi.document()
    return {**texts, "asyncapi.json": _text(described), "reference.md": reference.text(described)}


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
