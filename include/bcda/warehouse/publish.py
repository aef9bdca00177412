"""Publishing: analysts open a copy of the working database that is replaced as a whole."""

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import duckdb

from bcda import model
from bcda.errors import DataQualityError, InvalidRequestError, StorageError, WarehouseLockedError
from bcda.settings import ApiVersion
from bcda.storage import duckdb_files
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.encryption import EncryptionKey, lake_key_name
from bcda.storage.files import open_lock, own_folder, private_folder, reason_of, remove_dead, sync_file
from bcda.storage.places import Places
from bcda.storage.publication import DEFAULT_STORAGE, ENCRYPTED_STORAGE, STORAGES
from bcda.warehouse.database import LOCK_WAIT_SECONDS, MEMORY_LIMIT, LockedError, open_warehouse, retrying
from bcda.warehouse.placement import check_readers, copy_file, keep_dated_copy, put_in_place
from bcda.warehouse.quality import Level, checks, failures, run_checks
from bcda.warehouse.rewrite import rewritten

log = logging.getLogger(__name__)

_SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The published database.

    Attributes:
        path: the published database.
        bytes: its size.
        runs: loaded runs in it.
        warnings: checks of level warning that did not pass, each in a sentence without anything about a person.
        rows: rows of each table of the model, by the table's name.
    """

    path: Path
    bytes: int
    runs: int
    warnings: tuple[str, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)


def publish(
    places: Places,
    *,
    shown_version: ApiVersion | None = None,
    run_ids: Sequence[str] = (),
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Snapshot:
    """Check what was loaded, then replace the published database by a consistent copy of the working one.

    Whoever has the old file open keeps it. Killed half way it leaves temporary names only, which the next call removes.
    The copy has the storage version, the readers and the dated copies that `places.publication` says.

    Args:
        places: lake, warehouse and published database.
        shown_version: version of the API that the views show from now on; None leaves it as it is.
        run_ids: export runs to check, besides the one that was merged last; those that are not merged do not count.
        lock_wait_seconds: how long to wait for another publication, and for a load.

    Raises:
        InvalidRequestError: no run of the version to show is loaded, or there is no such readers' group; nothing was
            published.
        DataQualityError: a check of level error failed: keys, counts of the ledger or row counts are wrong; nothing was
            published. Suspect claims are no failure.
        WarehouseLockedError: a load held the warehouse, or another publication its target, for too long.
        StorageError: no space for the copy, the copy cannot be read back, or the readers' group cannot be given it.

    Source: docs/architecture.md#analysts-open-a-copy, docs/reference/checks.md#level-error.
    """
    check_readers(places)
    with publication_held(places.published, wait_seconds=lock_wait_seconds):
        _bring_to_storage_version(places, lock_wait_seconds)
        return _publish(places, shown_version, run_ids, lock_wait_seconds)


def _bring_to_storage_version(places: Places, wait_seconds: float) -> None:
    """Write a working database of an earlier release again, once, so that a copy of its bytes can be published."""
    with open_warehouse(places.warehouse, key=places.key, wait_seconds=wait_seconds) as connection:
        was = duckdb_files.storage_of(connection, duckdb_files.WAREHOUSE)
        wanted = DEFAULT_STORAGE if places.key is None else ENCRYPTED_STORAGE
        if was not in STORAGES[STORAGES.index(wanted) + 1 :]:
            return
        connection.execute("CHECKPOINT").fetchall()
        with rewritten(connection, duckdb_files.WAREHOUSE, places.warehouse, key=places.key):
            log.info("the working database had storage version %s and is rewritten with %s", was, wanted)


def _publish(places: Places, shown_version: ApiVersion | None, run_ids: Sequence[str], wait_seconds: float) -> Snapshot:
    target = places.published
    remove_dead(target.parent)
    with own_folder(target.parent, target.name) as own:
        snapshot = _publish_from(own / "new.duckdb", places, shown_version, run_ids, wait_seconds)
    log.info("published %s: %d bytes, %d runs", target, snapshot.bytes, snapshot.runs)
    return snapshot


def _publish_from(
    temporary: Path, places: Places, shown_version: ApiVersion | None, run_ids: Sequence[str], wait_seconds: float
) -> Snapshot:
    with open_warehouse(places.warehouse, key=places.key, wait_seconds=wait_seconds) as connection:
        warnings = _check(connection, run_ids)
        reached(CommitPoint.CHECKED)
        _set_views(connection, places, shown_version)
        connection.execute("CHECKPOINT").fetchall()
        runs = _count_runs(connection)
        _write_snapshot(connection, places, temporary)
    rows = _prove(temporary, runs, places.key)
    size = temporary.stat().st_size
    reached(CommitPoint.SNAPSHOT_COPIED)
    put_in_place(temporary, places)
    reached(CommitPoint.PUBLISHED)
    keep_dated_copy(places)
    return Snapshot(places.published, size, runs, warnings, rows)


@contextmanager
def publication_held(target: Path, *, wait_seconds: float) -> Iterator[None]:
    """Let nobody else replace a published database meanwhile, or remove what is on its way there.

    The warehouse's own lock does not do that: it is given back when the copy is made, before it is proved and has its name.

    Args:
        target: the published database; its folder is made when it is not there.
        wait_seconds: how long to wait for who holds it.

    Raises:
        WarehouseLockedError: still held after that.
        StorageError: the lock file beside it cannot be written or locked.
    """
    # The file stays: removed, two could hold a lock of the same name. What a process held is free when it ends, however.
    with open_lock(private_folder(target.parent) / f".{target.name}.lock") as file:
        try:
            retrying("another publication", wait_seconds)(_lock, file)
        except LockedError as error:
            raise WarehouseLockedError(
                f"{target} is being published by {error}, which took longer than {wait_seconds:.0f} s. Wait for that process or "
                "stop it, then run the task again.",
                holder=str(error),
            ) from error
        yield


def _lock(file: BinaryIO) -> None:
    """Lock a file and write down who did.

    Raises:
        LockedError: someone else has.
        StorageError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise LockedError(file.read(100).decode("ascii", "replace") or "another process") from error
    except OSError as error:
        raise StorageError(
            f"Cannot lock the folder of the published database: {reason_of(error)}. Publish on a file system with locks."
        ) from error
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()}".encode())


