"""The table of outside software names tests and commands that exist, and the versions that are locked."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "tested-against.md"
COLUMNS = 3


def rows():
    """Software, version, and how it is tested, for each row of each table."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [cells for cells in found if cells[0] != "software"]


def names(cells):
    return cells[0]


def locked(package):
    """The versions of a package in the locks of the project, or else in those of the tools that only tests install."""
    for pattern in ("requirements*.txt", "tests/readers/requirements/*.txt"):
        locks = [path.read_text(encoding="utf-8") for path in PROJECT.glob(pattern)]
        line = re.compile(rf"^{re.escape(package)}==(\S+)", re.MULTILINE)
        if versions := {version for lock in locks for version in line.findall(lock)}:
            return versions
    return set()


def test_the_table_has_rows_of_three_cells_and_each_thing_once():
    found = rows()
    assert len(found) > 15
    assert all(len(cells) == COLUMNS for cells in found), [cells for cells in found if len(cells) != COLUMNS]
    assert len({names(cells) for cells in found}) == len(found)


@pytest.mark.parametrize("cells", rows(), ids=names)
def test_a_locked_version_is_that_of_the_locks(cells):
    software, version, _ = cells
    package = re.search(r"\(`([^`]+)`\)", software)
    if not version.endswith(", locked"):
        assert package is None or not locked(package[1]), f"{package[1]} is locked: write its version and `, locked`"
        return
    assert package, f"{software} names no package in parentheses"
    assert locked(package[1]) == set(version.removesuffix(", locked").split(", "))


@pytest.mark.parametrize("cells", rows(), ids=names)
def test_each_row_names_a_test_or_command_that_exists_or_says_that_it_is_not_run(cells):
    how = cells[2]
    files = re.findall(r"\]\(\.\./([^)#]+)\)", how)
    targets = re.findall(r"`make ([a-z-]+)", how)
    assert files or targets or how.startswith("not run"), cells
    for name in files:
        path = PROJECT / name
        assert path.exists(), name
        assert name.startswith("tests/"), name
        assert "def test_" in path.read_text(encoding="utf-8"), f"{name} has no test"
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_versions_of_python_are_those_that_the_project_supports():
    named = [re.findall(r"3\.\d+", cells[1]) for cells in rows() if cells[0] == "Python"]
    oldest = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert [oldest] == [f">={versions[0]}" for versions in named]


def test_the_earlier_releases_of_duckdb_are_those_that_the_tests_install():
    locks = (PROJECT / "tests/readers/requirements").glob("duckdb-*.txt")
    named = [cells[1].split(", ") for cells in rows() if cells[0] == "DuckDB, earlier releases"]
    assert {path.stem.removeprefix("duckdb-") for path in locks} == {version for row in named for version in row}
