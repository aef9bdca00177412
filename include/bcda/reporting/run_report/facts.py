"""What a report tells, read from the published database, or from the working one while the run is not published."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb

from bcda import model, warehouse
from bcda.errors import InvalidRequestError, WarehouseError
from bcda.reporting.run_report.phases import PhaseTime, phases_of
from bcda.storage import duckdb_files
from bcda.storage.places import Places
from bcda.storage.query_files import Row, rows_of


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One loaded run in aggregates; numbers of few people are still in it and are withheld where it is written out.

    Attributes:
        run: what it asked for (queries/run.sql).
        is_published: whether analysts have it.
        received: what came, per type (queries/received.sql).
        quarantined: why lines were quarantined (queries/quarantined.sql).
        changes: what it did to the claims that count (queries/changes.sql).
        months: dollars moved by month of service (queries/months.sql).
        roster: who joined and left; None for a run that is not about a list, or the first of its kind.
        gaps: what is missing (queries/gaps.sql).
        checks: checks that did not pass (queries/checks.sql).
        asks_from: where the next run begins; None from the beginning.
        phases: how long each took.
    """

    run: Row
    is_published: bool
    received: list[Row]
    quarantined: list[Row]
    changes: list[Row]
    months: list[Row]
    roster: Row | None
    gaps: list[Row]
    checks: list[Row]
    asks_from: datetime | None
    phases: tuple[PhaseTime, ...]


def read_facts(places: Places, run_id: str) -> RunFacts:
    """Return what is known of a loaded run.

    Args:
        places: of the source.
        run_id: of the run.

    Raises:
        InvalidRequestError: the run is not in the ledger.
        WarehouseLockedError, StorageError, EncryptionError, WarehouseError: see `warehouse.open_warehouse`.
    """
    with _published(places, run_id) as published:
        if published is not None:
            return _read(published, places, run_id, is_published=True)
    if places.warehouse.exists():
        with warehouse.open_warehouse(places.warehouse, key=places.key, read_only=True) as connection:
            if _has_run(connection, run_id):
                return _read(connection, places, run_id, is_published=False)
    raise InvalidRequestError(
        f"No run {run_id} is in the ledger of {places.source_id}, so there is nothing to report. "
        "`ops.export_run` lists the loaded runs; a run appears there when its merge task has ended."
    )


def is_loaded(places: Places, run_id: str) -> bool:
    """Tell whether a run is in the ledger, so that there is something to report.

    Args:
        places: of the source.
        run_id: of the run.

    Raises:
        WarehouseLockedError, StorageError, EncryptionError, WarehouseError: see `warehouse.open_warehouse`.
    """
    with _published(places, run_id) as published:
        if published is not None:
            return True
    if not places.warehouse.exists():
        return False
    with warehouse.open_warehouse(places.warehouse, key=places.key, read_only=True) as connection:
        return _has_run(connection, run_id)


@contextmanager
def _published(places: Places, run_id: str) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """Give a connection to the published database if it has the run: nobody waits for a load there."""
    if not places.published.exists():
        yield None
        return
    try:
        with duckdb_files.connected(spill=places.published.parent, key=places.key) as connection:
            duckdb_files.attach(connection, places.published, key=places.key, read_only=True)
            connection.execute(f"USE {duckdb_files.WAREHOUSE}")
            version = connection.execute("SELECT max(schema_version) FROM ops.schema_info").fetchall()[0][0]
            yield connection if version == model.SCHEMA_VERSION and _has_run(connection, run_id) else None
    except duckdb.Error as error:
        # The engine's text can quote a row: only its kind travels on.
        raise WarehouseError(
            f"{places.published} refused to be read ({type(error).__name__}). It is not changed; publish again if it is damaged."
        ) from None


def _has_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> bool:
    found = connection.execute("SELECT count(*) FROM ops.export_run WHERE run_id = $run_id", {"run_id": run_id})
    return bool(found.fetchall()[0][0])


def _read(connection: duckdb.DuckDBPyConnection, places: Places, run_id: str, *, is_published: bool) -> RunFacts:
    def rows(name: str) -> list[Row]:
        return rows_of(connection, __package__, name, {"run_id": run_id})

    (run,) = rows("run")
    return RunFacts(
        run=run,
        is_published=is_published,
        received=rows("received"),
        quarantined=rows("quarantined"),
        changes=rows("changes"),
        months=rows("months"),
        roster=next(iter(rows("roster")), None),
        gaps=rows("gaps"),
        checks=rows("checks"),
        asks_from=rows("ahead")[0]["asks_from"],
        phases=phases_of(places, run),
    )
