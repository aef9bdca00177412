"""A disposal from beginning to end. The working database goes last: until then it tells what to dispose of, so a call can be repeated."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from bcda import warehouse
from bcda.api.export_request import format_instant
from bcda.errors import InvalidRequestError
from bcda.maintenance.disposal import at_work, certificate, databases, lake, leftovers, raw, whole
from bcda.maintenance.disposal.certificate import Certificate
from bcda.maintenance.disposal.scope import Scope, WholeSource
from bcda.maintenance.disposal.selection import Selected, select
from bcda.maintenance.disposal.space import check_space
from bcda.runs.disposed_runs import DisposedRun, note_disposed, read_disposed
from bcda.storage import duckdb_files
from bcda.storage.guarded import guarded
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place
from bcda.warehouse import LOCK_WAIT_SECONDS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to dispose of.

    Attributes:
        counts: files, objects and resources, by what they are.
        rows: rows of the working database, by table.
        lake_rows: rows of the lake, by table.
        notes: what to know besides.
        is_empty: nothing of it is here.
    """

    counts: dict[str, int]
    rows: dict[str, int] = field(default_factory=dict)
    lake_rows: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_empty: bool = False


@guarded("look for what to dispose of")
def look(places: Places, scope: Scope, *, now: datetime, wait_seconds: float = LOCK_WAIT_SECONDS) -> Found:
    """Return what a disposal would remove; clean up only what dead attempts have left.

    Args:
        places: of the source.
        scope: what goes.
        now: present instant.
        wait_seconds: how long to wait for a publication, and for a load.

    Raises:
        InvalidRequestError: nothing is loaded, or the identifier is one of several people.
        WarehouseLockedError: a load or a publication is at work.
        StorageError: a table has no rule, the object store refuses, or the working database is at another place.
    """
    check_place(places)
    if isinstance(scope, WholeSource):
        counts, rows = whole.counts_of(places)
        return Found(counts, rows, is_empty=not counts)
    with _held(places, wait_seconds) as connection:
        lake.finish_lake(places)
        return _look(connection, places, scope, select(connection, scope), now)


