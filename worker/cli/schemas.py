"""`terminal-worker schemas`."""

from pathlib import Path
from typing import Annotated

import typer

from schemas import files
from worker.cli import common


def schemas(
    name: Annotated[str | None, typer.Argument(help="One file; all without it.")] = None,
    output: Annotated[Path | None, typer.Option(help="A folder to write them to, instead of printing.")] = None,
) -> None:
    """Print or write the schemas of every message, AsyncAPI, and the reference.

    For those who send requests and read outcomes. Without a name, all files.

    Examples:

        terminal-worker schemas reference.md

        terminal-worker schemas asyncapi.json | jq .channels

        terminal-worker schemas --output schemas/
    """
    found = files()
    if name is not None:
        if name not in found:
            common.fail(f"no file {name!r}: expected one of {', '.join(found)}", code=common.WRONG_SETTINGS)
        found = {name: found[name]}
    if output is not None:
        _write(found, output)
    elif name is not None:
        typer.echo(found[name], nl=False)
    else:
        for each, text in found.items():
            typer.echo(f"==> {each} <==\n{text}")


def _write(texts: dict[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
            typer.echo(folder / name)
    except OSError as error:
        common.fail(f"cannot write to {folder}: {error.strerror}")
