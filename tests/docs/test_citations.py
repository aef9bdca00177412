"""The code cites pages of docs/ as its sources: each citation leads to a section, and none to anything outside the project."""

import re
import subprocess
from functools import cache
from pathlib import Path

import markdown

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("include", "plugins", "dags", "scripts", "tests", "benchmarks")
SUFFIXES = {".py", ".sql", ".toml", ".yaml", ".yml", ".sh"}
CITATION = re.compile(r"\bdocs/([\w./-]+\.md)(?:#([\w-]*))?")
SECTION_SIGN = "\N{SECTION SIGN}"
ELSEWHERE = re.compile(SECTION_SIGN + r"|\bwire" r" contract\b", re.IGNORECASE)
"""Documents that are not in the project, and sections by their numbers, which no link can follow."""


def tracked(*folders):
    names = subprocess.run(["git", "ls-files", "-z", *folders], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [PROJECT / name for name in names.stdout.split("\0") if name and (PROJECT / name).exists()]


def code():
    return [path for path in tracked(*FOLDERS) if path.suffix in SUFFIXES]


@cache
def anchors(page):
    reader = markdown.Markdown(extensions=["toc", "tables", "pymdownx.superfences"])
    reader.convert((PROJECT / "docs" / page).read_text(encoding="utf-8"))
    return {anchor for token in reader.toc_tokens for anchor in ids(token)}


def ids(token):
    yield token["id"]
    for below in token["children"]:
        yield from ids(below)


def broken(text):
    """Return the citations of a text that lead nowhere."""
    return [
        match[0]
        for match in CITATION.finditer(text)
        if not (PROJECT / "docs" / match[1]).exists() or (match[2] is not None and match[2] not in anchors(match[1]))
    ]


def test_every_citation_leads_to_a_section_of_a_page():
    found = 0
    for path in code():
        text = path.read_text(encoding="utf-8")
        found += len(CITATION.findall(text))
        if path != Path(__file__).resolve():
            assert not broken(text), path.relative_to(PROJECT)
    assert found > 200


def test_nothing_is_cited_that_is_not_in_the_project():
    pages = [path for path in tracked("docs", "*.md") if path.suffix == ".md"]
    for path in [*code(), *pages]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            assert not ELSEWHERE.search(line), f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"


def test_a_citation_of_nothing_is_found():
    assert broken("Source: docs/bcda.md#token, docs/concepts.md.") == []
    assert broken("(docs/bcda.md#no-such-section)") == ["docs/bcda.md#no-such-section"]
    assert broken("Source: docs/bcda.md#.") == ["docs/bcda.md#"]
    assert broken("Source: docs/no-such-page.md#token.") == ["docs/no-such-page.md#token"]
    for text in (f"Wire{' '}contract, page 3", f"table model {SECTION_SIGN}3"):
        assert ELSEWHERE.search(text)
