"""Merging a run: lake files into core tables and ledger, in one transaction."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

import duckdb

from bcda import model
from bcda.acceptance import Acceptance
from bcda.api.export_request import Scope
from bcda.api.manifest import FileKind, Manifest
from bcda.api.server_clock import latest_possible
from bcda.errors import CountMismatchError, ManifestError
from bcda.model.mapping_version import MAPPING_VERSION
from bcda.runs.landed import LandedBatch
from bcda.runs.run import ExportRun
from bcda.storage import parquet_files
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.encryption import lake_key_name
from bcda.storage.places import Places
from bcda.warehouse import distrust
from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse
from bcda.warehouse.empty_inserts import Statements
from bcda.warehouse.ledger import MergeSummary, check_source, run_summary
from bcda.warehouse.quality import threshold
from bcda.warehouse.unlikely import check_lines, check_people_and_claims

log = logging.getLogger(__name__)

_Parameters = dict[str, object]

_MERGED = {
    "api_version": "$api_version",
    "person_key": "NULL",
    "is_current": "false",
    "superseded_reason": "NULL",
    "meta_last_updated": "t.first_meta_last_updated",
    "run_id": "t.run_id",
    "last_seen_run_id": "t.last_seen_run_id",
    "content_hash": "t.content_hash",
}
"""What the merge puts into the columns that the lake does not have."""


_MONTHS = "coverage_month"
"""The table whose rows are not replaced with their resource, but year by year or from a period's start on."""


def merge_run(
    places: Places,
    run: ExportRun,
    manifest: Manifest,
    batches: Sequence[LandedBatch],
    *,
    now: datetime,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    acceptance: Acceptance | None = None,
    before_commit: Callable[[], None] = lambda: None,
    believes_no_future: bool = False,
) -> MergeSummary:
    """Merge a landed run; the rows and the ledger appear together or not at all.

    A run that is in the ledger already is not merged again. The newest version of a resource wins and its rows are
    replaced as a set; nothing is deleted because it did not come.

    Args:
        places: lake and warehouse.
        run: what was asked for.
        manifest: what BCDA answered.
        batches: every batch of the run.
        now: instant for the ledger.
        lock_wait_seconds: how long to wait for another load.
        acceptance: limits of what is loaded; None takes everything, as for runs that were loaded before.
        before_commit: called when all is written and nothing is committed; what it raises leaves the warehouse as it was.
        believes_no_future: load a run whose `transactionTime` lies in the future as one that covers nothing, instead of refusing
            it; for runs that an earlier release loaded.

    Returns:
        What became of the resources, per type.

    Raises:
        ManifestError: a file of the manifest has not landed, or landed twice, or `transactionTime` lies in the future.
        CountMismatchError: a file's lines, or a lake file's rows, do not add up; the warehouse is as it was.
        UnlikelyExportError: hardly a line of some type can be read, or a full run brought nobody, no claim, or half of the people.
        InvalidRequestError: the warehouse holds the data of another source.
        WarehouseLockedError, StorageError: see `open_warehouse`.

    Source: docs/architecture.md#the-ledger-lies-in-the-database-in-the-transaction-that-commits-the-rows,
        docs/architecture.md#the-newest-version-wins-children-are-replaced-as-a-set, docs/guarantees.md#data, docs/table-model.md#merge.
    """
    _check_complete(manifest, batches)
    server_now = distrust.time_at_bcda(run, manifest, now)
    if not believes_no_future:
        distrust.check_time(manifest, server_now)
    with open_warehouse(places.warehouse, key=places.key, wait_seconds=lock_wait_seconds) as connection:
        done = run_summary(connection, run.run_id)
        if done is not None:
            log.info("run %s is in the ledger already; nothing to merge", run.run_id)
            return done
        if acceptance is not None:
            check_lines(batches, acceptance)
        merge, begun = _Merge(connection, places, run, manifest, batches, server_now), time.monotonic()
        connection.execute("BEGIN")
        reached(CommitPoint.MERGE_BEGUN)
        try:
            merge.check_source()
            merge.check_lake_files()
            merge.stage()
            if acceptance is not None:
                check_people_and_claims(connection, run)
            log.info("merging run %s: %d files and their %d lake files are staged", *merge.size)
            merge.record_versions()
            merge.write_ledger(now)
            reached(CommitPoint.MERGE_LEDGERED)
            merge.replace_rows()
            merge.close_gaps()
            log.info("merging run %s: the rows of every table are in place; deciding which claims count", run.run_id)
            merge.group_people()
            merge.weigh_claims()
            before_commit()
            reached(CommitPoint.MERGE_READY)
            connection.execute("COMMIT")
        except duckdb.TransactionException:
            # A commit that fails has ended its transaction.
            raise
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        reached(CommitPoint.MERGE_COMMITTED)
        log.info("merged run %s in %.1f s", run.run_id, time.monotonic() - begun)
        summary = run_summary(connection, run.run_id)
    if summary is None:
        raise ManifestError(f"Run {run.run_id} was committed but is not in the ledger; report this as a defect.")
    return summary


