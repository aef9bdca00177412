"""The Airflow DAG bcda_runout_export: claims of who was attributed last year, when someone triggers it. One for each connection."""

from bcda_provider.dags.runout import runout_export
from bcda_provider.sources import sources

for source in sources():
    runout_export(source, scope="group-runout", schedule=None)
