"""A real Airflow for tests: its home is set before the first import of Airflow, wherever that happens."""

import json
import os
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
_HOME = tempfile.TemporaryDirectory(prefix="bcda-airflow-", ignore_cleanup_errors=True)

os.environ.update(
    {
        "AIRFLOW_HOME": _HOME.name,
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
)


@pytest.fixture(scope="session")
def airflow_database():
    """The metadata database, migrated once."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def connect(monkeypatch, places):
    """Point Airflow's connection and the project's home at a simulator."""

    def connect(server, **changes):
        extra = {
            "poll_seconds": 0.1,
            "poll_max_seconds": 0.2,
            "backoff_initial_seconds": 0.1,
            "backoff_max_seconds": 0.3,
            "file_attempts": 2,
            **changes.pop("extra", {}),
        }
        connection = {
            "conn_type": "bcda",
            "host": server.base_url,
            "login": server.entity.client_id,
            "password": server.entity.client_secret,
            "extra": extra,
            **changes,
        }
        monkeypatch.setenv("AIRFLOW_CONN_BCDA_DEFAULT", json.dumps(connection))
        monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))

    return connect
