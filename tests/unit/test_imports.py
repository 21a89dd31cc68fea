"""Who may know whom: the domain knows nothing of Kafka, HTTP or telemetry, and the edges do not know each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

EDGES = ("worker.engine", "worker.runtime", "worker.settings", "worker.view", "worker.cli")

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "worker/domain": (
        *("aiokafka", "asyncio", "httpx", "opentelemetry", "pydantic", "httptools", "random", "structlog", "time"),
        *("schemas", "worker.clock", "worker.dintero", "worker.kafka", "worker.telemetry", *EDGES),
    ),
    "worker/dintero": ("aiokafka", "worker.kafka", *EDGES),
    "worker/kafka": (
        "httpx",
        "httptools",
        "worker.http",
        "worker.runtime",
        "worker.settings",
        "worker.view",
        "worker.cli",
    ),
    "worker/telemetry": ("aiokafka", "httpx", "worker.kafka", "worker.dintero", *EDGES),
    "worker/http": ("aiokafka", "httpx", "worker.kafka", "worker.dintero", *EDGES),
    "worker/simulator": ("aiokafka", "worker.domain", "worker.kafka", "worker.dintero", *EDGES),
    "schemas": ("aiokafka", "httpx", "opentelemetry", "worker"),
}


def imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_folder_imports_nothing_it_must_not_know(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"{folder} is gone: take it out of the rules"
    broken = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in sorted(imported(file))
        if any(name == root or name.startswith(f"{root}.") for root in FORBIDDEN[folder])
    ]
    assert broken == []
