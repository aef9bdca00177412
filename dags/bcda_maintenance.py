"""The Airflow DAG bcda_maintenance: retention, compaction, checks, and weekly exports that were missed. One for each connection."""

from bcda_provider.dags.maintenance import maintenance
from bcda_provider.sources import sources

for source in sources():
    # Daily 03:00 UTC. The second schedule is that of bcda_weekly_export.py.
    maintenance(source, schedule="0 3 * * *", weekly_schedule="0 6 * * 2")
