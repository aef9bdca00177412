"""Which runs have rows that an older mapping made, and what is to be said of them."""

from collections.abc import Mapping

import duckdb

from bcda import model
from bcda.model.mapping_version import MAPPING_VERSION
from bcda.storage.places import DEFAULT_SOURCE, Places
from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse


def runs_by_mapping(connection: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """Return how many loaded runs have rows of each version of the mapping.

    Args:
        connection: to a working or published database, also one of an earlier release, whose runs have version 0.
    """
    found = (
        "SELECT count(*) > 0 FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = 'ops' AND table_name = 'run_mapping'"
    )
    has_versions = connection.execute(found).fetchall()[0][0]
    query = model.sql("ops/runs_by_mapping") if has_versions else "SELECT 0, count(*) FROM ops.export_run"
    return dict(connection.execute(query).fetchall())


def older_runs(runs: Mapping[int, int]) -> int:
    """Return how many runs have rows of an older mapping than that of this release.

    Args:
        runs: how many have rows of each version.
    """
    return sum(count for version, count in runs.items() if version < MAPPING_VERSION)


def older_in_words(runs: int, source_id: str) -> str:
    """Return what a person should know and do about runs with rows of an older mapping; empty for none.

    Args:
        runs: how many, as of `older_runs`.
        source_id: connection id of the source.
    """
    if not runs:
        return ""
    source = "" if source_id == DEFAULT_SOURCE else f" --source {source_id}"
    return (
        f"{runs} loaded {'run has' if runs == 1 else 'runs have'} rows that an older mapping made, so corrected columns still hold "
        f"their old values there. Pause the DAGs and run `python -m bcda remap{source}` where the working database is. It needs "
        "no download and no raw files."
    )


def read_older_runs(places: Places, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> int:
    """Return how many runs in the working database have rows of an older mapping; 0 without a database.

    Raises:
        WarehouseLockedError, StorageError, EncryptionError: see `open_warehouse`.
    """
    if not places.warehouse.exists():
        return 0
    with open_warehouse(
        places.warehouse, key=places.key, read_only=True, any_version=True, wait_seconds=wait_seconds
    ) as connection:
        return older_runs(runs_by_mapping(connection))
