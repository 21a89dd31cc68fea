"""Who may know whom. The domain decides and knows nothing of Kafka, HTTP or telemetry; the edges do not know each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FORBIDDEN = {
    "worker/domain": (
        "aiokafka",
        "httpx",
        "pyreqwest",
        "opentelemetry",
        "pydantic",
        "asyncio",
        "time",
        "random",
        "structlog",
    )
    + (
        "worker.kafka",
        "worker.dintero",
        "worker.telemetry",
        "worker.engine",
        "worker.clock",
        "worker.settings",
        "schemas",
    ),
    "worker/dintero": ("aiokafka", "worker.kafka", "worker.engine", "worker.runtime", "worker.settings", "worker.cli"),
    "worker/kafka": ("httpx", "pyreqwest", "worker.runtime", "worker.settings", "worker.cli", "worker.http"),
    "worker/telemetry": ("aiokafka", "httpx", "worker.kafka", "worker.dintero", "worker.engine", "worker.runtime"),
    "worker/http": ("aiokafka", "httpx", "worker.kafka", "worker.dintero", "worker.engine", "worker.runtime"),
    "worker/simulator": (
        "aiokafka",
        "worker.domain",
        "worker.kafka",
        "worker.dintero",
        "worker.engine",
        "worker.settings",
    ),
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
