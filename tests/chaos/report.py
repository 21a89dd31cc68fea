"""The figures of a run, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

_MOST_SHOWN = 30


@dataclass(slots=True)
class Report:
    """It was a good run when `violations` is empty."""

    violations: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    """Promises that broke for message IDs of transactions of which a broker says that it dropped the end."""
    figures: dict[str, object] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        path.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))

    def __str__(self) -> str:
        lines = [f"{name:<28} {_text(value)}" for name, value in self.figures.items()]
        lines += [f"EXCUSED, a broker skipped a transaction's markers: {line}" for line in self.excused[:_MOST_SHOWN]]
        return "\n".join(lines + [f"BROKEN: {violation}" for violation in self.violations[:_MOST_SHOWN]])


def spread(seconds: Sequence[float]) -> str:
    """The median and the longest of some times."""
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f} s, at most {ordered[-1]:.1f} s"


def _text(value: object) -> str:
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)