@guarded("dispose of data")
def dispose(
    places: Places,
    scope: Scope,
    *,
    now: datetime,
    ends_runs: bool = False,
    wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Certificate | None:
    """Remove something from everywhere below a home, and return the certificate; killed half way, the same call goes on.

    Args:
        places: of the source.
        scope: what goes.
        now: present instant.
        ends_runs: runs with files that are not loaded end: their files go too.
        wait_seconds: how long to wait for a publication, and for a load.

    Returns:
        The certificate, which lies in the folder `disposals` beside the published database; None when nothing of it was here.

    Raises:
        InvalidRequestError: a run may be at work, nothing is loaded, or the identifier is one of several people.
        WarehouseLockedError: a load or a publication is at work.
        StorageError: no space for a copy, a table has no rule, or something cannot be written or removed.
        EncryptionError: a database or a lake file has another key.
    """
    started = time.monotonic()
    check_place(places)
    if isinstance(scope, WholeSource):
        return _dispose_whole(places, scope, now, ends_runs=ends_runs, wait_seconds=wait_seconds)
    with _held(places, wait_seconds) as connection:
        done = _end_those_that_are_done(connection, places, scope, now)
        runs = at_work.unloaded_runs(places, frozenset(_loaded(connection)), now=now)
        at_work.check_at_work(runs, ends_runs=ends_runs)
        leftovers.finish_compactions(places)
        lake.finish_lake(places)
        selected = select(connection, scope)
        found = _look(connection, places, scope, selected, now)
        if found.is_empty:
            return done
        check_space(_written_anew(places))
        begun = _begin(places, scope, found, now)
        at_work.forget(places, runs)
        _remove_from_files(connection, places, selected, now, begun.number, wait_seconds)
        databases.write_working(connection, places, _notes(connection, places), begun.number)
    return certificate.finish(places, begun, now + timedelta(seconds=time.monotonic() - started))


def _dispose_whole(
    places: Places, scope: WholeSource, now: datetime, *, ends_runs: bool, wait_seconds: float
) -> Certificate | None:
    with warehouse.publication_held(places.published, wait_seconds=wait_seconds):
        at_work.check_at_work(whole.unloaded(places, now=now), ends_runs=ends_runs)
        counts, rows = whole.counts_of(places)
        if not counts:
            done = None
            for earlier in certificate.unfinished(places):
                done = certificate.finish(places, earlier, now)
            return done
        begun = _begin(places, scope, Found(counts, rows), now)
        whole.remove(places)
    return certificate.finish(places, begun, now)


@contextmanager
def _held(places: Places, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Let nobody publish or load meanwhile; give the connection that holds the working database.

    Raises:
        InvalidRequestError: there is none.
    """
    if not places.warehouse.exists():
        raise InvalidRequestError(
            f"{places.warehouse} is not there, so nothing tells whose data is whose. Rebuild it from the lake (`python -m bcda "
            "rebuild-warehouse`), or dispose of the whole source. No changes were made."
        )
    with (
        warehouse.publication_held(places.published, wait_seconds=wait_seconds),
        warehouse.open_warehouse(places.warehouse, key=places.key, wait_seconds=wait_seconds) as connection,
    ):
        yield connection


def _loaded(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute("SELECT run_id FROM ops.export_run ORDER BY finished_at, run_id")
    return [str(row[0]) for row in found.fetchall()]


def _look(
    connection: duckdb.DuckDBPyConnection, places: Places, scope: Scope, selected: Selected, now: datetime
) -> Found:
    loaded = _loaded(connection)
    of_lake = lake.look_through(connection, places, loaded)
    rows = databases.rows_to_go(connection, duckdb_files.WAREHOUSE)
    here, there = raw.count_raw_data(places)
    runs = at_work.unloaded_runs(places, frozenset(loaded), now=now)
    # The changes of each run go whatever is disposed of, and a person who is nowhere else is in none of them.
    told = [table for table in rows if table != "ops.export_change"]
    if not told and not of_lake.files:
        return Found({}, is_empty=True)
    counts = {
        **{f"{name} resources": number for name, number in selected.resources.items()},
        "attribution lists": len(selected.lists),
        "raw files, of everyone": here,
        "raw files in the object store, of everyone": there,
        "runs that were not loaded": len(runs.young) + len(runs.old),
        "lake files rewritten": of_lake.files,
        "texts of lake rows emptied": sum(of_lake.emptied.values()),
        "databases rewritten": 1 + len(_shown(places)),
        "reports and files of figures": len(leftovers.shown_files(places)),
    }
    return Found(
        {name: number for name, number in counts.items() if number}, rows, dict(of_lake.rows), _told(scope, selected)
    )


def _told(scope: Scope, selected: Selected) -> tuple[str, ...]:
    notes = []
    if scope.kind == "person":
        notes.append(
            "No list of people is kept. While the person is on a list of BCDA's, later exports bring new data of the person."
        )
    else:
        notes.append("A later export from the beginning brings the period again, while BCDA sends it.")
    if selected.without_date:
        notes.append(f"{selected.without_date:,} claims have no day of service and stay: no period has them.")
    if selected.shared_mbis:
        notes.append(
            f"{selected.shared_mbis} MBIs of the person were also those of someone else. Unfinished claims and gaps that only "
            "they name stay."
        )
    if selected.lists:
        notes.append("Patient resources that came with these lists stay in the lake for people who are kept.")
    return tuple(notes)


def _end_those_that_are_done(
    connection: duckdb.DuckDBPyConnection, places: Places, scope: Scope, now: datetime
) -> Certificate | None:
    """Write down that disposals have ended of which only that was missing; return that of the scope."""
    done = None
    for begun in certificate.unfinished(places):
        if databases.is_done(connection, begun.number):
            ended = certificate.finish(places, begun, now)
            done = ended if certificate.is_same(begun, scope) else done
    return done


def _begin(places: Places, scope: Scope, found: Found, now: datetime) -> Certificate:
    """Return the certificate of a call that was killed, whose counts are those of all that was there, or write a new one."""
    for earlier in certificate.unfinished(places):
        if certificate.is_same(earlier, scope):
            return earlier
    is_whole = isinstance(scope, WholeSource)
    begun = Certificate(
        number=certificate.new_number(now),
        source_id=places.source_id,
        kind=scope.kind,
        scope=scope.in_words,
        started_at=format_instant(now),
        finished_at=None,
        counts=found.counts,
        rows=found.rows,
        lake_rows=found.lake_rows,
        notes=found.notes,
        retained=("Certificates of disposals.",) if is_whole else certificate.RETAINED,
        again=certificate.mark_of(scope),
    )
    certificate.write(places, begun)
    return begun


def _remove_from_files(
    connection: duckdb.DuckDBPyConnection,
    places: Places,
    selected: Selected,
    now: datetime,
    number: str,
    wait_seconds: float,
) -> None:
    """Remove it from everything but the working database; each step can be repeated."""
    raw.remove_raw_data(places)
    lake.filter_lake(connection, places, _loaded(connection), DisposedRun(now))
    for run_id in selected.lists:
        note_disposed(places, run_id, DisposedRun(now, without_list=True))
    notes = _notes(connection, places)
    for path in _shown(places):
        databases.write_published(connection, path, places, notes, number, wait_seconds=wait_seconds)
    leftovers.remove_files(leftovers.shown_files(places))
    leftovers.remove_leftovers(places)
    log.info("only the working database is left to be rewritten")


def _notes(connection: duckdb.DuckDBPyConnection, places: Places) -> dict[str, DisposedRun]:
    found = {run_id: read_disposed(places, run_id) for run_id in _loaded(connection)}
    return {run_id: note for run_id, note in found.items() if note is not None}


def _shown(places: Places) -> list[Path]:
    if not places.published.parent.exists():
        return []
    return [path for path in (places.published, *warehouse.dated_copies(places.published)) if path.exists()]


def _written_anew(places: Places) -> list[Path]:
    return [places.warehouse, *_shown(places), *places.lake.glob("*/*/*/*.parquet")]
