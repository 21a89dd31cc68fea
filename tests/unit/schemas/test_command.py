"""`terminal-worker schemas`: printed, or written."""

from pathlib import Path

from typer.testing import CliRunner

import schemas
from worker.cli.commands import app

FILES = schemas.files()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["schemas", *arguments])
    return result.exit_code, result.output


def test_one_file_is_printed_as_it_is() -> None:
    assert run("asyncapi.json") == (0, FILES["asyncapi.json"])


def test_all_files_are_printed_each_under_its_name() -> None:
    code, output = run()
    assert code == 0
    assert all(f"==> {name} <==\n{text}" in output for name, text in FILES.items())


def test_files_are_written_into_a_folder_that_may_be_new(tmp_path: Path) -> None:
    code, output = run("--output", str(tmp_path / "new"))
    assert code == 0
    assert {file.name: file.read_text() for file in (tmp_path / "new").iterdir()} == FILES
    assert len(output.splitlines()) == len(FILES)


def test_one_file_alone_can_be_written(tmp_path: Path) -> None:
    assert run("reference.md", "--output", str(tmp_path))[0] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["reference.md"]


def test_an_unknown_file_is_wrong_use_and_the_known_ones_are_named() -> None:
    code, output = run("openapi.json")
    assert code == 2
    assert output.startswith("error: no file 'openapi.json': expected one of ")
    assert output.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, output = run("--output", str(tmp_path / "file"))
    assert code == 1
    assert output.startswith("error: cannot write to ")
