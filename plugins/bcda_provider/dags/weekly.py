"""### Weekly BCDA export

Asks BCDA for every resource of the attributed people that changed since the covered interval ends, lands it as Parquet,
merges it into the warehouse and publishes `bcda.duckdb`. The first run asks for everything.

**Trigger it** from the form: `full` asks from the beginning again, `since` from an instant. **Backfill** runs ask from the
start of their interval and are skipped, with the reason, when that is covered.

**Gaps**: what BCDA could not deliver to an earlier run is asked for again by the tasks in `gaps`, for its resource types only. If they
fail, the rest is published, and the next run asks again. **Ask for gaps again** (`gaps`) asks for nothing else, also where runs have
stopped asking.

**When it is red**, the failed task's log ends with what was wrong and what to do next. Tasks can be cleared at any time:
nothing is fetched, landed or counted twice. Clearing or marking `wait_for_job` cancels the job at BCDA; to start another,
clear `kick_off` with everything after it. Once `merge` is done, clear `plan` with everything after it instead.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG

from bcda_provider.late_runs import deadline_of
from bcda_provider.schedules import timetable
from bcda_provider.sources import dag_id
from bcda_provider.task_groups import export_and_publish, export_params
from bcda_provider.weekly import CRON
from bcda_provider.weekly import DAG as DAG_ID


def weekly_export(source: str, *, schedule: Any = CRON, scope: str = "patient") -> DAG:
    """Make the weekly export of a connection.

    Args:
        source: connection id. Its DAG is `bcda_weekly_export`, with the id behind it unless it is `bcda_default`.
        schedule: cron expression in UTC, or a timetable. `maintenance` must be given the same one.
        scope: `patient`, which is everyone attributed.
    """
    with DAG(
        dag_id=dag_id(DAG_ID, source),
        schedule=timetable(schedule),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        deadline=deadline_of(source),
        params=export_params(),
        doc_md=__doc__,
        tags=["bcda", source],
    ) as dag:
        export_and_publish(scope=scope, source=source)
    return dag
