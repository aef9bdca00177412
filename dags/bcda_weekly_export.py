"""### Weekly BCDA export

Asks BCDA for every resource of the attributed people that changed since the covered interval ends, lands it as Parquet,
merges it into the warehouse and publishes `bcda.duckdb`. The first run asks for everything.

**Trigger it** from the form: `full` asks from the beginning again, `since` from an instant. **Backfill** runs ask from the
start of their interval and are skipped, with the reason, when that is covered.

**When it is red**, the failed task's log ends with what was wrong and what to do next. Tasks can be cleared at any time:
nothing is fetched, landed or counted twice. Clearing or marking `wait_for_job` cancels the job at BCDA; to start another,
clear `kick_off` with everything after it. Once `merge` is done, clear `plan` with everything after it instead.
"""

from datetime import UTC, datetime

from airflow.sdk import CronDataIntervalTimetable, dag

from bcda_provider.late_runs import deadline_of
from bcda_provider.sources import dag_id, sources
from bcda_provider.task_groups import export_and_publish, export_params


def weekly_export(source: str) -> None:
    """Make the weekly export of a source."""

    @dag(
        dag_id=dag_id("bcda_weekly_export", source),
        schedule=CronDataIntervalTimetable("0 6 * * 2", timezone="UTC"),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        deadline=deadline_of(source),
        params=export_params(source),
        doc_md=__doc__,
        tags=["bcda", source],
    )
    def bcda_weekly_export() -> None:
        """Wire the weekly export."""
        export_and_publish(scope="patient", source=source)

    bcda_weekly_export()


for configured in sources():
    weekly_export(configured)
