"""### BCDA maintenance

Each night: removes raw files after `raw_days` (plans, manifests and receipts stay), puts the lake files of each run together,
gives unused space of the working database back, and looks whether data is fresh and the client secret will last.

**When `check_freshness` is red**, the covered interval ends more than `fresh_days` ago: look at the last exports. What is
missing otherwise stands in its log, and in `ops.data_status`.

**When `check_secret` warns**, rotate the secret before its day 90; fill in `Secret made on` on the connection for that.

Rebuilding is a command: `python -m bcda rebuild-lake` from raw files, `python -m bcda rebuild-warehouse` from the lake. Both
build beside what is there and compare every row. Reconciling needs no step here: each full pull is compared with what is here as it
is merged (`ops.reconciliation`).
"""

from datetime import UTC, datetime

from airflow.sdk import CronDataIntervalTimetable, Param, dag
from airflow.sdk.bases.operator import chain

from bcda_provider.operators import BcdaMaintainOperator
from bcda_provider.placement import at_the_warehouse
from bcda_provider.sources import dag_id, sources
from bcda_provider.task_groups import patience

STEPS = ("purge_raw", "compact_lake", "vacuum")
CHECKS = ("check_freshness", "check_secret")


def maintenance(source: str) -> None:
    """Make the maintenance of a source."""

    @dag(
        dag_id=dag_id("bcda_maintenance", source),
        schedule=CronDataIntervalTimetable("0 3 * * *", timezone="UTC"),
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params={
            "conn_id": Param(source, type="string", title="Connection", description="Connection of type bcda."),
            "raw_days": Param(
                30,
                type="integer",
                minimum=1,
                title="Raw days",
                description="How long raw files stay after a run asked for them.",
            ),
            "fresh_days": Param(
                14, type="integer", minimum=1, title="Fresh days", description="Covered data may be so old."
            ),
        },
        doc_md=__doc__,
        tags=["bcda", source],
    )
    def bcda_maintenance() -> None:
        """Wire the steps, one after the other, and the checks beside them."""

        def step(name: str) -> BcdaMaintainOperator:
            return BcdaMaintainOperator(
                task_id=name, step=name, bcda_conn_id="{{ params.conn_id }}", **at_the_warehouse(), **patience()
            )

        chain(*(step(name) for name in STEPS))
        for name in CHECKS:
            step(name)

    bcda_maintenance()


for configured in sources():
    maintenance(configured)
