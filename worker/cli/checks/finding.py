"""What checks find, one after another."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from enum import Enum
from typing import NamedTuple


class Level(Enum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """One line of the report. `fix` says what to do about a warning or a problem."""

    check: str
    level: Level
    found: str
    fix: str | None = None


def failed(findings: list[Finding]) -> bool:
    return any(finding.level is Level.PROBLEM for finding in findings)


async def until_failed(names: Sequence[str], checks: AsyncGenerator[list[Finding]] | None) -> list[Finding]:
    """The findings of each check up to the first that fails; what comes after it is skipped."""
    findings: list[Finding] = []
    left = list(names)
    if checks is not None:
        async with aclosing(checks):
            try:
                async for found in checks:
                    findings += found
                    left.pop(0)
                    if failed(found):
                        break
            except Exception as error:  # noqa: BLE001 - whatever breaks one check, the report must be given
                reason = " ".join(str(error).split()) or type(error).__name__
                findings.append(Finding(left.pop(0), Level.PROBLEM, f"no answer: {reason}", "try again"))
    return findings + [Finding(name, Level.SKIPPED, "needs what failed above") for name in left]
