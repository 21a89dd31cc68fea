"""The project's documents: what they have people type, and whether it is there."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import typer
from typer.core import TyperGroup

from worker.cli.commands import app

ROOT = Path(__file__).parents[2]
FOLDERS = ("worker", "schemas", "tests", "deploy")
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.md")) if "node_modules" not in file.parts),
]

_FENCE = re.compile(r"^( *)```\w*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
# A word that stands for another, or for more of them.
_PLACEHOLDER = re.compile(r"\[?[A-Z][A-Z_:\]\[]+|\.\.\.|<.*>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Typed:
    """A command as a document has it, from behind the program's name."""

    document: str
    words: tuple[str, ...]

    @property
    def literal(self) -> bool:
        """Whether none of its words stands for another."""
        return not any(_PLACEHOLDER.fullmatch(word) for word in self.words)

    def __str__(self) -> str:
        return f"{self.document}: {shlex.join(self.words)}"


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def prose(text: str) -> str:
    """Without what is shown as code."""
    return _CODE.sub("", _FENCE.sub("", text))


def typed(document: str, text: str, program: str) -> Iterator[Typed]:
    """Each use of the program, in blocks and as `code`, up to a pipe, a comment, or what else is the shell's."""
    text = text.replace("\\\n", " ")
    blocks = [found[2] for found in _FENCE.finditer(text)]
    begins = re.compile(rf"(?:^|[ /\"]){program} (.+)")
    for line in [line for block in blocks for line in block.splitlines()] + _CODE.findall(_FENCE.sub("", text)):
        if found := begins.search(line):
            yield Typed(document, tuple(_words(found[1])))


def _words(line: str) -> Iterator[str]:
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    return takewhile(lambda word: not set(word) <= set(words.punctuation_chars), words)


def everything_typed(program: str) -> list[Typed]:
    """Each use once, over all documents."""
    return list({each: None for file in DOCUMENTS for each in typed(name(file), file.read_text(), program)})


def assert_exists(typed: Typed) -> None:
    """That `terminal-worker` has this command with these options, and takes their values."""
    command, words = typer.main.get_command(app), list(typed.words)
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}
    # A command alone may be a mention of it, and need not run as it stands.
    if words and typed.literal and not isinstance(command, TyperGroup):
        command.make_context(str(command.name), words).close()
