import json
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture(scope="module")
def dagbag(airflow_database):
    from airflow.dag_processing.dagbag import DagBag

    return DagBag()


def test_exactly_these_dags_load_without_error(dagbag):
    assert dagbag.import_errors == {}
    assert set(dagbag.dags) == {
        "bcda_weekly_export",
        "bcda_attribution_check",
        "bcda_attribution_export",
        "bcda_runout_export",
        "bcda_maintenance",
    }


def test_every_dag_is_documented_tagged_and_retries(dagbag):
    for dag in dagbag.dags.values():
        assert dag.doc_md
        assert "bcda" in dag.tags
        assert dag.max_active_runs == 1
        assert not dag.catchup
        for task in dag.tasks:
            assert task.retries == 3, task.task_id


def test_the_weekly_dag_has_a_true_weekly_interval(dagbag):
    from airflow.sdk import CronDataIntervalTimetable

    timetable = dagbag.dags["bcda_weekly_export"].timetable
    assert type(timetable).__name__ == CronDataIntervalTimetable.__name__


def test_the_tasks_follow_each_other(dagbag):
    dag = dagbag.dags["bcda_weekly_export"]
    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "plan": ["batch.fetch", "batch.land", "kick_off", "merge", "wait_for_job"],
        "kick_off": ["wait_for_job"],
        "wait_for_job": ["batch.fetch", "batch.land", "merge"],
        "batch.fetch": ["batch.land"],
        "batch.land": ["merge"],
        "merge": ["publish"],
        "publish": ["report"],
        "report": [],
    }


def test_every_param_of_the_form_is_explained(dagbag):
    form = {"resource_types", "since", "full", "force", "batches", "conn_id", "api_version"}
    filters = {"systems", "final_action", "outcome", "service_from", "service_through"}
    for name in ("bcda_weekly_export", "bcda_attribution_export", "bcda_runout_export"):
        assert set(dagbag.dags[name].params) == form | filters
    for dag in dagbag.dags.values():
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.schema["title"], name
            assert param.description, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("since", "last week"),
        ("since", "2026-13-01T00:00:00Z"),
        ("resource_types", []),
        ("resource_types", ["Observation"]),
        ("full", "yes"),
        ("batches", 0),
        ("systems", ["Everywhere"]),
        ("service_from", "2026"),
    ],
)
def test_the_form_refuses_what_cannot_work(dagbag, name, value):
    from airflow.sdk.exceptions import ParamValidationError

    params = dagbag.dags["bcda_runout_export"].params
    with pytest.raises(ParamValidationError):
        params.get_param(name).resolve(value)


def test_each_source_has_dags_and_assets_of_its_own(airflow_database, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("BCDA_SOURCES", "bcda_default,second_aco")
    dags = DagBag().dags
    assert {name for name in dags if name.endswith("__second_aco")} == {
        f"{name}__second_aco" for name in dags if "__" not in name
    }
    merged = dags["bcda_weekly_export__second_aco"].get_task("merge")
    assert {asset.uri for asset in merged.outlets} & {"bcda://claim", "bcda://claim/second_aco"} == {
        "bcda://claim/second_aco"
    }
    assert dags["bcda_weekly_export__second_aco"].params["conn_id"] == "second_aco"


def test_tasks_that_open_the_working_database_can_be_put_into_a_pool_and_a_queue(airflow_database, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("BCDA_WAREHOUSE_POOL", "one_at_a_time")
    monkeypatch.setenv("BCDA_WAREHOUSE_QUEUE", "warehouse")
    placed = [task for dag in DagBag().dags.values() for task in dag.tasks if task.pool == "one_at_a_time"]
    assert {task.task_id.split(".")[-1] for task in placed} == {
        *("plan", "merge", "publish", "report", "check_list"),
        *("purge_raw", "compact_lake", "vacuum", "check_freshness", "check_secret"),
    }
    assert {task.queue for task in placed} == {"warehouse"}
    assert {task.dag_id for task in placed} == {dag.dag_id for dag in DagBag().dags.values()}


def test_without_a_setting_every_task_is_in_pool_and_queue_of_airflow(dagbag):
    tasks = [task for dag in dagbag.dags.values() for task in dag.tasks]
    assert {(task.pool, task.queue) for task in tasks} == {("default_pool", "default")}


def test_a_malformed_source_is_an_import_error_that_says_so(airflow_database, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("BCDA_SOURCES", "bcda_default,../other")
    errors = DagBag().import_errors
    assert errors
    assert all("BCDA_SOURCES must list connection ids" in text for text in errors.values())


def test_every_table_is_an_asset_of_the_merge(dagbag):
    from bcda import model

    outlets = {asset.uri for asset in dagbag.dags["bcda_weekly_export"].get_task("merge").outlets}
    assert outlets == {f"bcda://{name}" for name, _ in model.lake_tables()}
    assert {"bcda://patient", "bcda://claim", "bcda://claim_line", "bcda://partial_claim"} <= outlets


def in_a_new_process(script):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_reading_a_dag_imports_no_engine_and_speaks_to_nobody(airflow_database):
    loaded = in_a_new_process(
        """
        import json, socket, sys
        def refuse(*args): raise RuntimeError("a DAG file opened a connection")
        socket.socket.connect = refuse
        import bcda_provider.task_groups, bcda_provider.triggers
        print(json.dumps([name for name in ("duckdb", "pyarrow", "pandas") if name in sys.modules]))
        """
    )
    assert loaded == []


def test_loading_plugins_executes_one_file_only(airflow_database):
    found = in_a_new_process(
        """
        import json, sys
        from airflow import plugins_manager
        plugins, errors = plugins_manager._get_plugins()
        names = [name for name in ("hooks", "operators", "triggers", "sensors", "retry", "events", "assets") if name in sys.modules]
        print(json.dumps({"plugins": [p.name for p in plugins], "errors": errors, "stray": names}))
        """
    )
    assert "bcda" in found["plugins"]
    assert found["errors"] == {}
    assert found["stray"] == []


def test_the_connection_type_is_registered_with_its_fields(airflow_database):
    from dataclasses import fields

    from airflow.providers_manager import ProvidersManager

    from bcda.settings import Tuning
    from bcda_provider.hooks import BcdaHook
    from bcda_provider.provider_info import get_provider_info

    manager = ProvidersManager()
    assert manager.hooks["bcda"].hook_class_name == "bcda_provider.hooks.BcdaHook"
    (kind,) = get_provider_info()["connection-types"]
    assert kind["connection-type"] == BcdaHook.conn_type
    assert set(kind["conn-fields"]) == {"api_version", "auth"} | {field.name for field in fields(Tuning)}
