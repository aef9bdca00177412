"""Clients of the library whose tokens Airflow masks and whose answers are in its metrics."""

import asyncio
from functools import partial

from airflow.sdk.log import mask_secret

from bcda.api.client import BcdaClient
from bcda.api.export_request import Scope
from bcda.runs.plan import ListDates
from bcda.settings import ConnectionSettings
from bcda_provider import metrics
from bcda_provider.masking import mask_proxy_passwords


def list_dates(settings: ConnectionSettings, scope: Scope, source_id: str) -> ListDates:
    """Ask BCDA for the date of the newest attribution list of a scope.

    Args:
        settings: of the connection.
        scope: of the export.
        source_id: connection id, for the metrics.
    """

    async def ask() -> ListDates:
        async with client_of(settings, source_id) as client:
            dates = await client.attribution_status()
            return ListDates(dates.of(scope), client.server_time)

    return asyncio.run(ask())


def client_of(settings: ConnectionSettings, source_id: str) -> BcdaClient:
    """Return a client whose tokens Airflow masks in every log, and whose answers and retries are in its metrics.

    Args:
        settings: of the connection.
        source_id: connection id, for the metrics.

    Raises:
        InvalidRequestError: the environment names a proxy or a trust store that cannot be used.
    """
    mask_proxy_passwords()
    return BcdaClient(
        settings,
        on_token=mask_secret,
        on_answer=partial(metrics.answered, source_id),
        on_retry=partial(metrics.retried, source_id),
    )
