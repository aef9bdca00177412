"""Dates of a run that cannot be true: they are replaced before they reach the tables, and found where they have."""

from dataclasses import replace
from datetime import UTC, datetime

import duckdb

from bcda import model
from bcda.api.export_request import format_instant
from bcda.api.manifest import Manifest
from bcda.api.server_clock import is_future
from bcda.errors import ManifestError, StorageError
from bcda.runs.run import ExportRun
from bcda.storage.places import Places


def time_at_bcda(run: ExportRun, manifest: Manifest, now: datetime) -> datetime:
    """Return what BCDA's clock said last during a run; for runs of version 1.0, the best that is known of it.

    Args:
        run: that was loaded.
        manifest: of its job.
        now: when it was or is merged, by our clock.
    """
    return manifest.answered_at or max(now, run.asked_at or now)


def check_time(manifest: Manifest, server_now: datetime) -> None:
    """Refuse a manifest of version 1.0, which was not compared with any clock when it was stored.

    Raises:
        ManifestError: its `transactionTime` lies in the future.
    """
    if is_future(manifest.transaction_time, server_now):
        raise ManifestError(
            f"The manifest of job {manifest.job_id} has the transactionTime {format_instant(manifest.transaction_time)}, which lies "
            "in the future. Nothing was merged. Tell BCDA's help desk, then clear `kick_off` with everything after it."
        )


def without_future(run: ExportRun, manifest: Manifest, server_now: datetime) -> tuple[ExportRun, Manifest, bool]:
    """Return run and manifest without dates that lie in the future, and whether the run covers what it asked for.

    A run whose interval has a wrong end brings what it brings. How far that reaches is not known, so it covers nothing, and
    the next run asks again from where the one before it ended.

    Args:
        run: of which dates are looked at.
        manifest: of its job.
        server_now: of `time_at_bcda`.
    """
    asked_at = None if run.asked_at is None or is_future(run.asked_at, server_now) else run.asked_at
    list_at = None if run.list_at is None or is_future(run.list_at, server_now) else run.list_at
    since, until = run.request.since, manifest.transaction_time
    covers = not is_future(until, server_now) and (since is None or not is_future(since, server_now))
    if not covers:
        until = min(until, asked_at or run.planned_at)
        since = since and min(since, until)
    run = replace(run, asked_at=asked_at, list_at=list_at, request=replace(run.request, since=since))
    return run, replace(manifest, transaction_time=until), covers


def future_runs(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the loaded runs of which the ledger holds a date in the future; earlier releases believed all dates."""
    return [row[0] for row in connection.execute(model.sql("ops/future_runs")).fetchall()]


def future_resources(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how many resources say that they were updated in the future; nothing that comes later could replace them."""
    return int(connection.execute(model.sql("ops/future_resources")).fetchall()[0][0])


def check_ledger(connection: duckdb.DuckDBPyConnection, places: Places) -> None:
    """Refuse to plan from a ledger with a date in the future: what BCDA had not sent yet would count as loaded.

    Raises:
        StorageError: there is one; names the command that repairs it.
    """
    if runs := future_runs(connection):
        raise StorageError(f"{future_in_words(runs, 0)} Nothing was asked for. {repair_step(places)}")


def future_in_words(runs: list[str], resources: int) -> str:
    """Return what is wrong with the dates of a working database, in sentences; empty when nothing is."""
    said = []
    if runs:
        said.append(
            f"The working database holds dates in the future from {len(runs)} runs, the last of which is {runs[-1]}. Data that BCDA "
            "had not sent yet counts as loaded."
        )
    if resources:
        said.append(f"{resources} resources have a lastUpdated in the future, so later changes do not replace them.")
    return " ".join(said)


def repair_step(places: Places) -> str:
    """Return which command repairs it, in a sentence."""
    return (
        f"Pause the DAGs and run `python -m bcda repair-timestamps --source {places.source_id}` where the working database is. The "
        "next run then asks for the data again."
    )


def naive(value: datetime) -> datetime:
    """Return a timestamp as the tables have it, in UTC without zone."""
    return value.astimezone(UTC).replace(tzinfo=None)
