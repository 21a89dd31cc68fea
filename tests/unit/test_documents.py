"""The documents say what is there: links lead somewhere, and what the rules name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("worker", "schemas", "tests", "deploy")
DOCUMENTS = [ROOT / "README.md", *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("README.md")))]
RULES = (ROOT / "worker" / "README.md").read_text()

_LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)[^)]*\)")
_ROW = re.compile(r"^\| `?([\w./`, -]+?)`? \|", re.MULTILINE)


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def source(folder: str) -> str:
    return "\n".join(file.read_text() for file in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_something(document: Path) -> None:
    links = [link for link in _LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_file_in_a_table_is_there(document: Path) -> None:
    named = re.findall(r"[\w/]+\.py\b", " ".join(_ROW.findall(document.read_text())))
    assert [file for file in named if not (document.parent / file).exists()] == []


def test_every_folder_of_the_project_says_what_it_is() -> None:
    packages = {init.parent for folder in ("worker", "tests") for init in (ROOT / folder).glob("*/__init__.py")}
    folders = packages | {ROOT / folder for folder in FOLDERS}
    assert [name(folder) for folder in folders if not (folder / "README.md").exists()] == []


def test_every_place_and_test_that_the_rules_name_exists() -> None:
    code, tests = source("worker"), source("tests")
    rules = RULES[RULES.index("## The ten rules") : RULES.index("## The layout")]
    guards, places = re.findall(r"`(test_\w+)`", rules), re.findall(r"`([A-Z]\w+)\.(\w+)`", rules)
    assert len(guards) >= 10
    assert [guard for guard in guards if f"def {guard}(" not in tests] == []
    assert [place for place in places if f"class {place[0]}" not in code or f"def {place[1]}(" not in code] == []
    assert [file for file in re.findall(r"`(tests/[\w/]+\.py)`", rules) if not (ROOT / file).exists()] == []


def test_every_test_that_the_guarantees_name_is_in_the_file_they_name() -> None:
    rows = [line for line in (ROOT / "worker" / "GUARANTEES.md").read_text().splitlines() if line.startswith("| ")]
    named = [re.findall(r"`(tests/[\w/]+\.py)`|`(test_\w+)`", row) for row in rows]
    places = [(found[0][0], test) for found in named if found for _, test in found if test]
    assert len(places) >= 15
    assert [place for place in places if not defines(*place)] == []


def defines(file: str, test: str) -> bool:
    return (ROOT / file).exists() and f"def {test}(" in (ROOT / file).read_text()


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    wanted = project[project.index("dependencies = [") : project.index("[dependency-groups]")]
    reasons = RULES[RULES.index("## Dependencies") :]
    names = [found for found in re.findall(r'"([\w-]+)[><=]', wanted) if "exporter" not in found]
    assert len(names) > 10
    assert [dependency for dependency in names if dependency not in reasons] == []
