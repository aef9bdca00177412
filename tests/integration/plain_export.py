"""A whole export as plain calls, in the order in which Airflow runs them."""

import asyncio
from datetime import UTC, datetime

from bcda import export
from bcda.api.client import BcdaClient
from bcda.api.export_request import Scope
from bcda.runs.fetch import fetch_batch
from bcda.runs.plan import Wish
from bcda.runs.run import ExportRun
from bcda.settings import ConnectionSettings
from bcda.storage.places import Places
from bcda.warehouse import MergeSummary

TYPES = ("Patient", "Coverage", "ExplanationOfBenefit")


def wish(settings: ConnectionSettings, **changes: object) -> Wish:
    values = {"api_version": settings.api_version, "scope": Scope.PATIENT, "resource_types": TYPES}
    return Wish(**{**values, **changes})


def planned(settings: ConnectionSettings, places: Places, **changes: object) -> ExportRun:
    run = export.plan(places, wish(settings, **changes), now=datetime.now(UTC))
    assert isinstance(run, ExportRun)
    return run


async def fetch(settings: ConnectionSettings, places: Places, run_id: str, count: int = 2) -> list[int]:
    """From kick-off to receipts; return the numbers of the batches."""
    async with BcdaClient(settings) as client:
        job = await export.kick_off(client, places, run_id)
        while (await client.status(job.job_id)).manifest is None:
            await asyncio.sleep(0.05)
        await export.save_manifest(client, places, run_id, job.job_id)
        batches = export.plan_batches(places, run_id, count)
        for batch in batches:
            await export.fetch_batch(client, places, run_id, batch, count)
    return batches


async def every_phase(settings: ConnectionSettings, places: Places) -> bool:
    """Ask everything that an export asks, and cancel its job too late; return whether every file came."""
    run = planned(settings, places)
    async with BcdaClient(settings) as client:
        await client.attribution_status()
        job = await export.kick_off(client, places, run.run_id)
        while (await client.status(job.job_id)).manifest is None:
            await asyncio.sleep(0.05)
        manifest = await export.save_manifest(client, places, run.run_id, job.job_id)
        folder = places.run_folder(run.run_id)
        receipts = await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
        assert await client.cancel(job.job_id) is False
    return len(receipts) == len(manifest.files) > 0


def load(places: Places, run_id: str, batches: list[int], count: int = 2) -> MergeSummary:
    """From receipts to the published database."""
    for batch in batches:
        export.land_batch(places, run_id, batch, count)
    summary = export.merge(places, run_id, count, now=datetime.now(UTC))
    export.publish(places)
    return summary


def run_export(settings: ConnectionSettings, places: Places, count: int = 2, **changes: object) -> MergeSummary:
    """Run one export from plan to publish."""
    run = planned(settings, places, **changes)
    batches = asyncio.run(fetch(settings, places, run.run_id, count))
    return load(places, run.run_id, batches, count)
