"""The DAGs as they are, with a bucket between their tasks."""

import pytest
from object_server import S3Server

from bcda_simulator.world import World


@pytest.fixture
def s3():
    with S3Server() as server:
        yield server


@pytest.mark.complete
def test_export_and_maintenance_go_through_the_bucket(serve, connect, run_dag, ask, s3, monkeypatch, logged):
    connect(serve(World(people=4, seed=2, history_weeks=12)))
    monkeypatch.setenv(
        "BCDA_OBJECT_STORE", f"s3://claims/aco?scheme=http&region=us-east-1&endpoint_override={s3.address('').endpoint}"
    )
    state, tasks = run_dag("bcda_weekly_export")
    assert state == "success", tasks
    (run_id,) = ask("SELECT run_id FROM ops.export_run")[0]
    names = s3.names("aco")
    assert {f"raw/{run_id}/{name}" for name in ("run.json", "manifest.json", "landed-000.json", "merged.json")} <= names
    assert "warehouse.mark" in names
    assert run_dag("bcda_maintenance")[0] == "success"
    left = s3.names("aco")
    assert {name for name in left if name.endswith("-all.parquet")}
    assert (
        ask("SELECT count(*) FROM resource")[0][0] == ask("SELECT count(*) FROM resource_version WHERE is_latest")[0][0]
    )
    assert "CANARY" not in logged()
