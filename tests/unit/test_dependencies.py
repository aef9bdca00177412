"""Every locked dependency has its license in docs/licenses.md, and an audit that could not be done is no success."""

import json
import re
import subprocess
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import duckdb_cryptography
import pytest
from packaging.requirements import Requirement
from pyarrow.parquet import encryption

import audit
import licenses
from bcda import export
from bcda.api.export_request import Scope
from bcda.errors import InvalidRequestError
from bcda.runs.plan import Wish
from bcda.settings import ApiVersion


def test_the_page_lists_what_is_locked_under_allowed_licenses():
    listed = licenses.listed()
    assert list(listed) == list(licenses.locked()), "run `make licenses`"
    assert [name for name, stated in listed.items() if not licenses.is_allowed(stated)] == []


def test_the_page_says_what_the_installed_packages_say():
    installed = {re.sub(r"[-_.]+", "-", found.name).lower() for found in metadata.distributions()}
    listed = {name: stated for name, stated in licenses.listed().items() if name in installed}
    assert len(listed) > 100
    assert {name: licenses.license_of(name) for name in listed} == listed


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
def test_of_a_choice_one_license_counts_and_of_several_all(expression, is_allowed):
    assert licenses.is_allowed(expression) is is_allowed


PROJECT = Path(__file__).resolve().parents[2]
FOR_THE_CHECKOUT_ONLY = {
    "python-dateutil": "a bound for the lock; nothing here imports it",
    "hatchling": "builds the package",
}


def test_the_ranges_of_the_package_name_what_requirements_in_names_and_hold_what_is_locked():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    ranges = {
        found.name: found.specifier
        for found in map(Requirement, project["dependencies"] + project["optional-dependencies"]["simulator"])
    }
    lines = (PROJECT / "requirements.in").read_text().splitlines()
    named = {Requirement(line.partition("#")[0].strip()).name for line in lines if re.match(r"[a-z]", line)}
    assert set(ranges) == named - set(FOR_THE_CHECKOUT_ONLY)
    for name, specifier in ranges.items():
        assert any(bound.operator == ">=" for bound in specifier), f"{name} has no lower bound"
        assert specifier.contains(metadata.version(name)), f"{name} {specifier} without the locked one"
    assert str(ranges["apache-airflow"]) == "<3.4,>=3.3"


def test_a_pyarrow_that_cannot_encrypt_is_refused_before_anything_is_asked_for(places, monkeypatch):
    """The functions are those of pyarrow 25."""
    monkeypatch.delattr(encryption, "create_encryption_properties")
    wish = Wish(ApiVersion.V2, Scope.PATIENT, ("Patient",))
    with pytest.raises(InvalidRequestError, match="needs pyarrow 25 or newer; this is "):
        export.plan(replace(places, key=duckdb_cryptography.KEY), wish, now=datetime.now(UTC))
    assert not places.raw.exists()
    assert export.plan(places, wish, now=datetime.now(UTC)).run_id


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