def _check(connection: duckdb.DuckDBPyConnection, run_ids: Sequence[str]) -> tuple[str, ...]:
    """Run the checks for the run that was merged last and for some others, and return their warnings.

    The newest run of another version is checked too while it has failed, or was never checked: what it left is in the same
    tables, and stands until its cause is gone.

    Raises:
        DataQualityError: one of them failed a check of level error.
    """
    merged = connection.execute(
        "SELECT run_id FROM ops.export_run ORDER BY finished_at, transaction_time, run_id"
    ).fetchall()
    asked = [row[0] for row in merged if row[0] in run_ids or row is merged[-1]]
    errors = [check.check_id for check in checks() if check.level is Level.ERROR]
    unproved = connection.execute(model.sql("ops/unproved_runs"), {"check_ids": errors, "run_ids": asked}).fetchall()
    results = [result for run_id in asked for result in run_checks(connection, run_id)]
    others = [result for (run_id,) in unproved for result in run_checks(connection, run_id)]
    for failure in failures(results, Level.WARNING):
        log.warning("check %s", failure)
    failed = failures([*others, *results], Level.ERROR)
    if failed:
        said = tuple(dict.fromkeys(str(failure) for failure in failed))
        for sentence in said:
            log.error("check %s", sentence)
        raise DataQualityError(
            f"{len(said)} checks of level error failed, so the published database stays as it was. {'; '.join(said[:5])} "
            "All results are in ops.dq_result of the working database. The failure stands until its cause is gone; the next "
            "publication after that has all data.",
            check_ids=tuple(dict.fromkeys(failure.check_id for failure in failed)),
        )
    return tuple(dict.fromkeys(str(failure) for failure in failures(results, Level.WARNING)))


def _set_views(connection: duckdb.DuckDBPyConnection, places: Places, shown_version: ApiVersion | None) -> None:
    if shown_version is not None:
        loaded = connection.execute("SELECT DISTINCT api_version FROM ops.export_run ORDER BY ALL").fetchall()
        if (shown_version.value,) not in loaded:
            raise InvalidRequestError(
                f"The views are to show {shown_version}, of which no run is loaded, so the published database stays as it "
                f"was. Loaded: {', '.join(row[0] for row in loaded) or 'nothing'}. Load {shown_version} first or name another."
            )
        connection.execute(
            "UPDATE ops.setting SET value = $version WHERE name = 'shown_api_version'", {"version": shown_version.value}
        )
    set_lake_view(connection, places)


def set_lake_view(connection: duckdb.DuckDBPyConnection, places: Places) -> None:
    """Make or renew the view `resource`, which reads the lake where it lies; nothing while the lake has no resources.

    Args:
        connection: to the database that is to have it, with the key of the lake.
        places: gives lake and key.
    """
    if not any(places.lake.glob("resource/*/*/*.parquet")):
        return
    for statement in model.lake_view(lake=str(places.lake.resolve()), key_name=lake_key_name(places.key)):
        connection.execute(statement)


def _write_snapshot(connection: duckdb.DuckDBPyConnection, places: Places, temporary: Path) -> None:
    """Copy the working database: its bytes, or its rows where the published database has another storage version."""
    try:
        if places.publication.storage == DEFAULT_STORAGE:
            copy_file(places.warehouse, temporary)
        else:
            _write_rows(connection, places, temporary)
    except OSError as error:
        raise StorageError(
            f"Cannot write the snapshot {places.published}: {reason_of(error)}. Check owner and free space."
        ) from error


def _write_rows(connection: duckdb.DuckDBPyConnection, places: Places, temporary: Path) -> None:
    duckdb_files.attach(connection, temporary, _SNAPSHOT, key=places.key, storage=places.publication.storage)
    connection.execute(f"COPY FROM DATABASE {duckdb_files.WAREHOUSE} TO {_SNAPSHOT}")
    connection.execute(f"CHECKPOINT {_SNAPSHOT}").fetchall()
    connection.execute(f"DETACH {_SNAPSHOT}")
    sync_file(temporary)


def _prove(path: Path, runs: int, key: EncryptionKey | None) -> dict[str, int]:
    """Open the copy, compare it with its source and count the rows of its tables.

    Raises:
        StorageError: it cannot be read, or holds another number of runs.
    """
    try:
        with duckdb_files.connected(spill=path.parent, memory=MEMORY_LIMIT, key=key) as connection:
            duckdb_files.attach(connection, path, key=key, read_only=True)
            connection.execute(f"USE {duckdb_files.WAREHOUSE}")
            found = _count_runs(connection)
            rows = {name: _count(connection, model.relation(name)) for name in model.all_tables()}
    except duckdb.Error:
        raise StorageError(f"The snapshot {path} cannot be read back; the published file is as it was.") from None
    if found != runs:
        raise StorageError(
            f"The snapshot {path} holds {found} runs instead of {runs}; the published file is as it was."
        )
    return rows


def _count_runs(connection: duckdb.DuckDBPyConnection) -> int:
    return _count(connection, "ops.export_run")


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(connection.sql(f"FROM {relation}").count("*").fetchall()[0][0])
