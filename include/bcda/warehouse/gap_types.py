"""Correcting the types of gaps that earlier releases recorded: a failed look-up of a person counted for every type."""

import logging
from collections.abc import Sequence
from typing import Any

import duckdb

from bcda import model
from bcda.api.export_request import Scope
from bcda.api.manifest import Manifest
from bcda.errors import ManifestError
from bcda.runs.folders import folders_of
from bcda.storage import parquet_files
from bcda.storage.encryption import lake_key_name
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place
from bcda.warehouse.database import GAP_TYPES, LOCK_WAIT_SECONDS, open_warehouse

log = logging.getLogger(__name__)

_OUTCOMES = "operation_outcome"


def correct_gap_types(places: Places, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> int:
    """Give the gaps of an earlier release the types that manifests and error files tell, once for each database.

    The manifest of a run and the lake's rows of its error files are kept; raw files are not needed. Where one of them is gone,
    the gaps of that run stay as they are.

    Args:
        places: warehouse, lake and the records of runs.
        wait_seconds: how long to wait for a load.

    Returns:
        Number of gaps that were none.

    Raises:
        WarehouseLockedError, StorageError: see `open_warehouse`.

    Source: docs/bcda.md#manifest.
    """
    check_place(places)
    if not places.warehouse.exists() or _is_done(places, wait_seconds):
        return 0
    removed = 0
    with open_warehouse(places.warehouse, key=places.key, wait_seconds=wait_seconds) as connection:
        runs = connection.execute(
            "SELECT run_id, api_version, export_scope, resource_types, since_ts, transaction_time FROM ops.export_run AS r "
            "WHERE EXISTS (SELECT 1 FROM ops.gap AS g WHERE g.opened_run_id = r.run_id) ORDER BY finished_at, run_id"
        ).fetchall()
        for run in runs:
            removed += _correct(connection, places, run)
        connection.execute("BEGIN")
        for version in sorted({run[1] for run in runs}):
            connection.execute(model.sql("ledger/gap_close"), {"api_version": version}).fetchall()
        connection.execute("INSERT INTO ops.setting VALUES ($name, $release)", GAP_TYPES)
        connection.execute("COMMIT")
    if removed:
        log.info("%d gaps of earlier runs were of other types than recorded, and are removed from the ledger", removed)
    return removed


def _is_done(places: Places, wait_seconds: float) -> bool:
    with open_warehouse(
        places.warehouse, key=places.key, read_only=True, any_version=True, wait_seconds=wait_seconds
    ) as connection:
        done = "SELECT count(*) > 0 FROM ops.setting WHERE name = $name AND value = $release"
        return bool(connection.execute(done, GAP_TYPES).fetchall()[0][0])


def _correct(connection: duckdb.DuckDBPyConnection, places: Places, run: Sequence[Any]) -> int:
    """Record the gaps of one run again; return by how many they are fewer."""
    run_id, version, scope, types, since, transaction_time = run
    read = _records(places, run_id)
    if read is None:
        log.warning("the types of the gaps of run %s cannot be told: its manifest or its lake files are gone", run_id)
        return 0
    told, files = read[0].types_of_errors(), read[1]
    connection.execute("BEGIN")
    before = _gaps(connection, run_id)
    if files:
        parquet_files.show(connection, files, lake_key_name(places.key))
    connection.execute(model.sql("ledger/outcome" if files else "ledger/outcome_nothing"))
    connection.execute("DELETE FROM ops.gap WHERE opened_run_id = $run_id AND patient_id IS NULL", {"run_id": run_id})
    connection.execute(
        model.sql("ledger/gap"),
        {
            "run_id": run_id,
            "api_version": version,
            "export_scope": scope,
            "resource_types": types,
            "since_ts": since,
            "transaction_time": transaction_time,
            "brings_history": scope == Scope.GROUP_ALL.value and since is not None,
            "error_files": list(told),
            "error_types": list(told.values()),
        },
    )
    # Quarantined lines of the run opened some, too.
    connection.execute(model.sql("ledger/gap_earlier")).fetchall()
    after = _gaps(connection, run_id)
    # Fewer types, and never fewer people: whatever else comes out is not what the run has met.
    if after <= before and {gap[0] for gap in after} == {gap[0] for gap in before}:
        connection.execute("COMMIT")
        return len(before) - len(after)
    connection.execute("ROLLBACK")
    return 0


def _gaps(connection: duckdb.DuckDBPyConnection, run_id: str) -> set[tuple[Any, ...]]:
    rows = connection.execute(
        "SELECT mbi, resource_type, needs FROM ops.gap WHERE opened_run_id = $run_id", {"run_id": run_id}
    )
    return set(rows.fetchall())


def _records(places: Places, run_id: str) -> tuple[Manifest, list[str]] | None:
    """Return the manifest of a run and its lake files of errors, or None when something is gone."""
    folders = folders_of(places)
    folder = folders.of(run_id)
    try:
        folder.bring_run()
        accounts = folder.accounts()
        manifest = folder.read_manifest()
    except (ManifestError, FileNotFoundError):
        return None
    folders.bring_lake(accounts, tables=[_OUTCOMES])
    landed = {file.name for account in accounts for file in account.files}
    files = [file.path for account in accounts for file in account.lake_files if file.table == _OUTCOMES]
    is_whole = landed == {file.name for file in manifest.files} and all((places.lake / path).exists() for path in files)
    return (manifest, [str(places.lake / path) for path in files]) if is_whole else None