class _Merge:
    """The statements of one merge, in order, on one connection inside one transaction."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        places: Places,
        run: ExportRun,
        manifest: Manifest,
        batches: Sequence[LandedBatch],
        server_now: datetime,
    ) -> None:
        run, manifest, covers = distrust.without_future(run, manifest, server_now)
        self._connection = connection
        self._statements = Statements(connection)
        self._places = places
        self._key_name = lake_key_name(places.key)
        self._run = run
        self._manifest = manifest
        self._batches = batches
        self._mapping_version = min((batch.mapping_version for batch in batches), default=MAPPING_VERSION)
        self._version: _Parameters = {"api_version": run.request.api_version.value}
        self._id: _Parameters = {"run_id": run.run_id}
        self._time: _Parameters = {"transaction_time": distrust.naive(manifest.transaction_time)}
        self._list: _Parameters = {
            "list_at": distrust.naive(run.list_at) if run.list_at else None,
            "asked_at": distrust.naive(run.asked_at) if run.asked_at else None,
            "uncovered_types": list(_uncovered(run, covers=covers)),
        }
        self._latest: _Parameters = {"latest": distrust.naive(latest_possible(server_now))}
        self._types: _Parameters = {"resource_types": list(run.request.resource_types)}
        self._interval: _Parameters = {
            "export_scope": run.request.scope.value,
            "since_ts": distrust.naive(run.request.since) if run.request.since else None,
            "brings_history": run.request.scope is Scope.GROUP_ALL and run.request.since is not None,
        }

    @property
    def size(self) -> tuple[str, int, int]:
        """Return the run with its number of raw files and of lake files."""
        return (
            self._run.run_id,
            sum(len(batch.files) for batch in self._batches),
            sum(len(batch.lake_files) for batch in self._batches),
        )

    def check_source(self) -> None:
        """Bind an empty database to the run's source; refuse a run of another one.

        Raises:
            InvalidRequestError: the database holds the data of another connection or server.
        """
        self._sql("ledger/source", {"source_id": self._run.source_id, "server": self._run.server})
        check_source(self._connection, source_id=self._run.source_id, server=self._run.server)

    def check_lake_files(self) -> None:
        """Compare the rows of every lake file with the account.

        Raises:
            CountMismatchError: they differ, or a file is missing or broken.
            EncryptionError: a file needs a key, another key or none.
        """
        for lake_file in (file for batch in self._batches for file in batch.lake_files):
            try:
                rows = parquet_files.count_rows(self._connection, self._places.lake / lake_file.path, self._key_name)
            except ManifestError:
                rows = 0
            if rows != lake_file.rows:
                raise CountMismatchError(
                    f"{lake_file.path} has {rows} readable rows, its account says {lake_file.rows}. Delete that file, then run "
                    "the land task of its batch again.",
                    lines_read=lake_file.rows,
                    rows_landed=rows,
                    lines_quarantined=0,
                )

    def stage(self) -> None:
        """Decide what becomes of every resource line."""
        self._connection.execute("DROP TABLE IF EXISTS temp.staged")
        if self._show("resource"):
            self._sql("merge/stage", self._version, self._time, self._latest)
        else:
            self._sql("merge/stage_nothing")

    def record_versions(self) -> None:
        """Retire, refresh and insert resource versions, and note what the core tables are to say about them."""
        self._sql("merge/version_retire", self._version)
        self._sql("merge/version_seen", self._version, self._id, self._time)
        self._sql("merge/version_insert", self._version, self._id, self._time)
        self._connection.execute("DROP TABLE IF EXISTS temp.touched")
        self._sql("merge/touched", self._version)

    def replace_rows(self) -> None:
        """Delete and insert the rows of new and changed resources in every core table; refresh those of the others."""
        self._sql("merge/claim_before", self._version)
        self._script("merge/person_before")
        for table in model.core_tables():
            if table.name == _MONTHS:
                continue
            self._delete(table)
            if self._show(table.name):
                self._insert(table)
            if table.is_main:
                self._refresh(table)
        if self._show("patient_identifier"):
            self._sql("merge/identifiers")
        else:
            self._sql("merge/identifiers_nothing")
        self._script("merge/patient_identifier", self._version, self._id, self._time)
        if self._show("patient"):
            self._sql("merge/roster", self._version, self._id)
        # Lists tell up to when a period of v3 goes on.
        self._replace_months()

    def _replace_months(self) -> None:
        """Replace the months of coverage that the run states; the others stay, and open periods of v3 grow."""
        self._script("merge/months_begin")
        for table, target in (("coverage", "delivered_coverage"), (_MONTHS, "delivered_month")):
            if self._show(table):
                self._deliver(target)
        self._script("merge/coverage_until", self._version, {"is_before": True, "left_out_run": self._run.run_id})
        self._script("merge/coverage_period", self._version, self._id, self._time)
        self._script("merge/coverage_until", self._version, {"is_before": False, "left_out_run": ""})
        self._script("merge/coverage_month", self._version)

    def _deliver(self, target: str) -> None:
        """Copy what `lake_rows` and a temporary table have alike; a run of an earlier release lacks columns."""
        landed, wanted = (self._connection.execute(f"DESCRIBE {name}").fetchall() for name in ("lake_rows", target))
        columns = ", ".join(sorted({row[0] for row in landed} & {row[0] for row in wanted}))
        self._connection.execute(f"INSERT INTO {target} BY NAME SELECT {columns} FROM lake_rows")  # noqa: S608

    def close_gaps(self) -> None:
        """Decide which gaps some run has closed, now that the identifiers of the run's people are in place."""
        self._sql("ledger/gap_close", self._version)

    def group_people(self) -> None:
        """Decide which Patients are one person, for those of the run and whoever was or is tied to them, and record changes."""
        self._sql("merge/person_start", self._version)
        while self._changed("merge/person_widen"):
            pass
        self._script("merge/person_label")
        while self._changed("merge/person_spread"):
            pass
        self._script("merge/person_key", self._id)

    def weigh_claims(self) -> None:
        """Decide which claims count, then which of them a full pull no longer brought, and record what that changed."""
        self._script("merge/claim_currency", self._version)
        self._sql("ledger/full_pull", self._id)
        self._script("merge/reconcile", self._version, {"vanished_share": threshold("vanished")})
        self._script("ledger/export_change", self._version, self._id)

    def _delete(self, table: model.CoreTable) -> None:
        # Tables and columns come from the model's own list, never from outside.
        if not self._has_changed(table.resource_type):
            return
        self._connection.execute(
            f"DELETE FROM {table.relation} AS t USING staged AS s WHERE s.verdict = 'changed' "  # noqa: S608
            f"AND s.resource_type = $resource_type AND t.api_version = $api_version AND t.{table.key} = s.resource_id",
            {"resource_type": table.resource_type, **self._version},
        )

    def _insert(self, table: model.CoreTable) -> None:
        names = [row[0] for row in self._connection.execute(f"DESCRIBE {table.relation}").fetchall()]
        # A run that an earlier release landed lacks the columns that came since.
        landed = {row[0] for row in self._connection.execute("DESCRIBE lake_rows").fetchall()}
        absent = {name for name in names if name not in landed} if self._mapping_version < MAPPING_VERSION else set()
        columns = ", ".join(
            f"{_MERGED.get(name, 'NULL' if name in absent else f'l.{name}')} AS {name}" for name in names
        )
        self._connection.execute(
            f"INSERT INTO {table.relation} BY NAME SELECT {columns} "  # noqa: S608
            "FROM lake_rows AS l "
            "JOIN touched AS t ON t.raw_file = l.raw_file AND t.raw_line = l.raw_line "
            "WHERE t.verdict IN ('new', 'changed')",
            self._version,
        )

    def _refresh(self, table: model.CoreTable) -> None:
        names = {row[0] for row in self._connection.execute(f"DESCRIBE {table.relation}").fetchall()}
        columns = ", ".join(
            f"{name} = {_MERGED[name]}" for name in ("meta_last_updated", "run_id", "last_seen_run_id") if name in names
        )
        if not columns:
            return
        self._connection.execute(
            f"UPDATE {table.relation} AS c SET {columns} FROM touched AS t "  # noqa: S608
            "WHERE t.verdict IN ('unchanged', 'older') AND t.resource_type = $resource_type "
            f"AND c.api_version = $api_version AND c.{table.key} = t.resource_id",
            {"resource_type": table.resource_type, **self._version},
        )

    def _has_changed(self, resource_type: str) -> bool:
        return bool(
            self._connection.execute(
                "SELECT count(*) FROM staged WHERE verdict = 'changed' AND resource_type = $resource_type",
                {"resource_type": resource_type},
            ).fetchall()[0][0]
        )

    def write_ledger(self, now: datetime) -> None:
        """Record the run, its files, its counts, what it covers and what is missing."""
        self._insert_run(now)
        self._sql("ledger/shown_version", self._version)
        self._insert_files()
        self._sql("ledger/run_mapping", self._id, {"mapping_version": self._mapping_version})
        self._sql("ledger/export_count", self._id, self._types)
        self._sql("ledger/version_conflict", self._version, self._id)
        self._sql("ledger/quarantine_begin")
        if self._show("quarantine"):
            self._deliver("quarantined")
            self._sql("ledger/quarantine")
        if self._show("drift"):
            self._script("ledger/drift", self._version, self._id)
        self._script("ledger/manifest_drift", self._version, self._id, {"fields": list(self._manifest.unknown_fields)})
        everything = (self._version, self._id, self._time, self._types, self._interval)
        self._sql("ledger/outcome" if self._show("operation_outcome") else "ledger/outcome_nothing")
        told = self._manifest.types_of_errors()
        self._script("ledger/gap", *everything, {"error_files": list(told), "error_types": list(told.values())})
        self._sql("ledger/gap_quarantined", self._id)
        self._script("ledger/coverage", *everything, self._list)

    def _insert_run(self, now: datetime) -> None:
        files = [file for batch in self._batches for file in batch.files]
        request = self._run.request
        values: _Parameters = {
            **self._id,
            **self._version,
            **self._interval,
            **self._list,
            "source_id": self._run.source_id,
            "type_filter": json.dumps(request.type_filter.to_json()) if request.type_filter else None,
            "reason": self._run.reason,
            **self._types,
            **self._time,
            "is_full": self._run.is_full,
            "job_id": self._manifest.job_id,
            "started_at": distrust.naive(self._run.planned_at),
            "finished_at": distrust.naive(now),
            "output_files": sum(file.kind is FileKind.OUTPUT for file in files),
            "error_files": sum(file.kind is FileKind.ERROR for file in files),
            "lines_read": sum(file.lines_read for file in files),
            "rows_landed": sum(file.rows_landed for file in files),
            "lines_quarantined": sum(file.lines_quarantined for file in files),
        }
        self._script("ledger/export_run", values)

    def _insert_files(self) -> None:
        files = [(batch.batch, file) for batch in self._batches for file in batch.files]
        columns: _Parameters = {
            "batch": [batch for batch, _ in files],
            "file_name": [file.name for _, file in files],
            "kind": [file.kind.value for _, file in files],
            "resource_type": [file.resource_type for _, file in files],
            "wire_bytes": [file.wire_bytes for _, file in files],
            "wire_sha256": [file.wire_sha256 for _, file in files],
            "content_bytes": [file.content_bytes for _, file in files],
            "lines_read": [file.lines_read for _, file in files],
            "rows_landed": [file.rows_landed for _, file in files],
            "lines_quarantined": [file.lines_quarantined for _, file in files],
        }
        self._sql("ledger/export_file", self._id, columns)

    def _show(self, table: str) -> bool:
        """Let `lake_rows` stand for the run's lake files of a table; say whether it has any."""
        paths = [file.path for batch in self._batches for file in batch.lake_files if file.table == table]
        if paths:
            files = [str(self._places.lake / path) for path in paths]
            # Two releases of one mapping can have landed the batches of a run; what is quarantined comes of no mapping.
            are_alike = self._mapping_version == MAPPING_VERSION and table != "quarantine"
            parquet_files.show(self._connection, files, self._key_name, are_alike=are_alike)
        return bool(paths)

    def _sql(self, name: str, *parameters: _Parameters) -> None:
        self._statements.run(model.sql(name), _merged(parameters))

    def _changed(self, name: str) -> int:
        """Run one statement and return how many rows it wrote."""
        return int(self._statements.run(model.sql(name))[0][0])

    def _script(self, name: str, *parameters: _Parameters) -> None:
        """Run the statements of a file in order, each with the parameters it names."""
        values = _merged(parameters)
        for statement in model.statements(name):
            named = {key: value for key, value in values.items() if f"${key}" in statement}
            self._statements.run(statement, named)


