"""Each attack on permissions and privacy worked on the release before they were closed, and gains nothing on this one."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from earlier_code import PROJECT, code_of

BEFORE = "7d75af7"
"""The commit on which every attack worked."""

HERE = Path(__file__).parent
NAMES = [
    entry.id
    for node in ast.parse((HERE / "attacks.py").read_text()).body
    if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "ATTACKS"
    for entry in node.value.elts
]


def gains(code, folder):
    """Return what each attack gains on a release, by name."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "BCDA"))},
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(code / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(code / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": f"{code / 'include'}:{code / 'plugins'}",
    }
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, HERE / "attacks.py", folder],
        cwd=code,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    code_of(BEFORE, folder / "code", "include", "plugins", "dags", "docker-compose.yaml")
    return gains(folder / "code", folder / "attacked")


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    return gains(PROJECT, tmp_path_factory.mktemp("today") / "attacked")


@pytest.mark.complete
@pytest.mark.parametrize("name", NAMES)
def test_an_attack_worked_before_and_gains_nothing_now(name, before, today):
    assert not before[name].startswith("DID NOT RUN"), before[name]
    assert before[name]
    assert today[name] == ""


@pytest.mark.complete
def test_every_attack_is_run(before, today):
    assert set(NAMES) == set(before) == set(today)
