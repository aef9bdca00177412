"""Publishing: analysts open a copy of the working database that is replaced as a whole."""

import fcntl
import glob
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import duckdb

from bcda import duckdb_files, model
from bcda.commit_points import CommitPoint, reached
from bcda.encryption import EncryptionKey, lake_key_name
from bcda.errors import DataQualityError, InvalidRequestError, StorageError, WarehouseLockedError
from bcda.places import Places, private_folder, sync_folder
from bcda.settings import ApiVersion
from bcda.warehouse.database import LOCK_WAIT_SECONDS, MEMORY_LIMIT, LockedError, open_warehouse, retrying
from bcda.warehouse.quality import Level, failures, run_checks

log = logging.getLogger(__name__)

_FICLONE = 0x40049409
"""Linux ioctl that shares a file's blocks with a copy, where the file system can (Btrfs, XFS)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The published database.

    Attributes:
        path: what analysts open.
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
    places: Places, *, shown_version: ApiVersion | None = None, lock_wait_seconds: float = LOCK_WAIT_SECONDS
) -> Snapshot:
    """Check what was loaded, then replace the published database by a consistent copy of the working one.

    Whoever has the old file open keeps it. Killed half way it leaves temporary names only, which the next call removes.

    Args:
        places: lake, warehouse and published database.
        shown_version: version of the API that the views show from now on; None leaves it as it is.
        lock_wait_seconds: how long to wait for another publication, and for a load.

    Raises:
        InvalidRequestError: no run of the version to show is loaded; nothing was published.
        DataQualityError: a check of level error failed for the newest run of some version; nothing was published.
        WarehouseLockedError: a load held the warehouse, or another publication its target, for too long.
        StorageError: no space for the copy, or the copy cannot be read back.

    Source: design §2.9; table model §6.
    """
    with publication_held(places.published, wait_seconds=lock_wait_seconds):
        return _publish(places, shown_version, lock_wait_seconds)


def _publish(places: Places, shown_version: ApiVersion | None, wait_seconds: float) -> Snapshot:
    target = places.published
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.tmp*"):
        leftover.unlink()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with open_warehouse(places.warehouse, key=places.key, wait_seconds=wait_seconds) as connection:
        warnings = _check(connection)
        reached(CommitPoint.CHECKED)
        _set_views(connection, places, shown_version)
        connection.execute("CHECKPOINT").fetchall()
        runs = _count_runs(connection)
        try:
            _copy(places.warehouse, temporary)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(
                f"Cannot write the snapshot {target}: {error.strerror}. Check owner and free space."
            ) from error
    rows = _prove(temporary, runs, places.key)
    reached(CommitPoint.SNAPSHOT_COPIED)
    temporary.replace(target)
    sync_folder(target.parent)
    reached(CommitPoint.PUBLISHED)
    snapshot = Snapshot(target, target.stat().st_size, runs, warnings, rows)
    log.info("published %s: %d bytes, %d runs", target, snapshot.bytes, runs)
    return snapshot


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
    path = private_folder(target.parent) / f".{target.name}.lock"
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise StorageError(f"Cannot open {path}: {error.strerror}. Check the owner.") from error
    # The file stays: removed, two could hold a lock of the same name. What a process held is free when it ends, however.
    with file:
        try:
            retrying("another publication", wait_seconds)(_lock, file)
        except LockedError as error:
            raise WarehouseLockedError(
                f"{target} is being published by {error}, which took longer than {wait_seconds:.0f} s. Wait for that process or "
                "stop it, then run the task again.",
                holder=str(error),
            ) from error
        yield


def _lock(file: TextIO) -> None:
    """Lock a file and write down who did.

    Raises:
        LockedError: somebody else has.
        StorageError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise LockedError(file.read() or "another process") from error
    except OSError as error:
        raise StorageError(
            f"Cannot lock {file.name}: {error.strerror}. Publish on a file system with locks."
        ) from error
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()}")
    file.flush()


def _check(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Run the checks for the run that was merged last and return its warnings.

    Raises:
        DataQualityError: it, or the newest run of another version, failed a check of level error.
    """
    newest = connection.execute(
        "SELECT run_id FROM ops.export_run ORDER BY finished_at DESC, transaction_time DESC, run_id DESC LIMIT 1"
    ).fetchall()
    if not newest:
        return ()
    results = run_checks(connection, newest[0][0])
    for failure in failures(results, Level.WARNING):
        log.warning("check %s", failure)
    failed = connection.execute(model.sql("ops/failed_checks")).fetchall()
    if failed:
        for failure in failures(results, Level.ERROR):
            log.error("check %s", failure)
        listed = "; ".join(
            f"{check_id}{f' ({scope})' if scope else ''} {rows_failed:,} of {rows_checked:,} rows: {detail}"
            for _, check_id, scope, rows_checked, rows_failed, detail in failed[:5]
        )
        raise DataQualityError(
            f"{len(failed)} checks of level error failed, so the published database stays as it was. {listed} "
            "All results are in ops.dq_result of the working database; a later run that passes is published.",
            check_ids=tuple(dict.fromkeys(row[1] for row in failed)),
        )
    return tuple(str(failure) for failure in failures(results, Level.WARNING))


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


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original:
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            try:
                fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
            except OSError:
                # Most file systems cannot share blocks; a plain copy is the same, only slower.
                shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())


def _prove(path: Path, runs: int, key: EncryptionKey | None) -> dict[str, int]:
    """Open the copy, compare it with its source and count the rows of its tables.

    Raises:
        StorageError: it cannot be read, or holds another number of runs.
    """
    try:
        with duckdb_files.connected(spill=path.with_suffix(".spill"), memory=MEMORY_LIMIT, key=key) as connection:
            duckdb_files.attach(connection, path, key=key, read_only=True)
            connection.execute(f"USE {duckdb_files.WAREHOUSE}")
            found = _count_runs(connection)
            rows = {name: _count(connection, model.relation(name)) for name in model.all_tables()}
    except duckdb.Error as error:
        raise StorageError(f"The snapshot {path} cannot be read back; the published file is as it was.") from error
    if found != runs:
        raise StorageError(
            f"The snapshot {path} holds {found} runs instead of {runs}; the published file is as it was."
        )
    return rows


def _count_runs(connection: duckdb.DuckDBPyConnection) -> int:
    return _count(connection, "ops.export_run")


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(connection.sql(f"FROM {relation}").count("*").fetchall()[0][0])
