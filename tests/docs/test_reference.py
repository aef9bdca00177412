"""The generated reference is that of the code, and nothing that a person can meet is missing from it."""

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import duckdb
import pytest

from bcda import errors
from bcda.settings import Tuning
from reference_pages import commands, database, messages, settings
from reference_pages.templates import sources

PROJECT = Path(__file__).resolve().parents[2]
PAGES = PROJECT / "docs" / "reference"


def page(name):
    return (PAGES / name).read_text(encoding="utf-8")


def sections(text):
    """Heading → the text below it."""
    parts = re.split(r"^#{2,3} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def words(text):
    """Text with neither escapes nor the places where something is filled in."""
    return re.sub(r"\s+", " ", text.replace("\\", ""))


def test_the_pages_are_those_that_the_code_gives():
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nRun `make reference` and commit docs/reference."


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_everything_listed_is_described(path):
    rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert rows or path.stem == "messages"
    for row in rows:
        assert re.split(r"(?<!\\)\|", row)[-2].strip(), row


def test_every_table_view_and_column_is_there(tmp_path):
    shown = {"main": sections(page("tables.md")), "cclf": sections(page("cclf.md"))}
    with duckdb.connect(str(database.empty_database(tmp_path)), read_only=True) as connection:
        columns = connection.execute(
            "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    assert len(columns) > 1000
    for schema, name, column in columns:
        if schema == "cclf":
            assert f"| `{column}` |" in shown["cclf"][name] or column in {"file_name", "file_date"}, (name, column)
        else:
            title = name if schema == "main" else f"{schema}.{name}"
            assert f"| `{column}` |" in shown["main"][title], (title, column)


def test_every_check_is_there():
    names = [path.stem for path in (PROJECT / "include/bcda/model/checks").glob("*.sql")]
    assert len(names) > 20
    for name in names:
        assert f"| `{name}` |" in page("checks.md"), name


def test_every_setting_is_there():
    shown = page("configuration.md")
    for field in fields(Tuning):
        named = f"`extra.{field.name}`" in shown or f"| `{field.name}` |" in shown
        assert named, f"{field.name} is not in FIELDS or ADVANCED of provider_info.py"
    used = settings.names_in_use()
    assert {"BCDA_HOME", "BCDA_SOURCES", "AIRFLOW_PORT", "BCDA_NOTIFIERS"} <= set(used)
    unknown = {name: path for name, path in used.items() if name not in settings.NOTES}
    assert not unknown, (
        f"describe these in scripts/reference_pages/environment.toml, then run `make reference`: {unknown}"
    )
    assert set(settings.NOTES) <= set(used), "environment.toml describes what nothing reads any more"
    for path in [*(PROJECT / "dags").glob("*.py"), *(PROJECT / "plugins").rglob("*.py")]:
        for name in re.findall(r'"(\w+)": Param\(', path.read_text(encoding="utf-8")):
            assert f"| `{name}` |" in shown, (path.name, name)


def test_every_kind_of_error_has_its_cause_and_its_next_step():
    shown = sections(page("messages.md"))
    for name, found in vars(errors).items():
        if inspect.isclass(found) and issubclass(found, errors.BcdaError) and found is not errors.BcdaError:
            assert messages.NOTES["classes"][name].keys() == {"cause", "next"}, f"{name} in messages.toml"
            assert "**Cause:**" in shown[name], name
            assert "**What to do:**" in shown[name], name


def test_every_message_of_an_error_is_there():
    """Read in another way than the page is made: each literal piece of each error that is built anywhere."""
    shown = words(page("messages.md"))
    seen = 0
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            known = getattr(errors, name, None)
            if not inspect.isclass(known) or not issubclass(known, errors.BcdaError):
                continue
            for part in ast.walk(node.args[0]):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and len(part.value.split()) > 2:
                    seen += 1
                    assert words(part.value).strip() in shown, (path.name, node.lineno, part.value)
    assert seen > 100


def test_no_note_explains_a_message_that_is_gone():
    texts = [said.text for said in messages.raised()]
    texts += [said.text for found in messages.other().values() for said in found]
    for entry in messages.NOTES["message"]:
        assert any(entry["words"] in text for text in texts), entry["words"]


def test_every_metric_is_there_and_nothing_else_is_emitted():
    path = PROJECT / "plugins/bcda_provider/metrics.py"
    names = re.findall(r'Metric\(\s*"([\w.]+)"', path.read_text(encoding="utf-8"))
    assert len(names) > 10
    for name in names:
        assert f"| `{name}` |" in page("metrics.md"), name
    for other in set(sources()) - {path}:
        assert not re.search(r"\b[Ss]tats\.(incr|decr|gauge|timing|timer)\(", other.read_text(encoding="utf-8")), (
            other.name
        )


def test_every_make_target_is_explained_and_there():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE).group(1).split())
    explained = {name for group in commands.make_targets().values() for name in group}
    assert targets == phony == explained
    helped = subprocess.run(["make", "-s", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in targets:
        assert f"| `make {name}` |" in page("commands.md"), name
        assert re.search(rf"^  {name} +\w", helped, re.MULTILINE), name


def test_every_command_is_there():
    shown = page("commands.md")
    files = ("include/bcda/__main__.py", "include/bcda/commands/endpoints.py")
    source = "".join((PROJECT / name).read_text(encoding="utf-8") for name in files)
    names = re.findall(r"@app\.command\(\)\ndef (\w+)", source)
    assert {"status", "export"} <= set(names)
    for name in names:
        assert f"### python -m bcda {name.replace('_', '-')}\n" in shown
    provider = (PROJECT / "plugins/bcda_provider/cli.py").read_text(encoding="utf-8")
    for name in re.findall(r'ActionCommand\(\s*name="(\w+)"', provider):
        assert f"### airflow bcda {name}\n" in shown
