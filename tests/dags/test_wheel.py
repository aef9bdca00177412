"""The package as others install it: built, unpacked beside no checkout, and found by Airflow through its metadata alone."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from stock import build_wheel

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.complete

LOOK = """
    import json, os, bcda, bcda_provider, bcda_simulator
    from importlib import metadata
    from airflow import plugins_manager
    from airflow.dag_processing.dagbag import DagBag
    from airflow.providers_manager import ProvidersManager
    from airflow.utils.db import initdb
    initdb()
    bag = DagBag()
    plugins, errors = plugins_manager._get_plugins()
    provider = ProvidersManager().providers["airflow-provider-bcda"]
    print(json.dumps({
        "folders": sorted({os.path.dirname(os.path.dirname(package.__file__)) for package in (bcda, bcda_provider, bcda_simulator)}),
        "dags": sorted(bag.dags), "dag_errors": bag.import_errors,
        "plugins": [str(plugin.source) for plugin in plugins if plugin.name == "bcda"], "plugin_errors": errors,
        "versions": provider.data["versions"], "requires": metadata.requires("airflow-provider-bcda"),
        "type": ProvidersManager().hooks["bcda"].hook_class_name,
    }))
    """


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the working tree."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the unpacked wheel and copies of the DAG files, and the environment of an Airflow that uses both."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "packages")
    shutil.copytree(PROJECT / "dags", folder / "dags")
    (folder / "plugins").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "BCDA"))}
    environment = {
        **kept,
        # Before the editable installation of the tests' environment.
        "PYTHONPATH": str(folder / "packages"),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "BCDA_SOURCES": "bcda_default,second_aco",
    }
    return folder, environment


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
    files = subprocess.run(
        ["git", "ls-files", "include/bcda", "include/bcda_simulator", "plugins/bcda_provider"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert {name.partition("/")[2] for name in files if (PROJECT / name).exists()} <= there
    assert "bcda_provider_metadata.py" in there
    # Names of others' folders would collide with the user's own.
    assert {name.partition("/")[0] for name in there if "dist-info" not in name} == {
        *("bcda", "bcda_simulator", "bcda_provider", "bcda_provider_metadata.py")
    }


def test_dags_page_and_connection_type_come_with_it(installed):
    folder, environment = installed
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOOK)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["folders"] == [str(folder / "packages")]
    names = ("attribution_check", "attribution_export", "maintenance", "runout_export", "weekly_export")
    assert found["dags"] == sorted(f"bcda_{name}{source}" for name in names for source in ("", "__second_aco"))
    assert found["dag_errors"] == {}
    # The environment of the tests has the package a second time, in place.
    assert all("already registered" in text for text in found["plugin_errors"].values())
    assert len(found["plugins"]) == 1
    assert "airflow-provider-bcda" in found["plugins"][0]
    assert found["type"] == "bcda_provider.hooks.BcdaHook"
    assert "apache-airflow<3.4,>=3.3" in found["requires"]
    of_the_extra = {line.partition("<")[0] for line in found["requires"] if "extra == 'simulator'" in line}
    assert {"starlette", "uvicorn"} <= of_the_extra


@pytest.mark.parametrize(
    "arguments", [("-m", "bcda", "status"), ("-m", "airflow", "bcda", "doctor")], ids=["bcda", "doctor"]
)
def test_it_writes_no_claims_beside_itself(installed, arguments):
    folder, environment = installed
    before = sorted(folder.iterdir())
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "BCDA_HOME is not set" in " ".join((done.stdout + done.stderr).split())
    assert sorted(folder.iterdir()) == before
