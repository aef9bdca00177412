"""The Airflow DAGs bcda_attribution_check and bcda_attribution_export: new attribution lists. Two for each connection."""

from bcda_provider.dags.attribution import attribution_check, attribution_export
from bcda_provider.sources import sources

for source in sources():
    # Daily 05:00 UTC.
    attribution_check(source, schedule="0 5 * * *")
    # When the check finds a new list, and on the 20th of each month at 07:00 UTC.
    attribution_export(source, schedule="0 7 20 * *")
