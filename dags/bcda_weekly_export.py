"""### Weekly BCDA export

Asks BCDA for every resource of the attributed people that changed since the covered interval ends, lands it as Parquet,
merges it into the warehouse and publishes `bcda.duckdb`. The first run asks for everything.

**Trigger it** from the form: `full` asks from the beginning again, `since` from an instant. **Backfill** runs ask from the
start of their interval and are skipped, with the reason, when that is covered.

**When it is red**, the failed task's log ends with what was wrong and what to do next. Tasks can be cleared at any time:
nothing is fetched, landed or counted twice. Clearing or marking `wait_for_job` cancels the job at BCDA; to start another,
clear `kick_off` with everything after it.
"""

from datetime import UTC, datetime

from airflow.sdk import CronDataIntervalTimetable, dag

from bcda_provider.task_groups import EXPORT_PARAMS, export_and_publish


@dag(
    schedule=CronDataIntervalTimetable("0 6 * * 2", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=EXPORT_PARAMS,
    doc_md=__doc__,
    tags=["bcda"],
)
def bcda_weekly_export() -> None:
    """Wire the weekly export."""
    export_and_publish(scope="patient")


bcda_weekly_export()