def _merged(parameters: Sequence[_Parameters]) -> _Parameters:
    return {key: value for part in parameters for key, value in part.items()}


def _check_complete(manifest: Manifest, batches: Sequence[LandedBatch]) -> None:
    landed = Counter(file.name for batch in batches for file in batch.files)
    wanted = {file.name for file in manifest.files}
    missing = sorted(wanted - landed.keys())
    extra = sorted(name for name, times in landed.items() if times > 1 or name not in wanted)
    if missing or extra:
        raise ManifestError(
            f"The manifest lists {len(wanted)} files; {len(missing)} have not landed ({', '.join(missing[:3]) or '-'}) and "
            f"{len(extra)} landed twice or without being listed ({', '.join(extra[:3]) or '-'}). Run the land tasks again."
        )
    for file in (file for batch in batches for file in batch.files):
        if file.lines_read != file.rows_landed + file.lines_quarantined:
            raise CountMismatchError(
                f"{file.name}: {file.lines_read} lines read, {file.rows_landed} landed, {file.lines_quarantined} "
                "quarantined. Run the land task again.",
                lines_read=file.lines_read,
                rows_landed=file.rows_landed,
                lines_quarantined=file.lines_quarantined,
            )


def _uncovered(run: ExportRun, *, covers: bool) -> tuple[str, ...]:
    """Return the types of which the run says nothing about what is missing: those that a filter narrowed, or all."""
    if not covers:
        return run.request.resource_types
    narrow = run.request.type_filter is not None and run.request.type_filter.is_narrow
    return ("ExplanationOfBenefit",) if narrow else ()
