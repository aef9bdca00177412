import json
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest

PROJECT = Path(__file__).resolve().parents[2]


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
            assert task.retries == 9, task.task_id


def test_the_weekly_dag_has_a_true_weekly_interval(dagbag):
    from airflow.sdk import CronDataIntervalTimetable

    timetable = dagbag.dags["bcda_weekly_export"].timetable
    assert type(timetable).__name__ == CronDataIntervalTimetable.__name__


def test_a_dag_is_of_the_file_that_names_its_schedule(dagbag):
    """What Airflow shows as its code, and deletes it with."""
    files = {dag_id: Path(dag.fileloc).relative_to(PROJECT).as_posix() for dag_id, dag in dagbag.dags.items()}
    assert files == {
        "bcda_weekly_export": "dags/bcda_weekly_export.py",
        "bcda_attribution_check": "dags/bcda_attribution_export.py",
        "bcda_attribution_export": "dags/bcda_attribution_export.py",
        "bcda_runout_export": "dags/bcda_runout_export.py",
        "bcda_maintenance": "dags/bcda_maintenance.py",
    }
    for path in map(Path, set(files.values())):
        lines = (PROJECT / path).read_text().splitlines()
        assert len(lines) <= 15, path
        assert "schedule=" in "".join(lines), path


def test_the_schedules_of_the_files_are_those_that_a_builder_has_by_itself():
    from bcda_provider.dags import attribution, maintenance, runout, weekly

    for builder in (
        weekly.weekly_export,
        runout.runout_export,
        attribution.attribution_check,
        attribution.attribution_export,
        maintenance.maintenance,
    ):
        text = "".join((PROJECT / "dags" / name).read_text() for name in FILES)
        (call,) = [line.strip() for line in text.splitlines() if line.strip().startswith(f"{builder.__name__}(")]
        given = eval(f"dict({call.partition('(')[2].partition(')')[0].removeprefix('source, ')})")
        assert given == builder.__kwdefaults__, builder.__name__


FILES = ("bcda_weekly_export.py", "bcda_runout_export.py", "bcda_attribution_export.py", "bcda_maintenance.py")


def test_the_tasks_follow_each_other(dagbag):
    dag = dagbag.dags["bcda_weekly_export"]
    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "plan": ["batch.fetch", "batch.land", "gaps.plan", "kick_off", "merge", "wait_for_job"],
        "kick_off": ["wait_for_job"],
        "wait_for_job": ["batch.fetch", "batch.land", "merge"],
        "batch.fetch": ["batch.land"],
        "batch.land": ["merge"],
        "merge": ["gaps.plan", "publish"],
        "gaps.plan": [f"gaps.{task}" for task in ("batch.fetch", "batch.land", "kick_off", "merge", "wait_for_job")],
        "gaps.kick_off": ["gaps.wait_for_job"],
        "gaps.wait_for_job": ["gaps.batch.fetch", "gaps.batch.land", "gaps.merge"],
        "gaps.batch.fetch": ["gaps.batch.land"],
        "gaps.batch.land": ["gaps.merge"],
        "gaps.merge": ["gaps.end"],
        "gaps.end": ["publish"],
        "publish": ["report"],
        "report": [],
    }


def test_every_param_of_the_form_is_explained(dagbag):
    form = {"resource_types", "since", "full", "force", "accept_empty", "accept_smaller_list", "batches", "api_version"}
    filters = {"systems", "final_action", "outcome", "service_from", "service_through"}
    for name in ("bcda_weekly_export", "bcda_attribution_export", "bcda_runout_export"):
        gaps = set() if name == "bcda_attribution_export" else {"gaps"}
        assert set(dagbag.dags[name].params) == form | filters | gaps
    for dag in dagbag.dags.values():
        assert "conn_id" not in dag.params
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
    for dag in dags.values():
        source = "second_aco" if dag.dag_id.endswith("__second_aco") else "bcda_default"
        assert {task.bcda_conn_id for task in dag.tasks} == {source}, dag.dag_id


