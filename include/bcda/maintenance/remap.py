"""Following a new mapping: rows that older rules made are made again from the resources in the lake."""

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb

from bcda import landing, model, warehouse
from bcda.errors import CountMismatchError, InvalidRequestError, ManifestError, StorageError
from bcda.maintenance import exchange
from bcda.maintenance.anew import FRESH, columns_of, exchange_warehouse, loaded_at
from bcda.maintenance.compaction import finish_begun
from bcda.model.mapping_version import MAPPING_VERSION
from bcda.privacy.shown_names import CLAIM_TYPES, OTHER
from bcda.runs.disposed_runs import read_disposed
from bcda.runs.folders import folders_of
from bcda.runs.landed import LakeFile, LandedBatch, read_accounts
from bcda.runs.run import read_run
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.commit_points import RemapPoint, reached
from bcda.storage.encryption import lake_key_name
from bcda.storage.guarded import guarded
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place
from bcda.warehouse import LOCK_WAIT_SECONDS

log = logging.getLogger(__name__)

MEMORY_LIMIT = "1GB"
"""Of the comparison of both databases; what does not fit is spilled beside the working one."""

SPARE_BYTES = 256 << 20
"""What is left free beside the new files."""

_GROWTH = 1.5
"""How much larger than the old ones new files may be: a mapping gains columns."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of what a remap changed.

    Attributes:
        measure: `rows` of a table; `claims` that count, `paid` and `drug cost` of a claim type, the last two in USD.
        name: the table, or API version and claim type.
        before: before; None where there was none.
        after: after; None where there is none.
        differing: rows that are not the same before and after; None for claims and sums.
    """

    measure: str
    name: str
    before: Decimal | None
    after: Decimal | None
    differing: int | None


@dataclass(frozen=True, slots=True)
class Remapped:
    """What a remap did.

    Attributes:
        runs: runs whose lake files were rebuilt by this call.
        is_new_database: whether this call rebuilt the working database.
        changes: what changed when it was rebuilt last, as in `ops.mapping_change`; none if it never was.
    """

    runs: int
    is_new_database: bool
    changes: tuple[Change, ...]


@guarded("derive the tables again")
def remap(places: Places, *, now: datetime, wait_seconds: float = LOCK_WAIT_SECONDS) -> Remapped:
    """Derive the rows of runs of an older mapping again from the lake's resources, run by run, then rebuild the database.

    Neither raw files nor BCDA are needed. The working database is held meanwhile, so that no load comes between. Killed at any
    instant it goes on where it was when it is called again: a run that is done is not derived again, and until the end the old
    database stays in its place. Publish afterwards. Tables of the lake that do not come from resources, content hashes, keys of
    resources and the ledger stay as they are; so do keys of persons, as far as their identifiers do.

    Args:
        places: of the source.
        now: instant for the record of what changed.
        wait_seconds: how long to wait for a load.

    Raises:
        InvalidRequestError: nothing is loaded.
        StorageError: too little space, with nothing changed; or a place cannot be written.
        ManifestError, CountMismatchError: account, manifest or resources of a run are missing or damaged.
        LandingError: see `landing.land_again`.
        WarehouseLockedError: a load held the working database for too long.
    """
    check_place(places)
    if not places.warehouse.exists():
        raise InvalidRequestError(f"{places.warehouse} is not there: nothing is loaded, so there is nothing to remap.")
    with duckdb_files.connected(spill=places.warehouse.parent, memory=MEMORY_LIMIT, key=places.key) as connection:
        warehouse.attach_waiting(connection, places.warehouse, key=places.key, wait_seconds=wait_seconds)
        connection.execute(f"USE {duckdb_files.WAREHOUSE}")
        run_ids = list(loaded_at(connection))
        accounts = {run_id: _accounts(places, run_id) for run_id in run_ids}
        older = [run_id for run_id in run_ids if any(a.mapping_version < MAPPING_VERSION for a in accounts[run_id])]
        is_behind = _is_behind(connection) or bool(older)
        if is_behind:
            _check_space(places, [accounts[run_id] for run_id in older], accounts.values())
        for run_id in older:
            _remap_run(places, run_id, accounts[run_id])
        reached(RemapPoint.LAKE_DONE)
        if is_behind:
            exchange_warehouse(connection, places, before=lambda: _record(connection, now))
            reached(RemapPoint.DATABASE_EXCHANGED)
    return Remapped(len(older), is_behind, _read_changes(places, wait_seconds))


