"""The documents say what is there: links, settings and commands are real, and what the rules name exists."""

import re
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS, FOLDERS, ROOT, Typed, assert_exists, everything_typed, name, prose
from worker.settings import SECRETS, Settings, load

RULES = (ROOT / "worker" / "README.md").read_text()
SETTINGS = (ROOT / "worker" / "SETTINGS.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ROW = re.compile(r"^\| `?([\w./`, -]+?)`? \|", re.MULTILINE)
_SETTING = re.compile(r"\b(?:KAFKA|DINTERO|WORKER)_[A-Z][A-Z_]*[A-Z]\b")


def source(folder: str) -> str:
    return "\n".join(file.read_text() for file in (ROOT / folder).rglob("*.py"))


def anchors(document: Path) -> set[str]:
    """Of its headings, as hosts of Markdown make them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_something(document: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(document.read_text())):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_file_in_a_table_is_there(document: Path) -> None:
    named = re.findall(r"[\w/]+\.py\b", " ".join(_ROW.findall(document.read_text())))
    assert [file for file in named if not (document.parent / file).exists()] == []


def test_every_folder_of_the_project_says_what_it_is() -> None:
    packages = {init.parent for folder in ("worker", "tests") for init in (ROOT / folder).glob("*/__init__.py")}
    folders = packages | {ROOT / folder for folder in FOLDERS}
    assert [name(folder) for folder in folders if not (folder / "README.md").exists()] == []


def test_the_table_of_settings_has_each_of_them_once_and_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `?(.+?)`? \|", SETTINGS, re.MULTILINE)
    assert sorted(setting for setting, _ in rows) == sorted(field.upper() for field in Settings.model_fields)
    needed = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}
    defaults = load(needed, api=False)
    told = {setting: default for setting, default in rows if default not in ("required", "none")}
    assert load({**needed, **told}, api=False) == defaults
    absent = {field.upper() for field in Settings.model_fields if not getattr(defaults, field)}
    assert {setting for setting, _ in rows} - set(told) - set(needed) == absent


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_setting_that_is_named_exists(document: Path) -> None:
    known = {field.upper() for field in Settings.model_fields} | {f"{secret}_FILE" for secret in SECRETS}
    named = set(_SETTING.findall(document.read_text()))
    # `KAFKA_SSL_*` names several by how they begin.
    assert [each for each in sorted(named) if not any(one == each or one.startswith(f"{each}_") for one in known)] == []


@pytest.mark.parametrize("typed", everything_typed("terminal-worker"), ids=str)
def test_every_command_that_is_shown_exists_with_its_options(typed: Typed) -> None:
    assert_exists(typed)


def test_every_make_target_that_is_shown_exists_with_its_variables() -> None:
    shown = [each for each in everything_typed("make") if re.fullmatch("[a-z-]+", each.words[0])]
    assert len(shown) >= 4
    targets = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)
    assert [str(each) for each in shown if each.words[0] not in targets] == []
    variables = {word.partition("=")[0] for each in shown for word in each.words if "=" in word}
    assert [variable for variable in variables if f"$({variable})" not in MAKEFILE] == []


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
    files = [re.findall(r"`(tests/[\w/]+\.py)`([^|]*?)(?=`tests/|\|)", row) for row in rows]
    places = [(file, test) for named in files for file, text in named for test in re.findall(r"`(test_\w+)`", text)]
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
