"""### BCDA attribution

`bcda_attribution_check` asks BCDA each day for the date of its newest attribution list. When the ledger does not have that
list, it updates the asset `attribution_list`, and **`bcda_attribution_export`** runs: it takes everyone on the list, so that
`roster_change` can tell who joined and who left, then `Group/all` with `_since`, which brings the whole history of who is new.
A run each month looks again, should an event have been lost.

A list counts as loaded when both have come, in the ledger and nowhere else; until then the check announces it again.

**When `kick_off` waits**, BCDA has no list to export from: in January until the new year's first list, about mid February.
Only `bcda_runout_export` works then. The run continues automatically.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule

from bcda_provider.assets import list_asset
from bcda_provider.late_runs import deadline_of
from bcda_provider.operators import BcdaCheckListOperator
from bcda_provider.placement import at_the_warehouse
from bcda_provider.schedules import timetable
from bcda_provider.sources import dag_id, default_types
from bcda_provider.task_groups import (
    api_version_param,
    export_params,
    export_roster_and_history,
    patience,
)


def attribution_check(source: str, *, schedule: Any = "0 5 * * *") -> DAG:
    """Make the look for a new attribution list of a connection.

    Args:
        source: connection id. Its DAG is `bcda_attribution_check`, with the id behind it unless it is `bcda_default`.
        schedule: cron expression in UTC, or a timetable.
    """
    with DAG(
        dag_id=dag_id("bcda_attribution_check", source),
        schedule=timetable(schedule),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params={"api_version": api_version_param()},
        doc_md=__doc__,
        tags=["bcda", source],
    ) as dag:
        BcdaCheckListOperator(
            task_id="check_list",
            consumer_dag_id=dag_id("bcda_attribution_export", source),
            source=source,
            resource_types=default_types(),
            bcda_conn_id=source,
            **at_the_warehouse(),
            **patience(),
        )
    return dag


def attribution_export(source: str, *, schedule: Any = "0 7 20 * *") -> DAG:
    """Make the export that loads an attribution list of a connection: who is on it, then what is new of them.

    Args:
        source: connection id. Its DAG is `bcda_attribution_export`, with the id behind it unless it is `bcda_default`.
        schedule: cron expression in UTC, or a timetable, on which it runs beside the runs for a new list.
    """
    with DAG(
        dag_id=dag_id("bcda_attribution_export", source),
        schedule=AssetOrTimeSchedule(timetable=timetable(schedule), assets=[list_asset(source)]),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        deadline=deadline_of(source),
        params=export_params(with_gaps=False),
        doc_md=__doc__,
        tags=["bcda", source],
    ) as dag:
        export_roster_and_history(source)
    return dag
