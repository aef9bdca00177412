"""A stock Airflow of someone who installs the wheel: an environment of its own, PostgreSQL, LocalExecutor, and no checkout."""

import os
import secrets
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

from code_blocks import copy_project
from native import postgresql
from packaging.requirements import Requirement

from airflow_processes import AirflowProcesses, free_port

PROJECT = Path(__file__).resolve().parents[2]

OWN_DAG = '''
"""A DAG that someone wrote for their own Airflow: it plans for both ACOs, one mapped task each."""

from airflow.sdk import DAG

from bcda_provider.operators import BcdaPlanOperator

with DAG("our_own_plan", schedule=None):
    BcdaPlanOperator.partial(task_id="plan", scope="patient", resource_types=["Patient"], full=True).expand(
        bcda_conn_id=["bcda_default", "second_aco"]
    )
'''


def build_wheel(folder):
    """Build the wheel of the working tree and return it."""
    copy_project(folder / "project")
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "project"]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    shutil.rmtree(folder / "project")
    (made,) = folder.glob("*.whl")
    return made


def lowest():
    """Return the oldest release of each package that the wheel takes, as constraints."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"] + project["optional-dependencies"]["simulator"]:
        found = Requirement(line)
        (bound,) = [part.version for part in found.specifier if part.operator == ">="]
        yield f"{found.name}=={bound}"


def install(folder, wheel, airflow, constraints=()):
    """Install an Airflow and the wheel in one command, as the documentation says; return the environment's folder.

    Args:
        folder: a new one.
        wheel: the file.
        airflow: requirement of Airflow.
        constraints: lines such as those of a constraints file.
    """
    wanted = [airflow, f"airflow-provider-bcda[simulator] @ {wheel.as_uri()}"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    if constraints:
        (folder / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints))
        wanted += ["--constraint", folder / "constraints.txt"]
    program = folder / "bin" / "python"
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--quiet", "--python", program]
    else:
        command = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            program,
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
    subprocess.run([*command, *wanted], check=True, cwd=folder, env=_environment())
    return folder


def _environment():
    """The variables of this process without those that lead to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "BCDA", "PYTHON"))}


@contextmanager
def stock_airflow(home, installed, **environment):
    """Start an Airflow of an environment on a PostgreSQL of its own."""
    port, password = free_port(), secrets.token_hex(8)
    dags = home / "dags"
    shutil.copytree(PROJECT / "dags", dags, ignore=shutil.ignore_patterns("*.toml", "__pycache__"))
    (dags / "our_own_plan.py").write_text(OWN_DAG)
    (home / "plugins").mkdir()
    given = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{port}/airflow",
        "PATH": f"{installed / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        **environment,
    }
    service = {"environment": {"POSTGRES_USER": "airflow", "POSTGRES_DB": "airflow"}}
    with postgresql(port, service, password), AirflowProcesses(home / "airflow", environment=given) as airflow:
        yield airflow


def run(airflow, *command, without=()):
    """Run a command of the environment; `without` names variables that it does not see."""
    environment = {name: value for name, value in airflow.environment.items() if name not in without}
    return subprocess.run(command, env=environment, cwd=airflow.home, capture_output=True, text=True, check=False)
