"""The key from Airflow's secrets backends: looked up by name, never written anywhere, and never done without."""

import sqlite3
from functools import partial
from pathlib import Path

import duckdb
import duckdb_cryptography
import pytest
from duckdb_cryptography import KEY

from bcda.storage import duckdb_files


@pytest.fixture
def weekly(run_dag, monkeypatch):
    """Run the weekly DAG in a deployment whose key is in the Variable `bcda_encryption_secret`."""
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
    monkeypatch.setenv("BCDA_ENCRYPTION_VARIABLE", "bcda_encryption_secret")
    return partial(run_dag, "bcda_weekly_export")


def kept_by_airflow():
    """Return everything in Airflow's own database, as bytes."""
    from airflow.configuration import conf

    path = conf.get("database", "sql_alchemy_conn").removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        return "\n".join(connection.iterdump())


@pytest.mark.complete
def test_the_key_of_a_variable_encrypts_and_is_seen_nowhere(
    serve, connect, weekly, run_dag, places, monkeypatch, logged, caplog
):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("AIRFLOW_VAR_BCDA_ENCRYPTION_SECRET", KEY.text)
    connect(serve())
    state, tasks = weekly()
    assert state == "success", tasks
    state, tasks = run_dag("bcda_maintenance")
    assert state == "success", tasks
    output = logged()
    assert "landed batch" in output
    for told in (output, kept_by_airflow()):
        assert KEY.text not in told
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{places.published}' AS bcda (READ_ONLY, ENCRYPTION_KEY '{KEY.text}')")
        assert connection.execute("SELECT count(*) FROM bcda.claim_current").fetchall()[0][0]
    lake_files = list(places.lake.rglob("*.parquet"))
    assert lake_files
    assert {path.read_bytes()[-4:] for path in lake_files} == {b"PARE"}


@pytest.mark.parametrize("value", [None, "not a key"], ids=["backend-is-away", "malformed"])
def test_without_the_named_key_nothing_is_written_in_the_clear(
    serve, connect, weekly, places, monkeypatch, logged, value
):
    if value is not None:
        monkeypatch.setenv("AIRFLOW_VAR_BCDA_ENCRYPTION_SECRET", value)
    connect(serve())
    state, tasks = weekly()
    assert (state, tasks["plan[-1]"]) == ("failed", "failed")
    output = logged()
    assert ("no secrets backend has it now" if value is None else "openssl rand -base64 32") in output
    assert "not a key" not in output
    assert not [path for path in Path(places.raw.parent).rglob("*") if path.is_file()]


@pytest.mark.complete
def test_a_key_in_the_environment_of_airflow_counts_too(serve, connect, run_dag, places, monkeypatch, logged):
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
    monkeypatch.setenv("BCDA_ENCRYPTION_KEY", KEY.text)
    connect(serve())
    assert run_dag("bcda_weekly_export", resource_types=["Patient"])[0] == "success"
    assert KEY.text not in logged()
    with pytest.raises(duckdb.Error, match="without a key"):
        duckdb.connect(str(places.published), read_only=True)
