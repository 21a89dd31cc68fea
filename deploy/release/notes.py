"""Writes the release notes: what the changelog says of this version, and a review of every package it installs.

.venv/bin/python deploy/release/notes.py OUTPUT
"""

import re
import sys
from importlib.metadata import metadata
from pathlib import Path

from worker import __version__

ROOT = Path(__file__).parents[2]

_ASKED_FOR = 'The worker\'s own reasons for a package: worker/README.md, "Dependencies".'
_HEAD = "| package | version | licence | asked for by |\n|---|---|---|---|\n"


def main(output: Path) -> None:
    output.write_text(f"# {__version__}\n\n{changes()}\n## Packages\n\n{_ASKED_FOR}\n\n{_HEAD}{review()}")


def changes() -> str:
    """This version's part of the changelog. Raises ValueError where it has none."""
    parts = re.split(r"^## (\S+).*\n", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    return parts[parts.index(__version__) + 1].lstrip()


def review() -> str:
    """A row for each locked package; not for those that Linux does without, which are not installed here either."""
    rows = []
    for package in re.split(r"^(?=\w)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE):
        if found := re.match(r"([\w.-]+)==(\S+) \\", package):
            askers = re.findall(r"^    # +([\w.-]+)", package.replace("# via", "#"), re.MULTILINE)
            asked = ", ".join(askers).replace("terminal-operations-worker", "**the worker**")
            rows.append(f"| {found[1]} | {found[2]} | {licence(found[1])} | {asked} |\n")
    return "".join(rows)


def licence(name: str) -> str:
    """As the installed package states it."""
    stated = metadata(name)
    named = [each.rsplit(" :: ", 1)[-1] for each in stated.get_all("Classifier", []) if each.startswith("License ::")]
    return stated.get("License-Expression") or " or ".join(named) or stated.get("License") or "in its own file"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
