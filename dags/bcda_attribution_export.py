"""### BCDA attribution

`bcda_attribution_check` asks BCDA each day for the date of its newest attribution list. When the ledger does not have that
list, it updates the asset `attribution_list`, and **`bcda_attribution_export`** runs: it takes everybody on the list, so that
`roster_change` can tell who joined and who left, then `Group/all` with `_since`, which brings the whole history of who is new.
A run each month looks again, should an event have been lost.

A list counts as loaded when both have come, in the ledger and nowhere else; until then the check announces it again.

**When `kick_off` waits**, BCDA has no list to export from: in January until the new year's first list, about mid February.
Only `bcda_runout_export` works then. The run goes on by itself.
"""

from datetime import UTC, datetime

from airflow.sdk import AssetOrTimeSchedule, CronDataIntervalTimetable, dag

from bcda_provider.assets import list_asset
from bcda_provider.late_runs import deadline_of
from bcda_provider.operators import BcdaCheckListOperator
from bcda_provider.placement import at_the_warehouse
from bcda_provider.sources import dag_id, default_types, sources
from bcda_provider.task_groups import CONNECTION, export_params, export_roster_and_history, patience


def attribution(source: str) -> None:
    """Make the daily look for a new list and the export that loads it."""

    @dag(
        dag_id=dag_id("bcda_attribution_check", source),
        schedule=CronDataIntervalTimetable("0 5 * * *", timezone="UTC"),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params={name: param for name, param in export_params(source).items() if name in {"conn_id", "api_version"}},
        doc_md=__doc__,
        tags=["bcda", source],
    )
    def bcda_attribution_check() -> None:
        """Wire the daily look for a new list."""
        BcdaCheckListOperator(
            task_id="check_list",
            consumer_dag_id=dag_id("bcda_attribution_export", source),
            source=source,
            resource_types=default_types(),
            **CONNECTION,
            **at_the_warehouse(),
            **patience(),
        )

    @dag(
        dag_id=dag_id("bcda_attribution_export", source),
        schedule=AssetOrTimeSchedule(
            timetable=CronDataIntervalTimetable("0 7 20 * *", timezone="UTC"), assets=[list_asset(source)]
        ),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        deadline=deadline_of(source),
        params=export_params(source),
        doc_md=__doc__,
        tags=["bcda", source],
    )
    def bcda_attribution_export() -> None:
        """Wire roster and history."""
        export_roster_and_history(source)

    bcda_attribution_check()
    bcda_attribution_export()


for configured in sources():
    attribution(configured)
