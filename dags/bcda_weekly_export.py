"""The Airflow DAG bcda_weekly_export: all that changed for everyone attributed, each week. One DAG for each connection."""

from bcda_provider.dags.weekly import weekly_export
from bcda_provider.sources import sources

for source in sources():
    # Tuesdays 06:00 UTC, after BCDA has loaded the claims of the weekend. bcda_maintenance.py names the same schedule.
    weekly_export(source, scope="patient", schedule="0 6 * * 2")
