"""Every locked dependency has its licence in docs/licences.md, and an audit that could not be done is no success."""

import json
import re
import subprocess
from importlib import metadata

import pytest

import audit
import licences


def test_the_page_lists_what_is_locked_under_allowed_licences():
    listed = licences.listed()
    assert list(listed) == list(licences.locked()), "run `make licences`"
    assert [name for name, stated in listed.items() if not licences.is_allowed(stated)] == []


def test_the_page_says_what_the_installed_packages_say():
    installed = {re.sub(r"[-_.]+", "-", found.name).lower() for found in metadata.distributions()}
    listed = {name: stated for name, stated in licences.listed().items() if name in installed}
    assert len(listed) > 100
    assert {name: licences.licence(name) for name in listed} == listed


@pytest.mark.parametrize(
    ("expression", "is_allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("Artistic-1.0 OR GPL-2.0-or-later", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 AND MIT", True),
        ("", False),
        ("Proprietary", False),
    ],
)
def test_of_a_choice_one_licence_counts_and_of_several_all(expression, is_allowed):
    assert licences.is_allowed(expression) is is_allowed


def answer(*packages):
    return json.dumps({"dependencies": packages, "fixes": []})


CLEAN = {"name": "arrow", "version": "1.0", "vulns": []}
FLAWED = {"name": "jinja2", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}]}
SKIPPED = {"name": "typer", "skip_reason": "Dependency not found on PyPI and could not be audited: typer (1)"}


@pytest.mark.parametrize(
    ("stdout", "stderr", "status", "said"),
    [
        (answer(CLEAN), "", 0, "0 known vulnerabilities"),
        (answer(CLEAN, FLAWED), "", 1, "jinja2 1.0 (requirements.txt): PYSEC-1, mended in 1.1"),
        (answer(CLEAN, SKIPPED), "", 2, "NOT AUDITED"),
        ("", "Traceback\nConnectionError: no such host", 2, "ConnectionError: no such host"),
    ],
    ids=["clean", "vulnerable", "unanswered", "unreachable"],
)
def test_only_a_complete_audit_without_findings_succeeds(monkeypatch, capsys, stdout, stderr, status, said):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout, stderr))
    assert audit.main() == status
    assert said in "".join(capsys.readouterr())
