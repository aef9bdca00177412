"""From the lake to DuckDB: lock, merge, ledger, publish."""

from bcda.warehouse.database import LOCK_WAIT_SECONDS, open_warehouse
from bcda.warehouse.ledger import Held, MergeSummary, TypeCount, read_ledger, run_summary
from bcda.warehouse.merge import merge_run
from bcda.warehouse.publish import Snapshot, publish
from bcda.warehouse.quality import CheckResult, run_checks

__all__ = [
    "LOCK_WAIT_SECONDS",
    "CheckResult",
    "Held",
    "MergeSummary",
    "Snapshot",
    "TypeCount",
    "merge_run",
    "open_warehouse",
    "publish",
    "read_ledger",
    "run_checks",
    "run_summary",
]
