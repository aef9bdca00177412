"""Publishing: analysts open a copy of the working database that is replaced as a whole."""

import fcntl
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bcda.errors import StorageError
from bcda.places import Places, private_folder, sync_folder
from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse

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
    """

    path: Path
    bytes: int
    runs: int


def publish(places: Places, *, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> Snapshot:
    """Replace the published database by a consistent copy of the working one.

    Whoever has the old file open keeps it. Killed half way it leaves temporary names only, which the next call removes.

    Raises:
        WarehouseLockedError: a load held the warehouse for too long.
        StorageError: no space for the copy, or the copy cannot be read back.

    Source: design §2.9.
    """
    target = places.published
    private_folder(target.parent)
    for leftover in target.parent.glob(f".{target.name}.*.tmp*"):
        leftover.unlink()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with open_warehouse(places.warehouse, wait_seconds=lock_wait_seconds) as connection:
        connection.execute("CHECKPOINT").fetchall()
        runs = _count_runs(connection)
        try:
            _copy(places.warehouse, temporary)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(
                f"Cannot write the snapshot {target}: {error.strerror}. Check owner and free space."
            ) from error
    _prove(temporary, runs)
    temporary.replace(target)
    sync_folder(target.parent)
    snapshot = Snapshot(target, target.stat().st_size, runs)
    log.info("published %s: %d bytes, %d runs", target, snapshot.bytes, runs)
    return snapshot


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


def _prove(path: Path, runs: int) -> None:
    """Open the copy and compare it with its source.

    Raises:
        StorageError: it cannot be read, or holds another number of runs.
    """
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = _count_runs(connection)
    except duckdb.Error as error:
        raise StorageError(f"The snapshot {path} cannot be read back; the published file is as it was.") from error
    if found != runs:
        raise StorageError(
            f"The snapshot {path} holds {found} runs instead of {runs}; the published file is as it was."
        )


def _count_runs(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute("SELECT count(*) FROM ops.export_run").fetchall()[0][0])
