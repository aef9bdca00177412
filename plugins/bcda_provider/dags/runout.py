"""### BCDA runout export

Brings claims of the people who were attributed last year, for services up to the end of that year. Trigger it from the
form when you close a performance year: in January it is the only export that works, and lists are renewed until July.

A new runout list is taken in full; with the list of the pull before, only changes come. `since` and `full` override that.
Runout has a coverage of its own and does not move the weekly watermark.

**Gaps**: the tasks in `gaps` ask again for what BCDA could not deliver to an earlier run, for its resource types only; `gaps` in the form
asks for nothing else.

**When it is red** with "runout data is gone", the last list is older than 180 days and nothing can bring the data back.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG

from bcda_provider.schedules import timetable
from bcda_provider.sources import dag_id
from bcda_provider.task_groups import export_and_publish, export_params


def runout_export(source: str, *, schedule: Any = None, scope: str = "group-runout") -> DAG:
    """Make the runout export of a connection.

    Args:
        source: connection id. Its DAG is `bcda_runout_export`, with the id behind it unless it is `bcda_default`.
        schedule: cron expression in UTC, or a timetable; None for runs that people trigger.
        scope: `group-runout`, which is who was attributed last year.
    """
    with DAG(
        dag_id=dag_id("bcda_runout_export", source),
        schedule=timetable(schedule),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        max_active_runs=1,
        params=export_params(),
        doc_md=__doc__,
        tags=["bcda", source],
    ) as dag:
        export_and_publish(scope=scope, source=source)
    return dag