def test_tasks_that_open_the_working_database_can_be_put_into_a_pool_and_a_queue(airflow_database, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("BCDA_WAREHOUSE_POOL", "one_at_a_time")
    monkeypatch.setenv("BCDA_WAREHOUSE_QUEUE", "warehouse")
    placed = [task for dag in DagBag().dags.values() for task in dag.tasks if task.pool == "one_at_a_time"]
    assert {task.task_id.split(".")[-1] for task in placed} == {
        *("plan", "merge", "publish", "report", "check_list"),
        *("purge_raw", "compact_lake", "vacuum", "check_freshness", "check_secret", "start_missed_export"),
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


LOAD_PLUGINS = """
    import json, sys
    from importlib import metadata
    {without}
    from airflow import plugins_manager
    plugins, errors = plugins_manager._get_plugins()
    names = [name for name in ("hooks", "operators", "triggers", "sensors", "retry", "events", "assets") if name in sys.modules]
    ours = [plugin for plugin in plugins if plugin.name == "bcda"]
    print(json.dumps({{"sources": [str(p.source) for p in ours], "errors": errors, "stray": names}}))
    """
WITHOUT_ENTRY_POINT = """
    import importlib_metadata
    def without(library):
        given = library.Distribution.entry_points.fget
        ours = "bcda_provider.plugin:BcdaPlugin"
        left = lambda self: library.EntryPoints(point for point in given(self) if point.value != ours)
        library.Distribution.entry_points = property(left)
    # Airflow reads one of them, by the version of Python.
    without(metadata)
    without(importlib_metadata)
"""


@pytest.mark.parametrize("without", ["", WITHOUT_ENTRY_POINT], ids=["installed", "only-a-plugins-folder"])
def test_the_plugin_is_registered_once_and_nothing_else_of_the_folder_is_executed(airflow_database, without):
    found = in_a_new_process(textwrap.dedent(LOAD_PLUGINS).format(without=textwrap.dedent(without)))
    (source,) = found["sources"]
    assert ("bcda_plugin.py" in source) is bool(without)
    assert found["errors"] == {}
    assert found["stray"] == []


def test_the_connection_type_is_registered_with_its_fields(airflow_database):
    from airflow.providers_manager import ProvidersManager

    from bcda_provider.hooks import BcdaHook
    from bcda_provider.provider_info import get_provider_info

    manager = ProvidersManager()
    assert manager.hooks["bcda"].hook_class_name == "bcda_provider.hooks.BcdaHook"
    (kind,) = get_provider_info()["connection-types"]
    assert kind["connection-type"] == BcdaHook.conn_type
    assert set(kind["conn-fields"]) == {"api_version", "credentials_made_on", "advanced"}


def test_the_metadata_is_valid_and_names_every_module():
    from airflow import __file__ as airflow
    from airflow.providers_manager import ProvidersManager

    import bcda_provider.operators
    from bcda_provider.provider_info import DISTRIBUTION, OPERATORS, get_provider_info

    given = get_provider_info()
    jsonschema.validate(given, json.loads((Path(airflow).parent / "provider_info.schema.json").read_text()))
    found = {path.stem for path in Path(bcda_provider.operators.__file__).parent.glob("*.py")}
    assert found - {"__init__"} == set(OPERATORS)
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for name in given[kind][0]["python-modules"]:
            __import__(name)
    assert {entry["integration-name"] for kind in ("hooks", "operators") for entry in given[kind]} == {
        entry["integration-name"] for entry in given["integrations"]
    }
    provider = ProvidersManager().providers[DISTRIBUTION]
    assert [provider.version] == given["versions"]
    assert provider.data["integrations"][0]["external-doc-url"].startswith("https://")


AN_OLDER_AIRFLOW = """
    import json
    from importlib import metadata
    given = metadata.version
    metadata.version = lambda name: "3.1.8" if name == "apache-airflow-core" else given(name)
    from bcda_provider_metadata import get_provider_info
    said = {}
    for name in ("bcda_provider", "bcda_provider.operators", "bcda_provider.dags.weekly", "bcda_provider.plugin"):
        try:
            __import__(name)
        except ImportError as error:
            said[name] = str(error)
    print(json.dumps([said, get_provider_info()]))
    """


def test_on_an_older_airflow_every_import_says_so_in_a_sentence_and_airflow_itself_works():
    said, info = in_a_new_process(AN_OLDER_AIRFLOW)
    sentence = "airflow-provider-bcda needs Airflow 3.3; this is 3.1.8."
    assert len(said) == 4
    assert set(said.values()) == {sentence}
    # An error here would stop every `airflow` command.
    assert info == {"package-name": "airflow-provider-bcda", "name": "BCDA", "description": sentence}
