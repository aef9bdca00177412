"""What people see of a source at a glance: aggregates of the published database, and runs that are at work."""

from bcda.reporting.overview.at_work import RunPhase, RunProgress, read_progress
from bcda.reporting.overview.kept import keep_overview, read_overview
from bcda.reporting.overview.snapshot import Overview, Rows, incomplete_from

__all__ = [
    "Overview",
    "Rows",
    "RunPhase",
    "RunProgress",
    "incomplete_from",
    "keep_overview",
    "read_overview",
    "read_progress",
]
