"""Rewriting databases without what is disposed of: only a copy has no trace of it, since DuckDB keeps the blocks of deleted rows."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb

from bcda import model, warehouse
from bcda.errors import StorageError
from bcda.maintenance.disposal.rules import BY_COLUMN, MARKED, WAREHOUSE
from bcda.runs.disposed_runs import DisposedRun, instant_text, set_disposed
from bcda.storage import duckdb_files
from bcda.storage.places import Places
from bcda.storage.sql_text import identifier

log = logging.getLogger(__name__)

_PUBLISHED = "published"

_DISPOSED_AT = "disposed at"
"""Setting: when data was disposed of last. What earlier runs changed is no longer known."""


def rows_to_go(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, int]:
    """Return how many rows go, by table; tables that lose none are left out.

    Args:
        connection: with the tables of `selection`.
        name: of the attached database.

    Raises:
        StorageError: it has a table that this release has no rule for.
    """
    counted = {}
    for table, rule in _rules(connection, name).items():
        rows = 0 if rule is None else _count(connection, f"{name}.{_quoted(table)} AS t WHERE {rule}")
        if rows:
            counted[table] = rows
    return counted


def write_working(
    connection: duckdb.DuckDBPyConnection, places: Places, runs: Mapping[str, DisposedRun], number: str
) -> None:
    """Replace the working database, which the connection holds, by a copy without what goes.

    Args:
        connection: of `warehouse.open_warehouse`.
        places: of the source.
        runs: that lost something.
        number: of the certificate; the copy keeps it, so that a disposal that was killed knows how far it came.

    Raises:
        StorageError: no space, or the copy holds other rows than it should.
    """
    connection.execute("CHECKPOINT").fetchall()
    gone = rows_to_go(connection, duckdb_files.WAREHOUSE)
    fill = partial(_fill, connection, duckdb_files.WAREHOUSE, gone, runs, number)
    with warehouse.rewritten(connection, duckdb_files.WAREHOUSE, places.warehouse, key=places.key, fill=fill):
        pass


def write_published(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    places: Places,
    runs: Mapping[str, DisposedRun],
    number: str,
    *,
    wait_seconds: float,
) -> dict[str, int]:
    """Replace a database that analysts open by a copy without what goes, and return the rows that went, by table.

    A dated copy of another schema version is removed: this release has no rules for it.

    Args:
        connection: with the tables of `selection`.
        path: the published database, or a dated copy.
        places: of the source.
        runs: that lost something.
        number: of the certificate.
        wait_seconds: how long to wait for a process that holds it.

    Raises:
        StorageError: no space, or the copy holds other rows than it should.
        EncryptionError: it has another key.
    """
    # The log of an analyst's tool would be read with it, and so be published.
    warehouse.remove_foreign_log(path)
    warehouse.attach_waiting(connection, path, _PUBLISHED, key=places.key, read_only=True, wait_seconds=wait_seconds)
    try:
        if not _is_of_this_release(connection):
            path.unlink()
            log.warning("%s is of another schema version and is removed", path)
            return {}
        gone = rows_to_go(connection, _PUBLISHED)
        if gone or not _has(connection, number):
            place = partial(warehouse.put_in_place, places=replace(places, published=path))
            storage = duckdb_files.storage_of(connection, _PUBLISHED)
            fill = partial(_fill, connection, _PUBLISHED, gone, runs, number)
            with warehouse.rewritten(
                connection, _PUBLISHED, path, key=places.key, storage=storage, place=place, fill=fill
            ):
                pass
        return gone
    finally:
        connection.execute(f"DETACH {_PUBLISHED}")


def is_done(connection: duckdb.DuckDBPyConnection, number: str) -> bool:
    """Tell whether the working database is the copy that a disposal of this number made."""
    found = connection.execute("SELECT count(*) FROM ops.setting WHERE name = $name", {"name": _setting(number)})
    return bool(found.fetchall()[0][0])


def _has(connection: duckdb.DuckDBPyConnection, number: str) -> bool:
    found = connection.execute(
        f"SELECT count(*) FROM {_PUBLISHED}.ops.setting WHERE name = $name",  # noqa: S608 - our own name
        {"name": _setting(number)},
    )
    return bool(found.fetchall()[0][0])


def _is_of_this_release(connection: duckdb.DuckDBPyConnection) -> bool:
    tables = _tables(connection, _PUBLISHED)
    if "ops.schema_info" not in tables:
        return False
    found = connection.execute(f"SELECT max(schema_version) FROM {_PUBLISHED}.ops.schema_info").fetchall()  # noqa: S608 - our own name
    return bool(found[0][0] == model.SCHEMA_VERSION)


def _fill(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    gone: Mapping[str, int],
    runs: Mapping[str, DisposedRun],
    number: str,
    copy: str,
) -> None:
    """Copy what stays, table by table, and prove that nothing else went.

    Raises:
        StorageError: the copy holds other rows than it should.
    """
    connection.execute(f"COPY FROM DATABASE {name} TO {copy} (SCHEMA)")
    for table, rule in _rules(connection, name).items():
        source, target = f"{name}.{_quoted(table)}", f"{copy}.{_quoted(table)}"
        # A condition that is NULL is about nobody, so its row stays.
        kept = "" if rule is None else f" WHERE NOT coalesce({rule}, false)"
        written = connection.execute(
            f"INSERT INTO {target} BY NAME SELECT t.*{_marked(connection, name, table)} FROM {source} AS t{kept}"  # noqa: S608 - our own names
        ).fetchall()[0][0]
        before, went = _count(connection, source), gone.get(table, 0)
        if before != written + went:
            raise StorageError(
                f"Of {table} {went:,} of {before:,} rows were to go, and the copy has {written:,}; the database stays as it is."
            )
    for run_id, note in runs.items():
        set_disposed(connection, run_id, note, database=f"{copy}.")
    at = max((note.at for note in runs.values()), default=None)
    settings = {_setting(number): "done", **({_DISPOSED_AT: instant_text(at)} if at else {})}
    for setting, value in settings.items():
        connection.execute(f"DELETE FROM {copy}.ops.setting WHERE name = $name", {"name": setting})  # noqa: S608
        connection.execute(f"INSERT INTO {copy}.ops.setting VALUES ($name, $value)", {"name": setting, "value": value})  # noqa: S608


def _marked(connection: duckdb.DuckDBPyConnection, name: str, table: str) -> str:
    """Return what replaces columns of a table whose rows stay with other values; a table of an earlier release can lack them."""
    condition, values = MARKED.get(table, ("", {}))
    if not values or not _columns(connection, name, table).issuperset(values):
        return ""
    told = ", ".join(
        f"CASE WHEN {condition} THEN {value} ELSE t.{column} END AS {column}" for column, value in values.items()
    )
    return f" REPLACE ({told})"


def _setting(number: str) -> str:
    return f"disposal {number}"


def _tables(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    found = connection.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = $name ORDER BY ALL",
        {"name": name},
    )
    return [str(row[0]) for row in found.fetchall()]


def _rules(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, str | None]:
    tables = _tables(connection, name)
    unknown = [table for table in tables if table not in WAREHOUSE]
    if unknown:
        raise StorageError(
            f"A database has the table {unknown[0]}, and this release does not know what it says about people. Copy it to a database "
            "of its own if you need it, drop it here, and run the disposal again. Look after the copy yourself."
        )
    rules = {table: WAREHOUSE[table] for table in tables}
    for table, (column, rule) in BY_COLUMN.items():
        if column in _columns(connection, name, table):
            rules[table] = f"{rules[table]} OR {rule}"
    return rules


def _columns(connection: duckdb.DuckDBPyConnection, name: str, table: str) -> set[str]:
    found = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = $name AND schema_name || '.' || table_name = $table",
        {"name": name, "table": table},
    )
    return {row[0] for row in found.fetchall()}


def _quoted(table: str) -> str:
    return ".".join(identifier(part) for part in table.split(".", 1))


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])  # noqa: S608 - our own names
