"""Import paths that outlive a release: an Airflow has stored them, or the DAG files of its users name them.

A path of this list never goes away: a release that moves what it names leaves the old name in place.
"""

import importlib
import json
import re
from importlib import metadata

import pytest

OF_TASKS = (
    "bcda_provider.operators.check_list.BcdaCheckListOperator",
    "bcda_provider.operators.end_of_gaps.BcdaEndOfGapsOperator",
    "bcda_provider.operators.fetch.BcdaFetchOperator",
    "bcda_provider.operators.kick_off.BcdaKickOffOperator",
    "bcda_provider.operators.land.BcdaLandOperator",
    "bcda_provider.operators.maintain.BcdaMaintainOperator",
    "bcda_provider.operators.merge.BcdaMergeOperator",
    "bcda_provider.operators.plan.BcdaPlanOperator",
    "bcda_provider.operators.publish.BcdaPublishOperator",
    "bcda_provider.operators.report.BcdaReportOperator",
    "bcda_provider.operators.start_missed.BcdaStartMissedOperator",
    "bcda_provider.sensors.BcdaJobSensor",
)
"""Airflow's database has them for each task of a DAG."""

OF_DEADLINES = ("bcda_provider.late_runs.run_is_late",)
"""Airflow's database has it for each run that can be late."""

OF_TRIGGERS = ("bcda_provider.triggers.BcdaJobTrigger",)
"""Airflow's database has it for each task that is deferred; its arguments are stored too."""

OF_METADATA = (
    "bcda_provider.hooks.BcdaHook",
    "bcda_provider.links.BcdaJobLink",
    "bcda_provider.links.BcdaPageLink",
    "bcda_provider.links.BcdaReportLink",
    "bcda_provider.asset_uris.sanitize",
    "bcda_provider.cli.get_cli_commands",
)
"""What the package tells Airflow."""

OF_ENTRY_POINTS = (
    "bcda_provider.plugin.BcdaPlugin",
    "bcda_provider_metadata.get_provider_info",
    # An editable installation keeps the entry points of the day on which it was made; this one is of release 1.0.
    "bcda_provider.provider_info.get_provider_info",
)

OF_DAG_FILES = (
    "bcda_provider.assets.list_asset",
    "bcda_provider.assets.table_assets",
    "bcda_provider.dags.attribution.attribution_check",
    "bcda_provider.dags.attribution.attribution_export",
    "bcda_provider.dags.maintenance.maintenance",
    "bcda_provider.dags.runout.runout_export",
    "bcda_provider.dags.weekly.weekly_export",
    "bcda_provider.events.JobEvent",
    "bcda_provider.late_runs.deadline_of",
    "bcda_provider.notifications.notify_failed",
    "bcda_provider.notifications.notify_loaded",
    "bcda_provider.operators.BcdaCheckListOperator",
    "bcda_provider.operators.BcdaFetchOperator",
    "bcda_provider.operators.BcdaKickOffOperator",
    "bcda_provider.operators.BcdaLandOperator",
    "bcda_provider.operators.BcdaMaintainOperator",
    "bcda_provider.operators.BcdaMergeOperator",
    "bcda_provider.operators.BcdaPlanOperator",
    "bcda_provider.operators.BcdaPublishOperator",
    "bcda_provider.operators.BcdaReportOperator",
    "bcda_provider.placement.at_the_warehouse",
    "bcda_provider.retry.BcdaRetryPolicy",
    "bcda_provider.sources.dag_id",
    "bcda_provider.sources.default_types",
    "bcda_provider.sources.sources",
    "bcda_provider.task_groups.export_and_merge",
    "bcda_provider.task_groups.export_and_publish",
    "bcda_provider.task_groups.export_params",
    "bcda_provider.task_groups.export_roster_and_history",
    "bcda_provider.task_groups.patience",
)
"""What DAG files of users name: those of release 1.0 and of this one."""

OF_1_0 = {
    "bcda_conn_id": "bcda_default",
    "api_version": "v2",
    "job_id": "7",
    "deadline_epoch_seconds": 1_800_000_000.0,
}
"""What release 1.0 stored of a trigger."""

STORED = (*OF_TASKS, *OF_DEADLINES, *OF_TRIGGERS, *OF_METADATA, *OF_ENTRY_POINTS, *OF_DAG_FILES)


@pytest.mark.parametrize("path", STORED)
def test_a_stored_path_still_leads_somewhere(path, airflow_database):
    module, _, name = path.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_list_has_every_path_that_airflow_stores_of_a_dag(airflow_database, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    monkeypatch.setenv("BCDA_LATE_HOURS", "20")
    stored, tasks = set(), set()
    for dag in DagBag().dags.values():
        text = json.dumps(DagSerialization.to_dict(dag))
        stored |= set(re.findall(r"bcda_provider(?:\.\w+)+", text))
        tasks |= {f"{type(task).__module__}.{type(task).__name__}" for task in dag.tasks}
    assert tasks == set(OF_TASKS)
    # Of a task Airflow stores module and class apart.
    assert stored == {path.rpartition(".")[0] for path in OF_TASKS} | set(OF_DEADLINES)


def test_the_list_has_every_trigger_and_all_that_the_package_names():
    from airflow.triggers.base import BaseTrigger

    import bcda_provider.triggers
    from bcda_provider.provider_info import get_provider_info

    triggers = {
        f"{kind.__module__}.{kind.__name__}"
        for kind in vars(bcda_provider.triggers).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseTrigger)
        and kind.__module__ == bcda_provider.triggers.__name__
    }
    assert triggers == set(OF_TRIGGERS)
    info = get_provider_info()
    (kind,) = info["connection-types"]
    named = {
        kind["hook-class-name"],
        *info["extra-links"],
        *info["cli"],
        *(uri["handler"] for uri in info["asset-uris"]),
    }
    assert named == set(OF_METADATA)
    points = metadata.distribution("airflow-provider-bcda").entry_points
    assert {point.value.replace(":", ".") for point in points} <= set(OF_ENTRY_POINTS)


def test_a_trigger_is_made_of_what_release_1_0_stored(airflow_database):
    from airflow._shared.module_loading import import_string

    kind = import_string("bcda_provider.triggers.BcdaJobTrigger")
    trigger = kind(**OF_1_0)
    path, arguments = trigger.serialize()
    assert path in OF_TRIGGERS
    assert arguments | OF_1_0 == arguments
