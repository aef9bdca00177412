"""From the lake to DuckDB: lock, merge, ledger, publish."""

from bcda.warehouse.database import LOCK_WAIT_SECONDS, attach_waiting, open_warehouse
from bcda.warehouse.distrust import future_in_words, future_resources, future_runs, repair_step
from bcda.warehouse.gap_types import correct_gap_types
from bcda.warehouse.ledger import (
    Held,
    MergeSummary,
    StatusRow,
    TypeCount,
    merged_runs,
    read_ledger,
    read_published_status,
    read_status,
    run_summary,
)
from bcda.warehouse.mapping_state import older_in_words, older_runs, read_older_runs, runs_by_mapping
from bcda.warehouse.merge import merge_run
from bcda.warehouse.placement import check_readers, dated_copies, put_in_place, remove_foreign_log
from bcda.warehouse.publish import Snapshot, publication_held, publish, set_lake_view
from bcda.warehouse.quality import CheckResult, run_checks
from bcda.warehouse.rewrite import rewritten
from bcda.warehouse.vacuum import vacuum

__all__ = [
    "LOCK_WAIT_SECONDS",
    "CheckResult",
    "Held",
    "MergeSummary",
    "Snapshot",
    "StatusRow",
    "TypeCount",
    "attach_waiting",
    "check_readers",
    "correct_gap_types",
    "dated_copies",
    "future_in_words",
    "future_resources",
    "future_runs",
    "merge_run",
    "merged_runs",
    "older_in_words",
    "older_runs",
    "open_warehouse",
    "publication_held",
    "publish",
    "put_in_place",
    "read_ledger",
    "read_older_runs",
    "read_published_status",
    "read_status",
    "remove_foreign_log",
    "repair_step",
    "rewritten",
    "run_checks",
    "run_summary",
    "runs_by_mapping",
    "set_lake_view",
    "vacuum",
]
