"""What the ledger says: intervals that are covered, and the summary of a loaded run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import duckdb

from bcda.coverage import Interval
from bcda.export_request import Scope, format_instant
from bcda.places import Places
from bcda.settings import ApiVersion
from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse


@dataclass(frozen=True, slots=True)
class TypeCount:
    """What became of the resources of one type in one run.

    Attributes:
        resource_type: FHIR type.
        files: output files of the type.
        lines: lines in them.
        new: resources never seen before.
        changed: resources whose content replaced an older one.
        unchanged: resources that came again as they were.
        older: resources older than the stored ones; only recorded.
        duplicates: further lines of a resource within the run.
        quarantined: lines set aside.
    """

    resource_type: str
    files: int
    lines: int
    new: int
    changed: int
    unchanged: int
    older: int
    duplicates: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """A loaded run in numbers; holds nothing about a person.

    Attributes:
        run_id: our export run.
        job_id: BCDA's job.
        since: start of the interval, RFC 3339, or None for the beginning.
        transaction_time: end of the interval, RFC 3339.
        counts: per requested type.
        gaps: people and types that BCDA could not retrieve in this run.
    """

    run_id: str
    job_id: str
    since: str | None
    transaction_time: str
    counts: tuple[TypeCount, ...]
    gaps: int

    def to_json(self) -> dict[str, object]:
        """Return a JSON object."""
        return asdict(self)


def covered_intervals(
    places: Places,
    api_version: ApiVersion,
    scope: Scope,
    resource_types: Sequence[str],
    *,
    wait_seconds: float = LOCK_WAIT_SECONDS,
) -> dict[str, list[Interval]]:
    """Return the loaded intervals of each type; a type never loaded has an empty list.

    Raises:
        WarehouseLockedError: a load held the warehouse for longer than `wait_seconds`.
    """
    found: dict[str, list[Interval]] = {resource_type: [] for resource_type in resource_types}
    if not places.warehouse.exists():
        return found
    with open_warehouse(places.warehouse, read_only=True, wait_seconds=wait_seconds) as connection:
        rows = connection.execute(
            "SELECT resource_type, since_ts, until_ts FROM ops.coverage "
            "WHERE api_version = $api_version AND export_scope = $scope AND list_contains($types, resource_type)",
            {"api_version": api_version.value, "scope": scope.value, "types": list(resource_types)},
        ).fetchall()
    for resource_type, since, until in rows:
        found[resource_type].append(Interval(since and _aware(since), _aware(until)))
    return found


def run_summary(connection: duckdb.DuckDBPyConnection, run_id: str) -> MergeSummary | None:
    """Return the summary of a loaded run, or None when the ledger does not have it."""
    parameters = {"run_id": run_id}
    runs = connection.execute(
        "SELECT job_id, since_ts, transaction_time FROM ops.export_run WHERE run_id = $run_id", parameters
    ).fetchall()
    if not runs:
        return None
    job_id, since, transaction_time = runs[0]
    counts = connection.execute(
        "SELECT resource_type, files, lines, new_resources, changed, unchanged, older, duplicates, quarantined "
        "FROM ops.export_count WHERE run_id = $run_id ORDER BY resource_type",
        parameters,
    ).fetchall()
    gaps = connection.execute("SELECT count(*) FROM ops.gap WHERE opened_run_id = $run_id", parameters).fetchall()
    return MergeSummary(
        run_id=run_id,
        job_id=job_id,
        since=format_instant(_aware(since)) if since else None,
        transaction_time=format_instant(_aware(transaction_time)),
        counts=tuple(TypeCount(*row) for row in counts),
        gaps=gaps[0][0],
    )


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)
