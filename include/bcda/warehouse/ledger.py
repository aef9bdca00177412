"""What the ledger says: intervals that are covered, and the summary of a loaded run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from bcda import model
from bcda.api.export_request import Scope, format_instant
from bcda.errors import InvalidRequestError
from bcda.privacy.suppression import Cell, Total, withheld
from bcda.runs.coverage import Covered, Gap, TypeLedger
from bcda.settings import ApiVersion, server_of
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place
from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse
from bcda.warehouse.distrust import check_ledger


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
        quarantined: lines quarantined.
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
    """A loaded run in numbers, also of few people; `to_json` has what may leave.

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
        """Return a JSON object with what may leave the warehouse: lines are None where they are withheld, gaps are yes or no."""
        hidden = self._hidden()
        counts = [
            {
                "resource_type": entry.resource_type,
                "files": entry.files,
                "lines": None if entry.resource_type in hidden else entry.lines,
            }
            for entry in self.counts
        ]
        return {
            "run_id": self.run_id,
            "job_id": self.job_id,
            "since": self.since,
            "transaction_time": self.transaction_time,
            "counts": counts,
            "gaps": self.gaps > 0,
        }

    def _hidden(self) -> frozenset[Cell]:
        """Return the types whose lines are withheld; a line of one type is a person, and report and page have their sum."""
        lines: dict[Cell, int] = {entry.resource_type: entry.lines for entry in self.counts}
        return withheld({**lines, "": sum(lines.values())}, [Total("", tuple(lines))])


@dataclass(frozen=True, slots=True)
class Held:
    """What the ledger says about one version and population.

    Attributes:
        types: per asked resource type; a type never loaded has an empty entry.
        gaps_given_up: people and types that runs no longer request automatically.
    """

    types: dict[str, TypeLedger]
    gaps_given_up: int = 0


def read_ledger(
    places: Places,
    api_version: ApiVersion,
    scope: Scope,
    resource_types: Sequence[str],
    *,
    server: str = "",
    wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Held:
    """Return what is covered and missing for the people of a scope: the current ones, or those of the runout list.

    Args:
        places: of the source.
        api_version: version of the API.
        scope: `patient` and `group-all` are about the same people.
        resource_types: FHIR type names.
        server: of the connection; empty to not compare it with that of the warehouse.
        wait_seconds: how long to wait for a load.

    Raises:
        WarehouseLockedError: a load held the warehouse for longer than `wait_seconds`.
        InvalidRequestError: the warehouse holds the data of another server.
        StorageError: the working database of the source is at another place, or holds dates in the future.
    """
    check_place(places)
    if not places.warehouse.exists():
        return Held({name: TypeLedger() for name in resource_types})
    asked = {"api_version": api_version.value, "is_runout": scope.is_runout, "resource_types": list(resource_types)}
    with open_warehouse(places.warehouse, key=places.key, read_only=True, wait_seconds=wait_seconds) as connection:
        check_source(connection, source_id=places.source_id, server=server)
        check_ledger(connection, places)
        runs = connection.execute(model.sql("ops/type_ledger"), asked).fetchall()
        gaps = connection.execute(model.sql("ops/type_gaps"), asked).fetchall()
        given_up = connection.execute(
            "SELECT count(*) FROM ops.open_gap WHERE NOT is_tried_again AND api_version = $version",
            {"version": api_version.value},
        ).fetchall()
    covered = {name: [_covered(row) for row in runs if row[0] == name] for name in resource_types}
    missing = {name: [_gap(row) for row in gaps if row[0] == name] for name in resource_types}
    return Held(
        {name: TypeLedger(tuple(covered[name]), tuple(missing[name])) for name in resource_types}, given_up[0][0]
    )


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One row of `ops.data_status`.

    Attributes:
        api_version: v1, v2 or v3.
        population: `current` or `runout`.
        resource_type: FHIR type.
        covered_until: every change up to this instant is here, gaps apart; None while some part is open.
        missing: what is missing, in words; empty when nothing is known to be.
        gap_intervals: intervals for which BCDA could not deliver someone and no later run has; how many people is not said.
    """

    api_version: str
    population: str
    resource_type: str
    covered_until: datetime | None
    missing: str
    gap_intervals: int = 0


def read_status(places: Places, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> list[StatusRow]:
    """Return `ops.data_status` of a warehouse.

    Raises:
        WarehouseLockedError: a load held the warehouse for longer than `wait_seconds`.
    """
    with open_warehouse(places.warehouse, key=places.key, read_only=True, wait_seconds=wait_seconds) as connection:
        return _status(connection)


def read_published_status(places: Places) -> list[StatusRow]:
    """Return `ops.data_status` of the published database, which no load ever holds."""
    with open_warehouse(places.published, key=places.key, read_only=True, wait_seconds=0) as connection:
        return _status(connection)


def _status(connection: duckdb.DuckDBPyConnection) -> list[StatusRow]:
    rows = connection.execute(model.sql("ops/status")).fetchall()
    return [StatusRow(row[0], row[1], row[2], row[3] and _aware(row[3]), *row[4:]) for row in rows]


def merged_runs(places: Places, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> dict[str, datetime]:
    """Return when each loaded run was merged, in that order.

    Raises:
        WarehouseLockedError: a load held the warehouse for longer than `wait_seconds`.
        StorageError: the working database of the source is at another place.
    """
    check_place(places)
    if not places.warehouse.exists():
        return {}
    with open_warehouse(
        places.warehouse, key=places.key, read_only=True, any_version=True, wait_seconds=wait_seconds
    ) as connection:
        rows = connection.execute(
            "SELECT run_id, finished_at FROM ops.export_run ORDER BY finished_at, run_id"
        ).fetchall()
    return {run_id: _aware(finished_at) for run_id, finished_at in rows}


def check_source(connection: duckdb.DuckDBPyConnection, *, source_id: str, server: str) -> None:
    """Compare the source that a database belongs to with the one at hand.

    Raises:
        InvalidRequestError: they differ; two organizations, or sandbox and production, must not mix.
    """
    bound = dict(connection.execute(model.sql("ops/source")).fetchall())
    if "server" in bound:
        # Version 1.0 wrote the port 443 down where a connection names it.
        bound["server"] = server_of(bound["server"])
    for name, value in (("source_id", source_id), ("server", server)):
        if value and bound.get(name, value) != value:
            raise InvalidRequestError(
                f"The warehouse holds the data of {bound.get('source_id', 'a source')} from {bound.get('server', 'a server')}; "
                f"the connection {source_id} is to {server or 'another'}. Data of two sources is never mixed: use a connection "
                "id of its own for each, or point the connection back."
            )


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
    gaps = connection.execute(
        "SELECT count(*) FROM ops.gap WHERE opened_run_id = $run_id AND needs = 'changes'", parameters
    ).fetchall()
    return MergeSummary(
        run_id=run_id,
        job_id=job_id,
        since=format_instant(_aware(since)) if since else None,
        transaction_time=format_instant(_aware(transaction_time)),
        counts=tuple(TypeCount(*row) for row in counts),
        gaps=gaps[0][0],
    )


def _covered(row: Sequence[Any]) -> Covered:
    since, until, known_until, list_at = _instants(row[1:5])
    return Covered(since, until, known_until, list_at, bool(row[5]))


def _gap(row: Sequence[Any]) -> Gap:
    since, until = _instants(row[1:3])
    return Gap(since, until, bool(row[3]), opened_by=row[4])


def _instants(values: Sequence[datetime | None]) -> list[Any]:
    return [value and _aware(value) for value in values]


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)
