"""Opening the working database: DuckDB admits one writing process, so a held lock is waited for."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import tenacity

from bcda import budgets, model
from bcda.errors import StorageError, WarehouseError, WarehouseLockedError
from bcda.model.mapping_version import MAPPING_VERSION
from bcda.storage import duckdb_files
from bcda.storage.encryption import EncryptionKey
from bcda.storage.files import make_private, private_folder, remove_dead, sync_folder, told
from bcda.warehouse.views import renew_views

log = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = budgets.HELD_SECONDS
"""How long a load waits for another one by default. Airflow's tasks are retried after it: they hold no worker meanwhile."""

GAP_TYPES = {"name": "gap_types", "release": "1"}
"""Setting of a database whose gaps have the types that BCDA's file names tell."""

_MAPPING = "mapping_version"
"""Setting with the version of the mapping of the release that last opened the database to write."""

MEMORY_LIMIT = budgets.ENGINE_MEMORY
"""Of one merge; what does not fit is spilled next to the database."""


class LockedError(Exception):
    """The lock is held, by whom the text says; wait and try again."""


@contextmanager
def open_warehouse(
    path: Path,
    *,
    key: EncryptionKey | None = None,
    read_only: bool = False,
    any_version: bool = False,
    wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the working database, making it when it is new.

    Args:
        path: the database file; its folder is made with mode 0700, the file with 0600.
        key: it is encrypted with; a new one is made so.
        read_only: several readers may hold it together, none beside a writer.
        any_version: read a database of another release's schema too.
        wait_seconds: how long to wait for a process that holds it.

    Yields:
        A connection, closed at the end.

    Raises:
        WarehouseLockedError: still held after `wait_seconds`; the message names the process.
        StorageError: the disk is full, the folder cannot be written, or the database is of another schema version.
        WarehouseError: the engine refused a statement.
        EncryptionError: the database needs a key, another key or none.
    """
    private_folder(path.parent)
    if not read_only:
        _tidy(path)
    try:
        with duckdb_files.connected(spill=path.parent, memory=MEMORY_LIMIT, key=key) as connection:
            attach_waiting(connection, path, key=key, read_only=read_only, wait_seconds=wait_seconds)
            connection.execute(f"USE {duckdb_files.WAREHOUSE}")
            if read_only and not _has_schema(connection):
                # The first load was killed between making the file and committing its tables; a reader cannot make them.
                connection.execute("USE memory")
                connection.execute(f"DETACH {duckdb_files.WAREHOUSE}")
                with open_warehouse(path, key=key, wait_seconds=wait_seconds):
                    pass
                attach_waiting(connection, path, key=key, read_only=True, wait_seconds=wait_seconds)
                connection.execute(f"USE {duckdb_files.WAREHOUSE}")
            if not read_only:
                _ensure_schema(connection, path)
            elif not any_version:
                _check_version(connection, path)
            yield connection
        if not read_only:
            # DuckDB syncs database and log, and not the folder that has their names.
            with told(f"write in the folder {path.parent}"):
                sync_folder(path.parent)
    except duckdb.OutOfMemoryException:
        raise StorageError(
            f"The warehouse {path} needs more temporary space than there is. Free some space beside it and try again."
        ) from None
    except (duckdb.IOException, duckdb.TransactionException) as error:
        if isinstance(error, duckdb.TransactionException) and ' file "' not in str(error):
            raise _refused(path, error) from None
        raise StorageError(
            f"The warehouse {path} cannot be read or written: {why(error)}. Check free space and the owner."
        ) from None
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise _refused(path, error) from None


def _tidy(path: Path) -> None:
    """Remove what dead processes left beside a database, and make the file private if it is there.

    Raises:
        StorageError: it is a link, or belongs to another account.
    """
    remove_dead(path.parent)
    if path.is_symlink() or path.exists():
        make_private(path)


def _refused(path: Path, error: Exception) -> WarehouseError:
    """Return what a refusal means. The engine's text can quote a row, and be cut within a letter: only its kind travels on."""
    return WarehouseError(
        f"The warehouse {path} refused a statement ({type(error).__name__}); what it held is as it was. Report this with the "
        "run id."
    )


def attach_waiting(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    name: str = duckdb_files.WAREHOUSE,
    *,
    key: EncryptionKey | None = None,
    read_only: bool = False,
    wait_seconds: float = LOCK_WAIT_SECONDS,
) -> None:
    """Attach a database file, waiting for a process that holds it.

    Args:
        connection: of `duckdb_files.connected`.
        path: the file; made when it is new.
        name: name of the database in statements; ours, never from outside.
        key: of the database.
        read_only: several readers may hold it together, none beside a writer.
        wait_seconds: how long to wait.

    Raises:
        WarehouseLockedError, StorageError, EncryptionError: see `open_warehouse`.
    """
    try:
        retrying("the warehouse", wait_seconds)(_attach_once, connection, path, name, key, read_only)
    except LockedError as error:
        raise WarehouseLockedError(
            f"The warehouse {path} is held by {error} and was not released within {wait_seconds:.0f} s. "
            "Wait for that process or stop it, then run the task again.",
            holder=str(error),
        ) from error


def retrying(what: str, wait_seconds: float) -> tenacity.Retrying:
    """Return what calls a function again, about once a second, while it raises `LockedError`; the last one is raised.

    Args:
        what: is waited for, for the log.
        wait_seconds: how long to wait in all.
    """

    def announce(state: tenacity.RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        # A line a minute: the wait can be long and the log is read by people.
        if state.attempt_number == 1 or state.attempt_number % 60 == 0:
            log.info("waiting for %s, held by %s; up to %d s in all", what, failure, wait_seconds)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(LockedError),
        wait=tenacity.wait_fixed(1) + tenacity.wait_random(0, 0.2),
        stop=tenacity.stop_after_delay(wait_seconds),
        before_sleep=announce,
        reraise=True,
    )


def _attach_once(
    connection: duckdb.DuckDBPyConnection, path: Path, name: str, key: EncryptionKey | None, read_only: bool
) -> None:
    try:
        duckdb_files.attach(connection, path, name, key=key, read_only=read_only)
    except duckdb.ResourceInUseException as error:
        raise LockedError("this process itself") from error
    except duckdb.IOException as error:
        text = str(error)
        if "Could not set lock" not in text:
            raise StorageError(f"The warehouse {path} cannot be opened: {why(error)}. Check owner and space.") from None
        holder = re.search(r"PID (\d+)", text)
        raise LockedError(f"process {holder.group(1)}" if holder else "another process") from error


def _ensure_schema(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    connection.execute("BEGIN")
    if not _has_schema(connection):
        _make_schema(connection)
    _check_version(connection, path)
    _add_tables(connection)
    _add_people_of_gaps(connection)
    _note_mapping_version(connection)
    renew_views(connection)
    connection.execute("COMMIT")


def _note_mapping_version(connection: duckdb.DuckDBPyConnection) -> None:
    """Write down which version of the mapping this release has, for the view `ops.data_status`."""
    name, value = _MAPPING, str(MAPPING_VERSION)
    found = connection.execute("SELECT value FROM ops.setting WHERE name = $name", {"name": name}).fetchall()
    if found != [(value,)]:
        connection.execute("DELETE FROM ops.setting WHERE name = $name", {"name": name})
        connection.execute("INSERT INTO ops.setting VALUES ($name, $value)", {"name": name, "value": value})


def _add_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables that a database of an earlier release lacks; what it has stays as it is."""
    there = connection.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = current_database()"
    ).fetchall()
    for name, statements in model.added_tables().items():
        if (name,) not in there:
            for statement in statements:
                connection.execute(statement)


def _add_people_of_gaps(connection: duckdb.DuckDBPyConnection) -> None:
    """Let gaps of an earlier release know a Patient, and open those that quarantined lines of its runs are; whose is not known."""
    has_column = connection.execute(
        "SELECT count(*) > 0 FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'ops' "
        "AND table_name = 'gap' AND column_name = 'patient_id'"
    ).fetchall()[0][0]
    if has_column:
        return
    connection.execute("ALTER TABLE ops.gap ADD COLUMN patient_id VARCHAR")
    for statement in model.ledger_comments("ops.gap"):
        connection.execute(statement)
    connection.execute(model.sql("ledger/gap_earlier")).fetchall()


def _has_schema(connection: duckdb.DuckDBPyConnection) -> bool:
    found = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'ops' AND table_name = 'schema_info'"
    return bool(connection.execute(found).fetchall()[0][0])


def _check_version(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    version = connection.execute("SELECT max(schema_version) FROM ops.schema_info").fetchall()[0][0]
    if version > model.SCHEMA_VERSION:
        raise StorageError(
            f"The warehouse {path} has schema version {version}, of a later release than this one, which has "
            f"{model.SCHEMA_VERSION}. Use the later release."
        )
    if version < model.SCHEMA_VERSION:
        raise StorageError(
            f"The warehouse {path} has schema version {version}, this release needs {model.SCHEMA_VERSION}. Pause the DAGs and "
            "run `python -m bcda remap`, which rebuilds lake and warehouse from the resources in the lake."
        )


def _make_schema(connection: duckdb.DuckDBPyConnection) -> None:
    for statement in model.schema_sql():
        connection.execute(statement)
    connection.execute(
        "INSERT INTO state_code SELECT * FROM read_csv($path, all_varchar = true)",
        {"path": model.data_path("states.csv")},
    )
    connection.execute("INSERT INTO ops.schema_info VALUES ($version)", {"version": model.SCHEMA_VERSION})
    # What this release records needs no correction by `gap_types`.
    connection.execute("INSERT INTO ops.setting VALUES ($name, $release)", GAP_TYPES)


_REASONS = (
    "No space left on device",
    "Permission denied",
    "Read-only file system",
    "Disk quota exceeded",
    "Is a directory",
    "Input/output error",
    "File too large",
    "not a valid DuckDB database file",
    "corrupt",
    "newer version",
)


def why(error: Exception) -> str:
    """Return why DuckDB cannot use a file: what of its text is known to hold no data, else the kind of the error."""
    text = str(error)
    return next((known for known in _REASONS if known in text), type(error).__name__)
