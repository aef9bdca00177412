"""Every test belongs to a suite, every suite to the Makefile and to .ci/run; what is missing or late is said."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

import suites

PROJECT = Path(__file__).resolve().parents[2]

COLLECT = """
import json, sys, pytest
class Collected:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        found = {item.nodeid: sorted({mark.name for mark in item.iter_markers()}) for item in items}
        json.dump(found, open(sys.argv[1], "w"))
sys.exit(pytest.main(["--collect-only", "-q", "-n", "0", "-m", "", "-p", "no:cacheprovider", "tests"], plugins=[Collected()]))
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """Every test of the project, and its markers."""
    target = tmp_path_factory.mktemp("collected") / "tests.json"
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, target], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return json.loads(target.read_text())


def suites_of(test, markers):
    """The suites that run a test, by their paths and marker expressions; an expression of pytest is one of Python."""
    known = defaultdict(bool, dict.fromkeys(markers, True))
    return [
        suite.name
        for suite in suites.suites().values()
        if any(test.startswith(f"{path}/") for path in suite.paths)
        and (not suite.select or eval(suite.select, {"__builtins__": {}}, known))
    ]


@pytest.mark.complete
def test_every_test_belongs_to_a_suite(collected):
    assert len(collected) > 1000
    assert [test for test, markers in collected.items() if not suites_of(test, markers)] == []


@pytest.mark.complete
def test_make_test_covers_the_library_dags_faults_and_kills(collected):
    tests = [test for test, markers in collected.items() if "test" in suites_of(test, markers)]
    folders = {test.split("/")[1] for test in tests}
    assert folders == {"unit", "integration", "dags", "faults", "crash"}
    assert sum("tests/faults/test_fault_matrix" in test and "::test_fault[" in test for test in tests) >= 25
    assert [test for test in tests if "dags/test_weekly_export.py" in test]


def test_every_suite_is_a_make_target_and_says_what_it_needs():
    makefile = (PROJECT / "Makefile").read_text()
    targets = dict(re.findall(r"^(test[a-z-]*|lint):[^#\n]*## (.+)$", makefile, re.MULTILINE))
    assert set(targets) == set(suites.suites())
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE).group(1).split()
    for name, suite in suites.suites().items():
        assert name in phony
        for need in suite.needs:
            assert need.about.removeprefix("the ") in targets[name] or need.folder, (name, need.about)


def test_the_page_for_contributors_lists_them():
    rows = re.findall(r"^\| `make .*$", (PROJECT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert rows == [suites.row(suite) for suite in suites.suites().values()]


def test_all_suites_together_fit_into_an_hour():
    budgets = [suite.budget_minutes for suite in suites.suites().values() if not suite.elsewhere]
    assert sum(budgets) <= suites.TOTAL_MINUTES
    assert suites.suites()["test"].budget_minutes == 6


def test_the_workflow_runs_every_suite():
    workflow = yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text())
    commands = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in commands


@pytest.mark.complete
@pytest.mark.parametrize(("given", "is_skipped"), [("", True), ("--nothing-skipped", False)])
@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_suite_that_skips_a_test_fails_where_it_may_not(tmp_path, given, is_skipped, processes):
    shutil.copy(PROJECT / "tests/conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\ndef test_a():\n    pytest.skip('no browser')\n\ndef test_b(): pass\n"
    )
    paths = os.pathsep.join(str(PROJECT / part) for part in ("tests/unit", "include"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", processes, "-p", "no:cacheprovider", *filter(None, [given]), "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert (done.returncode == 0) is is_skipped


def test_a_suite_does_not_start_without_what_it_needs(tmp_path):
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts/suites.py", "run", "test-browser"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "make test-browser needs Chromium, which is not installed. Install it: sudo apt-get install chromium\n"
    )


def test_the_path_of_make_test_hides_what_other_suites_need(tmp_path, monkeypatch):
    programs, links = tmp_path / "programs", tmp_path / "links"
    for folder in (programs, links):
        folder.mkdir()
    for name in ("chromium", "make"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{tmp_path}")
    path = suites.path_without({"chromium"}, links)
    assert shutil.which("make", path=path)
    assert not shutil.which("chromium", path=path)


@pytest.fixture
def project_of(tmp_path, monkeypatch):
    """A project whose Makefile and table of suites are given."""

    def make(recipes, table):
        (tmp_path / "Makefile").write_text("".join(f"{name}:\n\t@{recipe}\n" for name, recipe in recipes.items()))
        (tmp_path / "suites.toml").write_text(table)
        monkeypatch.setattr(suites, "PROJECT", tmp_path)
        monkeypatch.setattr(suites, "TABLE", tmp_path / "suites.toml")

    return make


@pytest.mark.complete
def test_all_suites_run_and_a_table_says_how_each_went(project_of, capfd, monkeypatch):
    table = "".join(
        f'[suites.{name}]\nabout = "it"\nbudget_minutes = {minutes}\n{more}\n'
        for name, minutes, more in (
            ("good", 1, ""),
            ("bad", 1, ""),
            ("late", 0.01, ""),
            ("bare", 1, 'needs = ["nothing"]'),
            ("spare", 1, 'needs = ["samples"]'),
        )
    )
    table += '[needs.nothing]\nabout = "Nothing"\nprograms = ["no-such-program"]\ndebian = "nothing"\n'
    table += '[needs.samples]\nabout = "samples"\nfolder = "/no/such/folder"\nis_optional = true\n'
    project_of({"good": "echo 3 passed", "bad": "false", "late": "sleep 60", "bare": "true"}, table)
    assert suites.run_all([]) == 1
    said = capfd.readouterr().out
    for line in (
        r"3 passed",
        r"good +0\.0 +1  passed",
        r"bad +0\.0 +1  FAILED",
        r"late +0\.\d +0\.01  STOPPED after 0\.\d minutes, over its budget",
        r"bare +0\.0 +1  not run: needs Nothing",
        r"spare +0\.0 +1  not run: needs samples",
        r"all +0\.\d +60",
    ):
        assert re.search(line, said), line
    assert suites.run_all(["good", "spare"]) == 0
    assert suites.run_all(["bare"]) == 1
    monkeypatch.setattr(suites, "BEGUN_WITHIN_MINUTES", -1)
    assert suites.run_all(["bad", "good"]) == 0
    assert re.search(r"bad +0\.0 +1  NOT RUN: -1 minutes were over; run make bad", capfd.readouterr().out)
