"""### BCDA runout export

Brings claims of the people who were attributed last year, for services up to the end of that year. Trigger it from the
form when you close a performance year: in January it is the only export that works, and lists are renewed until July.

A new runout list is taken in full; with the list of the pull before, only changes come. `since` and `full` override that.
Runout has a coverage of its own and does not move the weekly watermark.

**When it is red** with "runout data is gone", the last list is older than 180 days and nothing can bring the data back.
"""

from datetime import UTC, datetime

from airflow.sdk import dag

from bcda_provider.sources import dag_id, sources
from bcda_provider.task_groups import export_and_publish, export_params


def runout_export(source: str) -> None:
    """Make the runout export of a source."""

    @dag(
        dag_id=dag_id("bcda_runout_export", source),
        schedule=None,
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        max_active_runs=1,
        params=export_params(source),
        doc_md=__doc__,
        tags=["bcda", source],
    )
    def bcda_runout_export() -> None:
        """Wire the runout export."""
        export_and_publish(scope="group-runout", source=source)

    bcda_runout_export()


for configured in sources():
    runout_export(configured)
