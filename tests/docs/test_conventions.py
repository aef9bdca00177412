"""What people look for first: license, version, changelog, templates and workflows that hold together."""

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import suites

PROJECT = Path(__file__).resolve().parents[2]
GITHUB = PROJECT / ".github"


def test_the_license_is_the_apache_license_as_published():
    digest = hashlib.sha256((PROJECT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"


def test_there_is_one_version_and_the_changelog_begins_with_it():
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    newest = re.search(
        r"^## \[(.+?)\] - (unreleased|\d{4}-\d\d-\d\d)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert newest.group(1) == version
    images = re.findall(r"BCDA_VERSION:-([^}]+)\}", (PROJECT / "docker-compose.yaml").read_text())
    assert set(images) == {version}


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", "workflows/*.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_the_code_host_can_read_them(schema, pattern):
    files = sorted(map(str, GITHUB.glob(pattern)))
    assert files
    program = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([program, "--builtin-schema", schema, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted(GITHUB.glob("ISSUE_TEMPLATE/[!c]*.yml")), ids=lambda path: path.stem)
def test_a_form_warns_of_data_of_people_before_it_asks_anything(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    first = form["body"][0]
    assert first["type"] == "markdown"
    assert "Never put data about people here" in first["attributes"]["value"]
    ids = [part["id"] for part in form["body"][1:]]
    assert len(ids) == len(set(ids))
    for part in form["body"][1:]:
        assert part["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert part["attributes"]["label"]


@pytest.mark.parametrize("path", sorted(GITHUB.glob("workflows/*.yml")), ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_runs_what_is_there(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    # YAML reads the word `on` as true.
    assert set(workflow[True]) == {"push", "pull_request"}
    for job in workflow["jobs"].values():
        # .ci/run ends by itself before that.
        assert job["timeout-minutes"] <= suites.STOPPED_AFTER_MINUTES + 10
        for command in [step["run"] for step in job["steps"] if "run" in step]:
            program, _, rest = command.partition(" ")
            assert (
                program == "git"
                or (PROJECT / program).exists()
                or re.search(rf"^{rest}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)
            )


def test_the_badges_lead_to_the_workflows():
    names = re.findall(r"\.\./\.\./actions/workflows/(\w+\.yml)", (PROJECT / "README.md").read_text())
    assert len(names) == 4
    for name in names:
        assert (GITHUB / "workflows" / name).exists()
