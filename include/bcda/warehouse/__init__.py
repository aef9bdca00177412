"""From the lake to DuckDB: lock, merge, ledger, publish."""

from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse
from bcda.warehouse.ledger import (
    Held,
    MergeSummary,
    StatusRow,
    TypeCount,
    merged_runs,
    read_ledger,
    read_status,
    run_summary,
)
from bcda.warehouse.merge import merge_run
from bcda.warehouse.publish import Snapshot, publish
from bcda.warehouse.quality import CheckResult, run_checks
from bcda.warehouse.vacuum import vacuum

__all__ = [
    "LOCK_WAIT_SECONDS",
    "CheckResult",
    "Held",
    "MergeSummary",
    "Snapshot",
    "StatusRow",
    "TypeCount",
    "merge_run",
    "merged_runs",
    "open_warehouse",
    "publish",
    "read_ledger",
    "read_status",
    "run_checks",
    "run_summary",
    "vacuum",
]
