"""### BCDA maintenance

Runs each night. It removes raw files older than `raw_days` (plans, manifests and receipts stay), compacts the lake files of
each run, returns unused space of the working database, and checks how old the data and the client secret are.

`start_missed_export` starts **`bcda_weekly_export`** if the newest week is not loaded because its run was missed or failed in an
outage. It starts at most one run a day, and none while a run is queued or running or after an error that needs a person. Turn
it off with `start_missed`. Its log says why it started a run or not.

**When `check_freshness` is red**, the covered interval ends more than `fresh_days` ago: look at the last exports. What is
missing otherwise stands in its log, and in `ops.data_status`.

**When `check_secret` warns**, rotate the secret before its day 90; fill in `Credentials made on` on the connection for that.

Rebuilding is a command: `python -m bcda rebuild-lake` from raw files, `python -m bcda rebuild-warehouse` from the lake. Both
build beside what is there and compare every row. Reconciling needs no step here: each full pull is compared with what is here as it
is merged (`ops.reconciliation`).
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param
from airflow.sdk.bases.operator import chain

from bcda_provider.operators import BcdaMaintainOperator
from bcda_provider.operators.start_missed import BcdaStartMissedOperator
from bcda_provider.placement import at_the_warehouse
from bcda_provider.schedules import timetable
from bcda_provider.sources import dag_id
from bcda_provider.task_groups import patience
from bcda_provider.weekly import CRON
from bcda_provider.weekly import DAG as WEEKLY

STEPS = ("purge_raw", "compact_lake", "vacuum")
CHECKS = ("check_freshness", "check_secret")


def maintenance(source: str, *, schedule: Any = "0 3 * * *", weekly_schedule: str = CRON) -> DAG:
    """Make the maintenance of a connection.

    Args:
        source: connection id. Its DAG is `bcda_maintenance`, with the id behind it unless it is `bcda_default`.
        schedule: cron expression in UTC, or a timetable.
        weekly_schedule: cron expression of the weekly export, whose missed runs are started.
    """
    with DAG(
        dag_id=dag_id("bcda_maintenance", source),
        schedule=timetable(schedule),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params=_params(),
        doc_md=__doc__,
        tags=["bcda", source],
    ) as dag:
        here = {"bcda_conn_id": source, **at_the_warehouse(), **patience()}
        chain(*(BcdaMaintainOperator(task_id=name, step=name, **here) for name in STEPS))
        for name in CHECKS:
            BcdaMaintainOperator(task_id=name, step=name, **here)
        BcdaStartMissedOperator(
            task_id="start_missed_export",
            weekly_dag_id=dag_id(WEEKLY, source),
            weekly_schedule=weekly_schedule,
            **here,
        )
    return dag


def _params() -> dict[str, Param]:
    """Return the form."""
    return {
        "raw_days": Param(
            30,
            type="integer",
            minimum=1,
            title="Raw days",
            description="Days to keep raw files after their run.",
        ),
        "fresh_days": Param(
            14,
            type="integer",
            minimum=1,
            title="Fresh days",
            description="Fail if covered data is older than this many days.",
        ),
        "start_missed": Param(
            True,
            type="boolean",
            title="Start a missed weekly export",
            description="Start the weekly export if its last run was missed or failed because of an outage. "
            "At most one run a day, never beside another, and not after errors that need a person.",
        ),
    }