def _accounts(places: Places, run_id: str) -> list[LandedBatch]:
    finish_begun(places, run_id)
    accounts = read_accounts(places.run_folder(run_id))
    if not accounts:
        raise ManifestError(f"No account of run {run_id} is in {places.run_folder(run_id)}; it cannot be remapped.")
    return accounts


def _is_behind(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether the working database has the schema of an earlier release, or rows of older rules than the lake.

    Raises:
        StorageError: it is of a later release.
    """
    schema = connection.execute("SELECT max(schema_version) FROM ops.schema_info").fetchall()[0][0]
    if schema > model.SCHEMA_VERSION:
        raise StorageError(
            f"The working database has schema version {schema}, of a later release than this one, which has "
            f"{model.SCHEMA_VERSION}. No changes were made. Use the later release."
        )
    return bool(schema < model.SCHEMA_VERSION or warehouse.older_runs(warehouse.runs_by_mapping(connection)))


def _check_space(
    places: Places, older: Iterable[Sequence[LandedBatch]], every: Iterable[Sequence[LandedBatch]]
) -> None:
    """Compare free space with what new files need beside the old ones.

    Raises:
        StorageError: there is too little; no changes were made.
    """
    largest = max((sum(_size(places, file) for file in _derived(run)) for run in older), default=0)
    absent = [
        file.bytes
        for run in every
        for batch in run
        for file in batch.lake_files
        if not (places.lake / file.path).exists()
    ]
    database = places.warehouse.stat().st_size
    needs = {
        places.lake: int(largest * _GROWTH) + sum(absent),
        places.warehouse.parent: int(database * _GROWTH),
        places.published.parent: database,
    }
    by_device: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        first, others = by_device.get(there.stat().st_dev, (there, 0))
        by_device[there.stat().st_dev] = (first, others + needed)
    for folder, needed in by_device.values():
        free = shutil.disk_usage(folder).free
        if free < needed + SPARE_BYTES:
            raise StorageError(
                f"Deriving the tables again needs {(needed + SPARE_BYTES) / 1e6:,.0f} MB beside {folder}, and {free / 1e6:,.0f} MB are "
                "free. No changes were made. Free some space and run the command again."
            )


def _size(places: Places, file: LakeFile) -> int:
    path = places.lake / file.path
    return path.stat().st_size if path.exists() else file.bytes


def _derived(accounts: Iterable[LandedBatch]) -> list[LakeFile]:
    return [file for batch in accounts for file in batch.lake_files if file.table not in landing.KEPT_TABLES]


def _remap_run(places: Places, run_id: str, accounts: Sequence[LandedBatch]) -> None:
    exchange.forget_hidden(places, run_id)
    # Of what lost a part of it the text is gone, and the other tables have the rest.
    is_trimmed = read_disposed(places, run_id) is not None
    derived = _derived(accounts) if is_trimmed else []
    folders_of(places).bring_lake(accounts, tables={"resource", *(file.table for file in derived)})
    version = read_run(places.run_folder(run_id)).request.api_version
    old = [(batch.batch, file) for batch in accounts for file in _derived([batch])]
    texts = {batch.batch: [file for file in batch.lake_files if file.table == "resource"] for batch in accounts}
    texts = {number: files for number, files in texts.items() if files}
    made = []
    for number, files in texts.items():
        _check_rows(places, files)
        new = landing.land_again(places, files, api_version=version, path_of=exchange.hidden, derived=derived)
        made += [_in_place_of(old, number, file, places) if len(texts) == 1 else (number, file) for file in new]
    reached(RemapPoint.DERIVED)
    paths = {file.path for _, file in made}
    wanted = exchange.Exchange(
        MAPPING_VERSION,
        tuple(made),
        removed=tuple(file.path for _, file in old if file.path not in paths),
        tables=frozenset(file.table for _, file in [*old, *made]),
    )
    exchange.exchange(places, run_id, wanted)
    log.info("run %s is derived again: %d lake files, of version %d", run_id, len(made), MAPPING_VERSION)


def _in_place_of(
    old: Sequence[tuple[int, LakeFile]], number: int, file: LakeFile, places: Places
) -> tuple[int, LakeFile]:
    """Let a new file have the name of the only one that the run has of its table, so that one rename exchanges them."""
    same = [(batch, was.path) for batch, was in old if was.table == file.table]
    if len(same) != 1 or same[0][1] == file.path:
        return number, file
    batch, path = same[0]
    exchange.hidden(places.lake / file.path).replace(exchange.hidden(places.lake / path))
    return batch, LakeFile(file.table, path, file.rows)


def _check_rows(places: Places, files: Sequence[LakeFile]) -> None:
    """Make sure that all resources are there that the accounts name.

    Raises:
        CountMismatchError: they are not.
    """
    with duckdb_files.connected(spill=places.lake, memory="64MB", key=places.key) as connection:
        for file in files:
            rows = parquet_files.count_rows(connection, places.lake / file.path, lake_key_name(places.key))
            if rows != file.rows:
                raise CountMismatchError(
                    f"{file.path} has {rows} readable rows, its account says {file.rows}. What was remapped before stays. Rebuild "
                    "the lake from raw, or restore that file, and run the command again.",
                    lines_read=file.rows,
                    rows_landed=rows,
                    lines_quarantined=0,
                )


def _record(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """Compare both databases and write what differs into the new one."""
    columns = columns_of(connection)
    at = now.replace(tzinfo=None)
    found = [
        _rows(connection, relation, columns)
        for relation in (*(t.relation for t in model.core_tables()), "coverage_period", "patient_identifier")
    ]
    old, new = _paid(connection, duckdb_files.WAREHOUSE), _paid(connection, FRESH)
    for name in sorted(old.keys() | new.keys()):
        for place, measure in enumerate(("claims", "paid", "drug cost")):
            before, after = (side.get(name, (None, None, None))[place] for side in (old, new))
            if before is not None or after is not None:
                found.append(Change(measure, name, before, after, None))
    for change in found:
        connection.execute(
            f"INSERT INTO {FRESH}.ops.mapping_change VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own name
            [MAPPING_VERSION, at, change.measure, change.name, change.before, change.after, change.differing],
        )
    reached(RemapPoint.DATABASE_MADE)


def _rows(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, Mapping[str, list[str]]]
) -> Change:
    """Count the rows of a table on both sides, and those that only one of them has."""
    name = relation if "." in relation else f"main.{relation}"
    was, now = columns["old"].get(name, []), columns[FRESH][name]
    after = connection.execute(f"SELECT count(*) FROM {FRESH}.{name}").fetchall()[0][0]  # noqa: S608 - our own tables
    if not was:
        return Change("rows", relation, None, Decimal(after), after)
    old = ", ".join(column if column in was else f"NULL AS {column}" for column in now)
    before, gone = connection.execute(
        f"SELECT (SELECT count(*) FROM {name}), count(*) FROM "  # noqa: S608
        f"(SELECT {old} FROM {name} EXCEPT ALL SELECT {', '.join(now)} FROM {FRESH}.{name})"
    ).fetchall()[0]
    # What is new is what is gone, and what the table grew by.
    return Change("rows", relation, Decimal(before), Decimal(after), max(gone, after - before + gone))


def _paid(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, tuple[Decimal | None, ...]]:
    query = (
        model.sql("ops/remap_paid")
        .replace("{database}", database)
        .replace("{types}", str(CLAIM_TYPES))
        .replace("{other}", OTHER)
    )
    rows = connection.execute(query).fetchall()
    return {name: tuple(None if value is None else Decimal(value) for value in values) for name, *values in rows}


def _read_changes(places: Places, wait_seconds: float) -> tuple[Change, ...]:
    with warehouse.open_warehouse(
        places.warehouse, key=places.key, read_only=True, wait_seconds=wait_seconds
    ) as connection:
        rows = connection.execute(
            "SELECT measure, name, before, after, differing FROM ops.mapping_change "
            "WHERE remapped_at = (SELECT max(remapped_at) FROM ops.mapping_change)"
        ).fetchall()
    return tuple(Change(*row) for row in rows)
